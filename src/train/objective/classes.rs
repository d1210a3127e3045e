//! Classification: the class of each text.

use super::Losses;
use super::texts::{HeadObjective, HeadOutputs, Targets, TextBatch};
use crate::Result;
use crate::autograd::Graph;
use crate::models::Config;
use crate::ops::cross_entropy::cross_entropy;
use crate::tensor::DType;

/// Cross entropy of the class of each text, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes;

impl HeadObjective for Classes {
    const TARGETS: DType = DType::U32;

    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()> {
        let classes = config.labels.len();
        let fits = match &batch.targets {
            Targets::Classes(list) => {
                list.len() == batch.texts.len() && list.iter().all(|&class| (class as usize) < classes)
            }
            _ => false,
        };
        batch.require(fits, &format!("texts with a class below {classes} each"))
    }

    fn losses(&self, graph: &mut Graph, config: &Config, head: &HeadOutputs) -> Result<Losses> {
        let HeadOutputs { outputs, targets, weights } = head;
        let guessed = cross_entropy(graph, outputs, targets, weights, config.labels.len())?;
        Ok(Losses { loss: guessed.loss, correct: Some(guessed.correct) })
    }
}
