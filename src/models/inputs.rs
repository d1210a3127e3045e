//! What an encoder reads.

use crate::nn::Ids;
use crate::tensor::Tensor;
use crate::{Error, Result};

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
    /// What rotary positions need; none where they are otherwise.
    pub rotary: Option<RotaryInputs>,
}

/// What the layers of a model with rotary positions read.
#[derive(Debug, Clone)]
pub struct RotaryInputs {
    /// `[T, D/2, 2]`: cosine and sine of the angle of each position and pair of columns
    /// ([`crate::ops::rotary::angles`]), of the layers that attend to all of `bounds`.
    pub angles: Tensor,
    /// Bounds `[N, 2]` and angles of the layers that attend to what is near; needed where there are such layers.
    pub local: Option<(Tensor, Tensor)>,
}

impl Inputs {
    /// The bounds of a layer's attention, and the angles by which it turns queries and keys where positions are `rotary`.
    ///
    /// # Errors
    /// [`Error::Shape`] where they are lacking.
    pub(super) fn attended(&self, rotary: bool, local: bool) -> Result<(&Tensor, Option<&Tensor>)> {
        if !rotary {
            return Ok((&self.bounds, None));
        }
        let lacks =
            || Error::shape("rotary positions", "angles, and bounds where attention is local", "none");
        let rotary = self.rotary.as_ref().ok_or_else(lacks)?;
        if local {
            let (bounds, angles) = rotary.local.as_ref().ok_or_else(lacks)?;
            return Ok((bounds, Some(angles)));
        }
        Ok((&self.bounds, Some(&rotary.angles)))
    }
}
