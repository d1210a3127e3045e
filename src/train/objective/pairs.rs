//! Contrastive training: find the partner of each text among those of all others in the batch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::texts::{Targets, TextBatch, TextBuffers};
use super::{BatchShape, Losses, Objective};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::models::{Config, Model, Pooling};
use crate::nn::Dropouts;
use crate::ops::concat_rows::concat_rows;
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::gather_rows::gather_rows;
use crate::ops::matmul::linear;
use crate::ops::normalize::normalize;
use crate::ops::scale::scale;
use crate::tensor::{DType, Tensor};

/// Cross entropy of finding the partner of each text among those of all others in the batch, by the cosine of their
/// vectors times a factor (Henderson et al. 2017). With a text as its own partner, told apart by dropout alone, it is
/// SimCSE (Gao et al. 2021), whose temperature of 0.05 is a factor of 20.
///
/// Texts may have hard negatives: texts that look as if they belonged to them. All of a batch's are then among those from
/// which each text tells its partner apart (Karpukhin et al. 2020), which is what the MultipleNegativesRankingLoss of
/// sentence-transformers does with columns behind the second.
///
/// The other pairs of a batch are what a pair is told apart from, so a batch is not divided into micro-batches whose
/// gradients add up. Instead only its vectors are kept: chunks of texts are computed a second time for their gradients
/// (Gao et al. 2021, *Scaling deep contrastive learning batch size under memory limited setup*), so that memory depends
/// on the chunk and not on the batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// How tokens become a vector.
    pub pooling: Pooling,
    /// What cosines are multiplied by.
    pub factor: f32,
    /// Pairs computed at once.
    pub at_once: usize,
    /// Hard negatives of each text.
    pub negatives: usize,
}

impl Pairs {
    /// Texts computed at once.
    fn chunk(&self) -> usize {
        self.at_once.max(1).saturating_mul(self.parts())
    }

    /// Texts of a pair, its negatives counted.
    fn parts(&self) -> usize {
        2 + self.negatives
    }
}

impl Objective for Pairs {
    type Batch = TextBatch;
    type Buffers = TextBuffers;

    fn shape(&self, batch: &TextBatch) -> BatchShape {
        (batch.texts.len(), batch.tokens)
    }

    fn check(&self, _: &Config, batch: &TextBatch) -> Result<()> {
        let fits = batch.targets == Targets::Pairs && batch.texts.len().is_multiple_of(self.parts());
        let expected = match self.negatives {
            0 => "texts and as many partners".to_owned(),
            negatives => format!("texts, as many partners and {negatives} negatives for each"),
        };
        batch.require(fits, &expected)
    }

    fn answers(&self, batch: &TextBatch) -> usize {
        batch.texts.len() / self.parts()
    }

    /// Chunks drop independently of each other: a text may meet itself as its partner in another one.
    fn dropout_keys(&self, (sequences, _): BatchShape) -> usize {
        sequences.div_ceil(self.chunk())
    }

    fn buffers(&self, gpu: &Gpu, model: &Model, shape: BatchShape) -> Result<TextBuffers> {
        TextBuffers::new(gpu, &model.config, shape, self.chunk())
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
        buffers.write(gpu, model, self.pooling, batch, &vec![weight; self.answers(batch)])
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &TextBuffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        let pooling = self.pooling;
        let whole = buffers.chunks.len() == 1;
        let mut texts = 0;
        let mut parts = Vec::new();
        for (index, chunk) in buffers.chunks.iter().enumerate() {
            texts += chunk.texts;
            let inputs = chunk.inputs(graph, &model.config, pooling)?;
            let (model, dropout) = (Arc::clone(model), dropouts.get(index).cloned());
            let vectors = move |graph: &mut Graph| inputs.vectors(graph, &model, pooling, dropout.as_ref());
            parts.push(if whole { vectors(graph)? } else { graph.recompute(vectors)? });
        }
        let vectors = if whole { parts.remove(0) } else { concat_rows(graph, &parts)? };
        let weights = graph.input(&buffers.weights, [texts / self.parts()], DType::F32)?;
        let found = in_batch(graph, &vectors, self.factor, &weights)?;
        Ok(Losses { loss: found.loss, correct: Some(found.correct) })
    }
}

/// Cross entropy of finding row `n + i` of `vectors [n + m, C]` as the partner of row `i` among all m from `n` on: the n
/// partners, and the negatives behind them.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these.
fn in_batch(graph: &mut Graph, vectors: &Tensor, factor: f32, weights: &Tensor) -> Result<CrossEntropy> {
    let pairs = weights.shape().elements();
    let unit = normalize(graph, vectors)?;
    let candidates = vectors.shape().rows() - pairs;
    let mut some = |first: usize, count: usize| {
        let rows: Vec<u32> = (first..first + count).map(|row| row as u32).collect();
        let rows = graph.constant(&rows, [count], DType::U32)?;
        gather_rows(graph, &unit, &rows)
    };
    let (texts, others) = (some(0, pairs)?, some(pairs, candidates)?);
    let cosines = linear(graph, &texts, &others)?; // [n, m rounded up to 4]
    let logits = scale(graph, &cosines, factor)?;
    let own: Vec<u32> = (0..pairs as u32).collect();
    let own = graph.constant(&own, [pairs], DType::U32)?;
    cross_entropy(graph, &logits, &own, weights, candidates)
}
