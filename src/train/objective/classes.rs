//! Classification: the class of each text.

use std::sync::Arc;

use super::texts::{Targets, TextBatch, TextBuffers};
use super::{BatchShape, Losses, Objective};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::models::{Config, Model};
use crate::nn::Dropouts;
use crate::ops::cross_entropy::cross_entropy;
use crate::tensor::DType;

/// Cross entropy of the class of each text, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes;

impl Objective for Classes {
    type Batch = TextBatch;
    type Buffers = TextBuffers;

    fn shape(&self, batch: &TextBatch) -> BatchShape {
        (batch.texts.len(), batch.tokens)
    }

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

    fn answers(&self, batch: &TextBatch) -> usize {
        batch.texts.len()
    }

    fn buffers(&self, gpu: &Gpu, _: &Model, shape: BatchShape) -> Result<TextBuffers> {
        TextBuffers::new(gpu, shape, shape.0)
    }

    fn upload(
        &self,
        gpu: &Gpu,
        model: &Model,
        buffers: &TextBuffers,
        batch: &TextBatch,
        _: usize,
        weight: f32,
    ) -> Result<()> {
        let pooling = model.config.classifier_pooling;
        buffers.write(gpu, model, pooling, batch, (self.answers(batch), weight))
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &TextBuffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        let texts = buffers.chunks[0].texts;
        let logits = buffers.classify(graph, model, dropouts)?;
        let labels = graph.input(&buffers.targets, [texts], DType::U32)?;
        let weights = graph.input(&buffers.weights, [texts], DType::F32)?;
        let guessed = cross_entropy(graph, &logits, &labels, &weights, model.config.labels.len())?;
        Ok(Losses { loss: guessed.loss, correct: Some(guessed.correct) })
    }
}
