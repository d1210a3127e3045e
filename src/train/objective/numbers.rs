//! Regression: a number for each text.

use std::sync::Arc;

use super::texts::{Targets, TextBatch, TextBuffers};
use super::{BatchShape, Losses, Objective};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::models::{Config, Model};
use crate::nn::Dropouts;
use crate::ops::squared_error::squared_error;
use crate::tensor::DType;

/// The squared difference to the number of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers;

impl Objective for Numbers {
    type Batch = TextBatch;
    type Buffers = TextBuffers;

    fn shape(&self, batch: &TextBatch) -> BatchShape {
        (batch.texts.len(), batch.tokens)
    }

    fn check(&self, _: &Config, batch: &TextBatch) -> Result<()> {
        let fits = match &batch.targets {
            Targets::Numbers(list) => {
                list.len() == batch.texts.len() && list.iter().all(|number| number.is_finite())
            }
            _ => false,
        };
        batch.require(fits, "texts with a finite number each")
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
        let numbers = buffers.classify(graph, model, dropouts)?;
        let targets = graph.input(&buffers.targets, [texts], DType::F32)?;
        let weights = graph.input(&buffers.weights, [texts], DType::F32)?;
        Ok(Losses { loss: squared_error(graph, &numbers, &targets, &weights)?, correct: None })
    }
}
