//! From the hidden states of a text's tokens to one vector.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::autograd::Graph;
use crate::ops::gather_rows::gather_rows;
use crate::ops::mean_rows::mean_rows;
use crate::tensor::Tensor;

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over all tokens, `[CLS]` and `[SEP]` counted, padding not.
    Mean,
    /// The vector of the first token.
    #[default]
    Cls,
}

impl Pooling {
    /// What [`Pooling::record`] reads for texts of `lengths` in sequences of `tokens`: one or two words per text.
    pub fn slots(self, lengths: &[usize], tokens: usize) -> Vec<u32> {
        match self {
            Pooling::Mean => lengths.iter().flat_map(|&length| [0, length as u32]).collect(),
            Pooling::Cls => (0..lengths.len()).map(|sequence| (sequence * tokens) as u32).collect(),
        }
    }

    /// The shape of the slots of `sequences` texts.
    pub fn slots_shape(self, sequences: usize) -> Vec<usize> {
        match self {
            Pooling::Mean => vec![sequences, 2],
            Pooling::Cls => vec![sequences],
        }
    }

    /// One vector per text, `[B, C]`, of hidden states `[B·T, C]`; `slots` is an input of [`Pooling::slots`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes are not these.
    pub fn record(self, graph: &mut Graph, hidden: &Tensor, slots: &Tensor) -> Result<Tensor> {
        match self {
            Pooling::Mean => mean_rows(graph, hidden, slots),
            Pooling::Cls => gather_rows(graph, hidden, slots),
        }
    }
}
