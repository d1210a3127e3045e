//! Dropout throughout a model while it is finetuned.

use crate::Result;
use crate::autograd::Graph;
use crate::hash::fnv1a;
use crate::ops::dropout::{Dropout, dropout};
use crate::tensor::Tensor;

/// How much is dropped. Each place drops independently of the others: its name chooses its random numbers.
#[derive(Debug, Clone)]
pub struct Dropouts {
    /// The share of values that become 0 in the embeddings, at the end of each half of a block and before the head.
    pub hidden: f32,
    /// The share of attention probabilities that become 0.
    pub attention: f32,
    /// The step's key ([`crate::ops::dropout::Key`]).
    pub key: Tensor,
}

impl Dropouts {
    /// Dropout of hidden states at the place `name`; without `dropouts` or at a rate of 0, `x` itself.
    pub(super) fn hidden(
        dropouts: Option<&Self>,
        graph: &mut Graph,
        x: Tensor,
        name: &str,
    ) -> Result<Tensor> {
        match dropouts.and_then(|d| d.at(d.hidden, name)) {
            Some(options) => dropout(graph, &x, &options),
            None => Ok(x),
        }
    }

    /// Dropout of attention probabilities at the place `name`.
    pub(super) fn attention(dropouts: Option<&Self>, name: &str) -> Option<Dropout> {
        dropouts.and_then(|d| d.at(d.attention, name))
    }

    fn at(&self, rate: f32, name: &str) -> Option<Dropout> {
        let site = fnv1a(name.as_bytes()) as u32;
        (rate > 0.0).then(|| Dropout { rate, key: self.key.clone(), site })
    }
}
