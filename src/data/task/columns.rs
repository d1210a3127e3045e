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
    /// What stands between the labels of a cell, where a text may have several; none where it has one.
    pub separator: Option<String>,
}

/// The columns of a table whose words have a tag each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordColumns {
    /// The list of words.
    pub words: String,
    /// The list of tags: the first of these that a file has.
    pub tags: Vec<String>,
    /// What the tags are called, where a file has their numbers. Empty where the numbers are all that is known.
    pub names: Vec<String>,
}

impl Default for WordColumns {
    /// `tokens`, and `tags` or `ner_tags`, as data sets of the Hugging Face hub call them.
    fn default() -> Self {
        let [words, tags, ner_tags] = ["tokens", "tags", "ner_tags"].map(str::to_owned);
        WordColumns { words, tags: vec![tags, ner_tags], names: Vec::new() }
    }
}
