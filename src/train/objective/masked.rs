//! Masked language modelling (Devlin et al. 2018): guess the tokens that were masked.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BatchShape, Losses, Objective};
use crate::autograd::Graph;
use crate::data::Batch;
use crate::gpu::{Buffer, Gpu};
use crate::models::{Config, InputBuffers, Model, Targets};
use crate::nn::Dropouts;
use crate::tensor::DType;
use crate::{Error, Result};

/// Cross entropy of the masked tokens, in nats. Every micro-batch has the same shape, so that there is one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedTokens {
    /// B: sequences computed at once; a batch may have fewer.
    pub sequences: usize,
    /// T: tokens of a sequence.
    pub tokens: usize,
    /// M: masked tokens that one replay guesses at most. A micro-batch with more is replayed for each so many of them:
    /// its gradients are the same but for rounding, and it takes longer.
    pub targets: usize,
}

/// Where a batch lies on the device.
#[derive(Debug)]
pub struct MaskedBuffers {
    inputs: InputBuffers,
    rows: Buffer,
    labels: Buffer,
    weights: Buffer,
}

impl Objective for MaskedTokens {
    type Batch = Batch;
    type Buffers = MaskedBuffers;

    fn shape(&self, _: &Batch) -> BatchShape {
        (self.sequences, self.tokens)
    }

    fn check(&self, config: &Config, batch: &Batch) -> Result<()> {
        let MaskedTokens { sequences, tokens, .. } = *self;
        let wrong =
            |expected: String, found: String| Error::Shape { operation: "micro-batch", expected, found };
        if batch.sequences > sequences || batch.seq_len != tokens {
            let expected = format!("at most {sequences} sequences of {tokens} tokens");
            return Err(wrong(expected, format!("{} of {}", batch.sequences, batch.seq_len)));
        }
        let vocabulary = config.vocab_size as u32;
        if let Some(id) = batch.labels.iter().find(|&&id| id >= vocabulary) {
            return Err(wrong(format!("labels below the vocabulary of {vocabulary}"), id.to_string()));
        }
        let distinct = batch.masked_rows.is_sorted_by(|a, b| a < b);
        let last = batch.masked_rows.last().map_or(0, |&row| row as usize);
        if batch.masked_rows.len() != batch.labels.len() || !distinct || last >= (sequences * tokens).max(1) {
            let found =
                format!("{} rows up to {last} and {} labels", batch.masked_rows.len(), batch.labels.len());
            return Err(wrong("distinct rows of the batch, ascending, each with a label".into(), found));
        }
        Ok(())
    }

    fn answers(&self, batch: &Batch) -> usize {
        batch.labels.len()
    }

    fn replays(&self, batch: &Batch) -> usize {
        batch.labels.len().div_ceil(self.targets)
    }

    fn buffers(&self, gpu: &Gpu, model: &Model, (sequences, tokens): BatchShape) -> Result<MaskedBuffers> {
        let words = |label: &str| gpu.buffer(label, self.targets as u64 * 4);
        Ok(MaskedBuffers {
            inputs: InputBuffers::new(gpu, &model.config, sequences, tokens)?,
            rows: words("target rows")?,
            labels: words("target labels")?,
            weights: words("target weights")?,
        })
    }

    fn upload(
        &self,
        gpu: &Gpu,
        model: &Model,
        buffers: &MaskedBuffers,
        batch: &Batch,
        replay: usize,
        weight: f32,
    ) -> Result<()> {
        if replay == 0 {
            // Sequences that the batch lacks are padding that nothing attends to.
            buffers.inputs.write(gpu, &model.config, &batch.input_ids, &batch.bounds)?;
        }
        let room = self.targets;
        let part = replay * room..batch.labels.len().min((replay + 1) * room);
        let filled = |values: &[u32], fill: u32| {
            let mut values = values.to_vec();
            values.resize(room, fill);
            values
        };
        let mut weights = vec![weight; part.len()];
        weights.resize(room, 0.0);
        gpu.write(&buffers.rows, 0, &filled(&batch.masked_rows[part.clone()], u32::MAX));
        gpu.write(&buffers.labels, 0, &filled(&batch.labels[part], 0));
        gpu.write(&buffers.weights, 0, &weights);
        Ok(())
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &MaskedBuffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        let inputs = buffers.inputs.inputs(graph, &model.config)?;
        let targets = Targets {
            rows: graph.input(&buffers.rows, [self.targets], DType::U32)?,
            labels: graph.input(&buffers.labels, [self.targets], DType::U32)?,
            weights: graph.input(&buffers.weights, [self.targets], DType::F32)?,
        };
        let hidden = model.encode_with(graph, &inputs, dropouts.first())?;
        let guesses = model.masked_loss(graph, &hidden.last, &targets)?;
        Ok(Losses { loss: guesses.loss, correct: Some(guesses.correct) })
    }
}
