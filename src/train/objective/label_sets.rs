//! Classification where a text may have several labels, or none: whether it has each is a question of its own.

use super::Losses;
use super::texts::{HeadObjective, HeadOutputs, Targets, TextBatch};
use crate::Result;
use crate::autograd::Graph;
use crate::models::Config;
use crate::ops::binary_cross_entropy::binary_cross_entropy;
use crate::tensor::DType;

/// Binary cross entropy of the labels of each text, in nats: the mean over all labels of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelSets;

impl HeadObjective for LabelSets {
    const TARGETS: DType = DType::F32;

    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()> {
        let labels = config.labels.len();
        let fits = match &batch.targets {
            Targets::Labels(list) => {
                list.len() == batch.texts.len()
                    && list.iter().flatten().all(|&label| (label as usize) < labels)
            }
            _ => false,
        };
        batch.require(fits, &format!("texts with labels below {labels}"))
    }

    fn targets_per_text(&self, config: &Config) -> Option<usize> {
        Some(config.labels.len())
    }

    fn losses(&self, graph: &mut Graph, _: &Config, head: &HeadOutputs) -> Result<Losses> {
        let HeadOutputs { outputs, targets, weights } = head;
        Ok(Losses { loss: binary_cross_entropy(graph, outputs, targets, weights)?, correct: None })
    }
}
