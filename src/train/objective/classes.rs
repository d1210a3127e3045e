//! Classification: the class of each text, all counting alike or each class as it is weighed.

use super::Losses;
use super::texts::{HeadObjective, HeadOutputs, Targets, TextBatch};
use crate::autograd::Graph;
use crate::models::Config;
use crate::ops::cross_entropy::cross_entropy;
use crate::tensor::DType;
use crate::{Error, Result};

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

/// [`Classes`] of which some count more than others: the mean of a step is that over what its texts weigh, as PyTorch's
/// `CrossEntropyLoss(weight)` takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedClasses {
    /// What a text of each class counts, above 0, in the order of the model's labels.
    pub weights: Vec<f32>,
}

impl HeadObjective for WeightedClasses {
    const TARGETS: DType = DType::U32;

    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()> {
        check_weights(&self.weights, config)?;
        HeadObjective::check(&Classes, config, batch)
    }

    fn weights(&self, batch: &TextBatch) -> Option<Vec<f32>> {
        let Targets::Classes(classes) = &batch.targets else { return None };
        Some(classes.iter().map(|&class| weight_of(&self.weights, class)).collect())
    }

    fn losses(&self, graph: &mut Graph, config: &Config, head: &HeadOutputs) -> Result<Losses> {
        Classes.losses(graph, config, head)
    }
}

/// Whether there is a weight above 0 for each of the model's labels.
///
/// # Errors
/// [`Error::Config`] when not.
pub(super) fn check_weights(weights: &[f32], config: &Config) -> Result<()> {
    let labels = config.labels.len();
    if weights.len() == labels && weights.iter().all(|weight| *weight > 0.0 && weight.is_finite()) {
        return Ok(());
    }
    Err(Error::config("class-weights", format!("{labels} numbers above 0"), format!("{weights:?}")))
}

/// What a class counts; one that has no weight, which is refused before, nothing.
pub(super) fn weight_of(weights: &[f32], class: u32) -> f32 {
    weights.get(class as usize).copied().unwrap_or_default()
}
