//! Token classification: a class for each of some tokens, as in named-entity recognition.

use std::sync::Arc;

use super::classes::{check_weights, weight_of};
use super::texts::{Chunk, Targets, TextBatch, TextBuffers};
use super::{BatchShape, Losses, Objective};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::models::{Config, InputBuffers, Model};
use crate::nn::Dropouts;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::gather_rows::UNUSED;
use crate::tensor::DType;

/// Cross entropy of the class of each labelled token, in nats. The other tokens are read and not judged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenClasses {
    /// What a token of each class counts, above 0; nothing where all count alike. The mean is that over what the tokens of a
    /// step weigh.
    pub weights: Vec<f32>,
}

impl TokenClasses {
    /// The labelled tokens of a batch: which row of its `[B * T]` each is, and its class.
    fn labelled(batch: &TextBatch) -> impl Iterator<Item = (u32, u32)> {
        let texts = match &batch.targets {
            Targets::Tokens(list) => list.as_slice(),
            _ => &[],
        };
        let rows = batch.tokens as u32;
        texts.iter().zip(0..).flat_map(move |(labels, text)| {
            labels.iter().map(move |(place, class)| (text * rows + place, *class))
        })
    }

    fn weight(&self, class: u32) -> f32 {
        if self.weights.is_empty() { 1.0 } else { weight_of(&self.weights, class) }
    }
}

impl Objective for TokenClasses {
    type Batch = TextBatch;
    type Buffers = TextBuffers;

    fn shape(&self, batch: &TextBatch) -> BatchShape {
        (batch.texts.len(), batch.tokens)
    }

    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()> {
        if !self.weights.is_empty() {
            check_weights(&self.weights, config)?;
        }
        let classes = config.labels.len();
        let fits = match &batch.targets {
            Targets::Tokens(list) => {
                let inside = |(text, labels): (usize, &Vec<(u32, u32)>)| {
                    let tokens = batch.texts[text].ids.len();
                    let known = |&(place, class): &(u32, u32)| {
                        (place as usize) < tokens && (class as usize) < classes
                    };
                    // Each row is gathered once.
                    labels.iter().all(known) && labels.is_sorted_by(|a, b| a.0 < b.0)
                };
                list.len() == batch.texts.len() && list.iter().enumerate().all(inside)
            }
            _ => false,
        };
        batch.require(fits, &format!("texts with tokens in their order, each of a class below {classes}"))
    }

    fn answers(&self, batch: &TextBatch) -> usize {
        Self::labelled(batch).count()
    }

    fn total_weight(&self, batch: &TextBatch) -> f64 {
        Self::labelled(batch).map(|(_, class)| f64::from(self.weight(class))).sum()
    }

    /// Every token of a shape might be labelled.
    fn buffers(&self, gpu: &Gpu, model: &Model, (sequences, tokens): BatchShape) -> Result<TextBuffers> {
        let words = |label: &str| gpu.buffer(label, (sequences * tokens) as u64 * 4);
        let inputs = InputBuffers::new(gpu, &model.config, sequences, tokens)?;
        let chunk = Chunk { texts: sequences, inputs, pooled: words("labelled rows")? };
        Ok(TextBuffers { chunks: vec![chunk], targets: words("targets")?, weights: words("weights")? })
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
        let chunk = &buffers.chunks[0];
        let texts = batch.texts.iter().map(|text| (text.ids.as_slice(), text.types.as_slice()));
        chunk.inputs.write_texts(gpu, &model.config, texts)?;
        let (mut rows, mut classes): (Vec<u32>, Vec<u32>) = Self::labelled(batch).unzip();
        let mut weights: Vec<f32> = classes.iter().map(|&class| self.weight(class) * weight).collect();
        let room = batch.texts.len() * batch.tokens;
        rows.resize(room, UNUSED);
        classes.resize(room, 0);
        weights.resize(room, 0.0);
        gpu.write(&chunk.pooled, 0, &rows);
        gpu.write(&buffers.targets, 0, &classes);
        gpu.write(&buffers.weights, 0, &weights);
        Ok(())
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &TextBuffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        let (chunk, dropouts) = (&buffers.chunks[0], dropouts.first());
        let inputs = chunk.inputs.inputs(graph, &model.config)?;
        let count = inputs.sequences * inputs.tokens;
        let rows = graph.input(&chunk.pooled, [count], DType::U32)?;
        let classes = graph.input(&buffers.targets, [count], DType::U32)?;
        let weights = graph.input(&buffers.weights, [count], DType::F32)?;
        let hidden = model.encode_with(graph, &inputs, dropouts)?.last;
        let logits = model.classify_tokens(graph, &hidden, Some(&rows), dropouts)?;
        let guessed = cross_entropy(graph, &logits, &classes, &weights, model.config.labels.len())?;
        Ok(Losses { loss: guessed.loss, correct: Some(guessed.correct) })
    }
}
