//! What an encoder reads.

use crate::nn::Ids;
use crate::tensor::Tensor;

/// The words of a batch as the encoder takes them.
#[derive(Debug, Clone)]
pub enum Words {
    /// Their ids, by which rows of a table on the device are looked up.
    Ids(Ids),
    /// `[N, C]`: their embeddings, already looked up.
    Rows(Tensor),
}

impl From<Ids> for Words {
    fn from(ids: Ids) -> Self {
        Words::Ids(ids)
    }
}

/// What one batch feeds to the encoder. N = B·T rows.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// B.
    pub sequences: usize,
    /// T.
    pub tokens: usize,
    /// The tokens.
    pub words: Words,
    /// The position of each row in its sequence; needed for absolute positions only.
    pub positions: Option<Ids>,
    /// Which of two texts each row is of; needed for models with token types only.
    pub types: Option<Ids>,
    /// `[N, 2]` u32: the range of positions that each row attends to.
    pub bounds: Tensor,
}
