//! The table of word embeddings where it stays on the CPU: the largest tensor of many models, of which a batch needs a
//! few rows.

use std::fmt;

use crate::Result;

/// Reads the rows of these ids, one after the other.
type Read = dyn Fn(&[u32]) -> Result<Vec<f32>> + Send + Sync;

/// A table `[V, C]` of which rows are read as they are needed, from a file for example. The device never sees it: what
/// the encoder gets is the rows of a batch.
pub struct WordTable(Box<Read>);

impl fmt::Debug for WordTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordTable").finish_non_exhaustive()
    }
}

impl WordTable {
    /// The table whose rows `read` gives, C values for each id below V.
    pub fn new(read: impl Fn(&[u32]) -> Result<Vec<f32>> + Send + Sync + 'static) -> Self {
        WordTable(Box::new(read))
    }

    /// The rows of `ids`, one after the other: `[N, C]`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn rows(&self, ids: &[u32]) -> Result<Vec<f32>> {
        (self.0)(ids)
    }
}
