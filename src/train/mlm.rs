//! Masked-language-model training on a device: every step is a replay of recordings made once.

use super::fit::Memory;
use super::learner::{Evaluation, Learner, StepReport};
use super::passes::{Slots, pass};
use crate::autograd::Graph;
use crate::bert::{Config, Model};
use crate::data::Batch;
use crate::gpu::{Buffer, Gpu, Recorder, Recording};
use crate::optim::{AdamW, AdamWOptions, Tickets, Totals};
use crate::tensor::DType;
use crate::{Error, Result};

/// The fixed sizes of a run, and its optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlmOptions {
    /// B: sequences computed at once.
    pub micro_batch: usize,
    /// T: tokens in a sequence.
    pub seq_len: usize,
    /// How many tokens one replay guesses at most. A micro-batch with more is replayed for each so many of them:
    /// its gradients are the same but for rounding, and it takes longer.
    pub targets: usize,
    /// How activations are stored: f32, or f16 with a dynamic loss scale.
    pub storage: DType,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Chooses the first weights.
    pub seed: u64,
}

/// What is replayed for a micro-batch.
#[derive(Clone, Copy)]
enum Pass {
    /// Forward and backward; adds to gradients and totals.
    Learn,
    /// Forward alone; adds to totals.
    Measure,
}

/// A BERT with its head and optimizer.
pub struct MlmLearner {
    gpu: Gpu,
    model: Model,
    options: MlmOptions,
    optimizer: AdamW,
    totals: Totals,
    /// What the replays since the last clearing have added to the totals.
    tickets: Tickets,
    slots: Slots,
    /// What it takes on the device.
    bytes: u64,
    /// Zeroes totals.
    clear_totals: Recording,
    learn: Recording,
    measure: Recording,
}

impl MlmLearner {
    /// A new model with its first weights, and everything a step needs recorded.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that cannot be, [`Error::OutOfMemory`] and [`Error::Limit`] when it does
    /// not fit the device.
    pub fn new(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Self> {
        let learner = Self::build(gpu, config, options)?;
        learner.model.initialize(options.seed)?;
        Ok(learner)
    }

    /// What a learner would take on the device, and that it can be had: everything is allocated and given back.
    ///
    /// # Errors
    /// As [`MlmLearner::new`].
    pub fn plan(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Memory> {
        let learner = Self::build(gpu, config, options)?;
        let memory = learner.memory();
        gpu.try_read_back(memory.read_back)?;
        Ok(memory)
    }

    /// A learner whose parameters are all zero.
    fn build(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Self> {
        let before = gpu.allocated();
        let mut model = Model::new(gpu, config, true)?;
        if options.storage == DType::F16 {
            model = model.with_halves()?;
        }
        let totals = Totals::new(gpu)?;
        let optimizer = AdamW::new(&model.parameters, options.optimizer, &totals)?;
        let mut recorder = Recorder::new(gpu);
        totals.clear(&mut recorder);
        let clear_totals = recorder.finish("clear totals")?;
        let options = MlmOptions { targets: options.targets.max(1), ..options };
        let slots = Slots::new(gpu, &options)?;
        let record = |graph: Graph| {
            let graph = graph.with_storage(options.storage);
            pass(graph, &model, &totals, &slots, options.targets, optimizer.loss_scale())
        };
        let learn = record(Graph::training(gpu))?;
        let mut measuring = Graph::inference(gpu);
        measuring.recorder().share(&learn);
        let measure = record(measuring)?;
        let (bytes, gpu, tickets) = (gpu.allocated() - before, gpu.clone(), Tickets::default());
        let learner = MlmLearner {
            gpu,
            model,
            options,
            optimizer,
            totals,
            tickets,
            slots,
            bytes,
            clear_totals,
            learn,
            measure,
        };
        Ok(learner)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What it takes on the device.
    pub fn memory(&self) -> Memory {
        let segments = self.model.parameters.segments();
        let bytes = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::bytes);
        let weights = segments.iter().map(|s| s.values.bytes() + bytes(&s.halves)).sum();
        let gradients = segments.iter().map(|s| bytes(&s.gradients)).sum();
        let optimizer = self.optimizer.bytes();
        let largest =
            self.model.parameters.shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).max();
        let read_back = Gpu::read_back_bytes(4 * largest.unwrap_or(0) as u64);
        let transient = self.bytes - weights - gradients - optimizer;
        Memory { weights, gradients, optimizer, transient, read_back, total: self.bytes + read_back }
    }

    /// Replays `pass` for `batch`, each of whose targets weighs `weight`. Without a target there is nothing to do.
    fn replay(&mut self, pass: Pass, batch: &Batch, weight: f32) -> Result<()> {
        self.check(batch)?;
        // Sequences that the batch lacks are padding that nothing attends to.
        self.slots.inputs.write(&self.gpu, &self.model.config, &batch.input_ids, &batch.bounds)?;
        let room = self.options.targets;
        for (rows, labels) in batch.masked_rows.chunks(room).zip(batch.labels.chunks(room)) {
            let filled = |values: &[u32], fill: u32| {
                let mut values = values.to_vec();
                values.resize(room, fill);
                values
            };
            let mut weights = vec![weight; rows.len()];
            weights.resize(room, 0.0);
            self.gpu.write(&self.slots.rows, 0, &filled(rows, u32::MAX));
            self.gpu.write(&self.slots.labels, 0, &filled(labels, 0));
            self.gpu.write(&self.slots.weights, 0, &weights);
            self.gpu.write(&self.slots.ticket, 0, &[self.tickets.issue()]);
            match pass {
                Pass::Learn => self.learn.replay()?,
                Pass::Measure => self.measure.replay()?,
            }
        }
        Ok(())
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        let (sequences, tokens) = (self.options.micro_batch, self.options.seq_len);
        if batch.sequences > sequences || batch.seq_len != tokens {
            return Err(Error::Shape {
                operation: "micro-batch",
                expected: format!("at most {sequences} sequences of {tokens} tokens"),
                found: format!("{} of {}", batch.sequences, batch.seq_len),
            });
        }
        let wrong =
            |expected: String, found: String| Error::Shape { operation: "micro-batch", expected, found };
        let vocabulary = self.model.config.vocab_size as u32;
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

    /// Adds the gradient of the mean loss over all targets of `micro_batches` to zeroed gradients, and the
    /// loss and the right answers to zeroed totals. Returns the number of targets.
    ///
    /// # Errors
    /// [`Error::Shape`] for a batch that does not fit.
    pub fn accumulate(&mut self, micro_batches: &[Batch]) -> Result<usize> {
        let targets: usize = micro_batches.iter().map(|batch| batch.labels.len()).sum();
        self.optimizer.expect(&self.gpu, targets);
        self.optimizer.begin()?;
        self.tickets = Tickets::default();
        for batch in micro_batches {
            self.replay(Pass::Learn, batch, 1.0 / targets.max(1) as f32)?;
        }
        Ok(targets)
    }

    /// The first half of [`Learner::step`]: submits everything and waits for nothing. Returns the number of targets.
    ///
    /// # Errors
    /// As [`MlmLearner::accumulate`].
    pub fn submit(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<usize> {
        let targets = self.accumulate(micro_batches)?;
        self.optimizer.submit(&self.model.parameters, learning_rate as f32, &self.tickets)?;
        Ok(targets)
    }

    /// The second half of [`Learner::step`]: waits for what was submitted last, a step of so many targets.
    ///
    /// # Errors
    /// As [`AdamW::report`].
    pub async fn report(&self, targets: usize) -> Result<StepReport> {
        let report = self.optimizer.report(&self.model.parameters, &self.tickets).await?;
        Ok(StepReport {
            loss: f64::from(report.sums.loss),
            accuracy: f64::from(report.sums.correct) / targets.max(1) as f64,
            gradient_norm: f64::from(report.norm),
            skipped: !report.applied,
        })
    }
}

impl Learner for MlmLearner {
    async fn step(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<StepReport> {
        let targets = self.submit(micro_batches, learning_rate)?;
        self.report(targets).await
    }

    async fn evaluate(&mut self, batches: &[Batch]) -> Result<Evaluation> {
        let (mut loss, mut correct, mut masked) = (0.0, 0.0, 0);
        for batch in batches {
            self.clear_totals.replay()?;
            self.tickets = Tickets::default();
            self.replay(Pass::Measure, batch, 1.0)?;
            let sums = self.totals.read(&self.gpu, &self.tickets).await?;
            loss += f64::from(sums.loss);
            correct += f64::from(sums.correct);
            masked += batch.labels.len() as u64;
        }
        let count = masked.max(1) as f64;
        Ok(Evaluation { loss: loss / count, accuracy: correct / count, masked })
    }

    fn model_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.model.parameters.shapes()
    }

    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.optimizer.shapes(&self.model.parameters)
    }

    async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        if self.model.parameters.locate(name).is_ok() {
            return self.model.parameters.read(name).await;
        }
        self.optimizer.read(&self.model.parameters, name).await
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        if self.model.parameters.locate(name).is_ok() {
            return self.model.parameters.write(name, values);
        }
        self.optimizer.write(&self.model.parameters, name, values)
    }

    fn device(&self) -> String {
        self.gpu.capabilities().name.clone()
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.gpu)
    }
}
