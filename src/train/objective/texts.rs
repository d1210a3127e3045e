//! What objectives on whole texts share: a batch of texts with a target each, and where it lies on the device.

use std::sync::Arc;

use super::{BatchShape, Losses, Objective};
use crate::autograd::Graph;
use crate::data::task::Encoded;
use crate::gpu::{Buffer, Gpu};
use crate::models::{Config, InputBuffers, Inputs, Model, Pooling};
use crate::nn::Dropouts;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// An objective on texts, chosen while the program runs.
pub type TextObjective = Box<dyn Objective<Batch = TextBatch, Buffers = TextBuffers>>;

/// What the texts of a batch are labelled with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// A class each.
    Classes(Vec<u32>),
    /// A number each.
    Numbers(Vec<f32>),
    /// Any number of labels each.
    Labels(Vec<Vec<u32>>),
    /// Of each text the places of the tokens that have a class, and the classes.
    Tokens(Vec<Vec<(u32, u32)>>),
    /// Behind the texts come as many partners, and then as many negatives of each kind.
    Pairs,
}

/// Texts that are computed by one replay.
#[derive(Debug, Clone, PartialEq)]
pub struct TextBatch {
    /// T, to which all are padded.
    pub tokens: usize,
    /// The texts; in contrastive training first one of each pair, then the others in the same order, then their negatives.
    pub texts: Vec<Encoded>,
    /// What they are labelled with.
    pub targets: Targets,
}

impl TextBatch {
    /// [`Error::Shape`] unless `fits` and there is a text.
    pub(super) fn require(&self, fits: bool, expected: &str) -> Result<()> {
        if fits && !self.texts.is_empty() {
            return Ok(());
        }
        let targets = match &self.targets {
            Targets::Classes(list) => format!("{} classes up to {:?}", list.len(), list.iter().max()),
            Targets::Numbers(list) => format!("{} numbers", list.len()),
            Targets::Labels(list) => {
                format!("{} sets of labels up to {:?}", list.len(), list.iter().flatten().max())
            }
            Targets::Tokens(list) => {
                let classes = list.iter().flatten().map(|(_, class)| class);
                format!("tokens of {} texts with classes up to {:?}", list.len(), classes.max())
            }
            Targets::Pairs => "pairs".to_owned(),
        };
        Err(Error::Shape {
            operation: "finetuning step",
            expected: expected.to_owned(),
            found: format!("{} texts and {targets}", self.texts.len()),
        })
    }
}

/// Where a batch of texts lies on the device.
#[derive(Debug)]
pub struct TextBuffers {
    /// The texts, in chunks that are computed at once.
    pub(super) chunks: Vec<Chunk>,
    /// Classes or numbers, one for each text or labelled token, or a number for each label of each text.
    pub(super) targets: Buffer,
    /// What each loss counts.
    pub(super) weights: Buffer,
}

/// Texts of a batch that are computed at once.
#[derive(Debug)]
pub(super) struct Chunk {
    pub texts: usize,
    pub(super) inputs: InputBuffers,
    /// What pooling reads, or which tokens are labelled.
    pub(super) pooled: Buffer,
}

/// The inputs of a chunk as tensors of one recording.
#[derive(Clone)]
pub(super) struct ChunkInputs {
    inputs: Inputs,
    slots: Tensor,
}

impl TextBuffers {
    /// Room for `sequences` texts of `tokens`, of which `at_once` are computed at once.
    pub fn new(gpu: &Gpu, config: &Config, (sequences, tokens): BatchShape, at_once: usize) -> Result<Self> {
        let words = |label: &str, texts: usize| gpu.buffer(label, texts as u64 * 8);
        let starts = (0..sequences).step_by(at_once.max(1));
        let chunk = |start: usize| {
            let texts = at_once.max(1).min(sequences - start);
            let inputs = InputBuffers::new(gpu, config, texts, tokens)?;
            Ok(Chunk { texts, inputs, pooled: words("pooled rows", texts)? })
        };
        Ok(TextBuffers {
            chunks: starts.map(chunk).collect::<Result<_>>()?,
            targets: words("targets", sequences)?,
            weights: words("weights", sequences)?,
        })
    }

    /// Puts texts, targets and the weight of each answer there.
    pub fn write(
        &self,
        gpu: &Gpu,
        model: &Model,
        pooling: Pooling,
        batch: &TextBatch,
        weights: &[f32],
    ) -> Result<()> {
        let mut start = 0;
        for chunk in &self.chunks {
            let texts = &batch.texts[start..start + chunk.texts];
            start += chunk.texts;
            let parts = texts.iter().map(|text| (text.ids.as_slice(), text.types.as_slice()));
            chunk.inputs.write_texts(gpu, &model.config, parts)?;
            let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
            gpu.write(&chunk.pooled, 0, &pooling.slots(&lengths, batch.tokens));
        }
        match &batch.targets {
            Targets::Classes(list) => gpu.write(&self.targets, 0, list),
            Targets::Numbers(list) => gpu.write(&self.targets, 0, list),
            Targets::Labels(list) => {
                let labels = model.config.labels.len();
                let mut values = vec![0f32; list.len() * labels];
                for (text, given) in list.iter().enumerate() {
                    given.iter().for_each(|label| values[text * labels + *label as usize] = 1.0);
                }
                gpu.write(&self.targets, 0, &values);
            }
            // Those of pairs are their places, and an objective on tokens uploads its own.
            Targets::Pairs | Targets::Tokens(_) => {}
        }
        gpu.write(&self.weights, 0, weights);
        Ok(())
    }
}

/// What the model's head says of the texts of a batch, as tensors of one recording.
#[derive(Debug)]
pub struct HeadOutputs {
    /// `[texts, K]`: the logits of the classes, or the number. K is the number of labels rounded up to a multiple of 4,
    /// and the columns beyond the labels are unspecified.
    pub outputs: Tensor,
    /// `[texts]`, or `[texts, n]` where a text has several: what is right.
    pub targets: Tensor,
    /// `[texts]` f32: what each loss is multiplied by.
    pub weights: Tensor,
}

/// An objective on what the model's head says of each text alone. All such objectives upload the same and differ in
/// their targets and in the loss.
pub trait HeadObjective {
    /// The type of a target.
    const TARGETS: DType;

    /// As [`Objective::check`].
    ///
    /// # Errors
    /// [`Error::Shape`] when the targets do not fit the texts or the model.
    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()>;

    /// How many targets a text has, where it may have another number than one.
    fn targets_per_text(&self, _config: &Config) -> Option<usize> {
        None
    }

    /// What the loss of each text counts, where some count more than others.
    fn weights(&self, _batch: &TextBatch) -> Option<Vec<f32>> {
        None
    }

    /// Records the losses.
    ///
    /// # Errors
    /// Those of the operations.
    fn losses(&self, graph: &mut Graph, config: &Config, head: &HeadOutputs) -> Result<Losses>;
}

impl<O: HeadObjective> Objective for O {
    type Batch = TextBatch;
    type Buffers = TextBuffers;

    fn shape(&self, batch: &TextBatch) -> BatchShape {
        (batch.texts.len(), batch.tokens)
    }

    fn check(&self, config: &Config, batch: &TextBatch) -> Result<()> {
        HeadObjective::check(self, config, batch)
    }

    fn answers(&self, batch: &TextBatch) -> usize {
        batch.texts.len()
    }

    fn total_weight(&self, batch: &TextBatch) -> f64 {
        match HeadObjective::weights(self, batch) {
            Some(weights) => weights.into_iter().map(f64::from).sum(),
            None => batch.texts.len() as f64,
        }
    }

    fn buffers(&self, gpu: &Gpu, model: &Model, shape: BatchShape) -> Result<TextBuffers> {
        let buffers = TextBuffers::new(gpu, &model.config, shape, shape.0)?;
        match self.targets_per_text(&model.config) {
            Some(count) => {
                let targets = gpu.buffer("targets", (shape.0 * count) as u64 * 4)?;
                Ok(TextBuffers { targets, ..buffers })
            }
            None => Ok(buffers),
        }
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
        let weights = match HeadObjective::weights(self, batch) {
            Some(weights) => weights.into_iter().map(|own| own * weight).collect(),
            None => vec![weight; self.answers(batch)],
        };
        buffers.write(gpu, model, pooling, batch, &weights)
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &TextBuffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        let config = &model.config;
        let (chunk, dropouts) = (&buffers.chunks[0], dropouts.first());
        let texts = chunk.texts;
        let chunk = chunk.inputs(graph, config, config.classifier_pooling)?;
        let hidden = model.encode_with(graph, &chunk.inputs, dropouts)?.last;
        let targets = match self.targets_per_text(config) {
            Some(count) => graph.input(&buffers.targets, [texts, count], O::TARGETS)?,
            None => graph.input(&buffers.targets, [texts], O::TARGETS)?,
        };
        let head = HeadOutputs {
            outputs: model.classify(graph, &hidden, &chunk.slots, dropouts)?,
            targets,
            weights: graph.input(&buffers.weights, [texts], DType::F32)?,
        };
        self.losses(graph, config, &head)
    }
}

impl Chunk {
    /// Its texts in a recording.
    pub(super) fn inputs(&self, graph: &mut Graph, config: &Config, pooling: Pooling) -> Result<ChunkInputs> {
        let shape = pooling.slots_shape(self.texts);
        let slots = graph.input(&self.pooled, shape.as_slice(), DType::U32)?;
        Ok(ChunkInputs { inputs: self.inputs.inputs(graph, config)?, slots })
    }
}

impl ChunkInputs {
    /// The vectors of its texts, `[B, C]`.
    pub(super) fn vectors(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        pooling: Pooling,
        dropouts: Option<&Dropouts>,
    ) -> Result<Tensor> {
        let hidden = model.encode_with(graph, &self.inputs, dropouts)?.last;
        pooling.record(graph, &hidden, &self.slots)
    }
}
