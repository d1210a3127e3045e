//! A model that learns a task on a device: every step is a replay of a recording for its number of texts and tokens.

use super::objective::{Objective, Targets, record};
use crate::bert::{InputSlots, Model};
use crate::data::task::Encoded;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::infer::outputs::put;
use crate::infer::shapes::Shapes;
use crate::ops::dropout::Key;
use crate::optim::{AdamW, AdamWOptions, Tickets, Totals};
use crate::train::StepReport;
use crate::{Error, Result};

/// What a learner is built with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskOptions {
    /// What is learned.
    pub objective: Objective,
    /// The share that dropout zeroes, of hidden states and of attention probabilities.
    pub dropout: f32,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Chooses what dropout zeroes.
    pub seed: u64,
}

/// Texts of one step that are computed at once.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskBatch {
    /// T, to which all are padded.
    pub tokens: usize,
    /// The texts; in contrastive training first one of each pair, then the others in the same order.
    pub texts: Vec<Encoded>,
    /// What they are labelled with.
    pub targets: Targets,
}

/// A model, its optimizer and what was recorded for them.
pub struct TaskLearner {
    gpu: Gpu,
    model: Model,
    options: TaskOptions,
    optimizer: AdamW,
    totals: Totals,
    tickets: Tickets,
    key: Key,
    ticket: Buffer,
    shapes: Shapes<Slots>,
    /// Replays so far: dropout is another in each.
    replays: u64,
}

/// One shape's inputs, and its recording.
pub(super) struct Slots {
    pub inputs: InputSlots,
    /// What pooling reads.
    pub pooled: Buffer,
    /// Classes or numbers.
    pub targets: Buffer,
    /// What each text counts.
    pub weights: Buffer,
    recording: Recording,
}

impl TaskLearner {
    /// A learner that trains `model`, whose parameters have gradients.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Config`] for parameters without gradients.
    pub fn new(gpu: &Gpu, model: Model, options: TaskOptions) -> Result<Self> {
        let totals = Totals::new(gpu)?;
        let optimizer = AdamW::new(&model.parameters, options.optimizer, &totals)?;
        Ok(TaskLearner {
            gpu: gpu.clone(),
            model,
            options,
            optimizer,
            totals,
            tickets: Tickets::default(),
            key: Key::new(gpu)?,
            ticket: gpu.buffer("the ticket", 4)?,
            shapes: Shapes::new(),
            replays: 0,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// One optimizer step over all of `batches`: the gradient of the mean loss over all their texts.
    ///
    /// # Errors
    /// [`Error::Shape`] for texts and targets that do not fit each other; those of the device.
    pub async fn step(&mut self, batches: &[TaskBatch], learning_rate: f64) -> Result<StepReport> {
        let count = self.accumulate(batches)?;
        let report = self.optimizer.step(&self.model.parameters, learning_rate as f32, &self.tickets).await?;
        Ok(StepReport {
            loss: f64::from(report.sums.loss),
            accuracy: f64::from(report.sums.correct) / count.max(1) as f64,
            gradient_norm: f64::from(report.norm),
            skipped: !report.applied,
        })
    }

    /// Puts the gradient of the mean loss over all texts of `batches` in the place of the old one. Returns how many
    /// answers there were.
    ///
    /// # Errors
    /// As [`TaskLearner::step`].
    pub fn accumulate(&mut self, batches: &[TaskBatch]) -> Result<usize> {
        let count: usize = batches.iter().map(|batch| self.options.objective.answers(batch)).sum();
        self.optimizer.begin()?;
        self.tickets = Tickets::default();
        for batch in batches {
            self.replay(batch, 1.0 / count.max(1) as f32)?;
        }
        Ok(count)
    }

    fn replay(&mut self, batch: &TaskBatch, weight: f32) -> Result<()> {
        let TaskLearner { gpu, model, options, totals, key, ticket, .. } = self;
        let sequences = batch.texts.len();
        let answers = options.objective.answers(batch);
        let fits = match &batch.targets {
            Targets::Classes(list) => {
                let classes = model.config.labels.len() as u32;
                list.len() == sequences && list.iter().all(|&class| class < classes)
            }
            Targets::Numbers(list) => list.len() == sequences && list.iter().all(|number| number.is_finite()),
            Targets::Pairs => sequences.is_multiple_of(2),
        };
        if sequences == 0 || !fits || !options.objective.takes(&batch.targets) {
            return Err(Error::Shape {
                operation: "finetuning step",
                expected: "texts with a target each that fits the model's head".into(),
                found: format!("{sequences} texts and {:?}", batch.targets),
            });
        }
        let shape = (sequences, batch.tokens);
        let slots = self.shapes.get(shape, || {
            let words = |label: &str| gpu.buffer(label, sequences as u64 * 8);
            let inputs = InputSlots::new(gpu, sequences, batch.tokens)?;
            let (pooled, targets, weights) = (words("pooled rows")?, words("targets")?, words("weights")?);
            let buffers = [&pooled, &targets, &weights, &*ticket];
            let recording = record(gpu, model, *options, sequences, &inputs, buffers, (totals, key))?;
            let bytes = recording.transient_bytes();
            Ok((Slots { inputs, pooled, targets, weights, recording }, bytes))
        })?;
        put(gpu, &slots.inputs, model, batch.texts.iter(), batch.tokens)?;
        match &batch.targets {
            Targets::Classes(list) => gpu.write(&slots.targets, 0, list),
            Targets::Numbers(list) => gpu.write(&slots.targets, 0, list),
            Targets::Pairs => {}
        }
        let lengths: Vec<usize> = batch.texts.iter().map(|text| text.ids.len()).collect();
        let pooling = options.objective.pooling(&model.config);
        gpu.write(&slots.pooled, 0, &pooling.slots(&lengths, batch.tokens));
        gpu.write(&slots.weights, 0, &vec![weight; answers]);
        gpu.write(ticket, 0, &[self.tickets.issue()]);
        key.write(gpu, options.seed, self.replays);
        self.replays += 1;
        slots.recording.replay()
    }
}
