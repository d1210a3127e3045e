//! Regression: a number for each text.

use super::Losses;
use super::texts::{HeadObjective, HeadOutputs, Targets, TextBatch};
use crate::Result;
use crate::autograd::Graph;
use crate::models::Config;
use crate::ops::squared_error::squared_error;
use crate::tensor::DType;

/// The squared difference to the number of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers;

impl HeadObjective for Numbers {
    const TARGETS: DType = DType::F32;

    fn check(&self, _: &Config, batch: &TextBatch) -> Result<()> {
        let fits = match &batch.targets {
            Targets::Numbers(list) => {
                list.len() == batch.texts.len() && list.iter().all(|number| number.is_finite())
            }
            _ => false,
        };
        batch.require(fits, "texts with a finite number each")
    }

    fn losses(&self, graph: &mut Graph, _: &Config, head: &HeadOutputs) -> Result<Losses> {
        let HeadOutputs { outputs, targets, weights } = head;
        Ok(Losses { loss: squared_error(graph, outputs, targets, weights)?, correct: None })
    }
}
