//! Which columns of a table are read.

/// The columns that hold what is to be read, by their names in the header or in each JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The text, or the first of two.
    pub text: String,
    /// The second text, where there are two.
    pub pair: Option<String>,
    /// The label, where there is one.
    pub label: Option<String>,
    /// Whether labels are numbers, so that words for nothing are none.
    pub numbers: bool,
}
