//! The step engine: every step is a replay of recordings that were made once for each shape of a batch.

#[cfg(not(target_arch = "wasm32"))]
mod blocks;
mod passes;
#[cfg(not(target_arch = "wasm32"))]
mod room;

#[cfg(not(target_arch = "wasm32"))]
pub(super) use blocks::PIECE;

use std::fmt;
use std::sync::Arc;

use super::engine::{Evaluation, StepEngine, StepReport};
use super::objective::{BatchShape, Losses, MaskedTokens, Objective};
use super::options::{Memory, MlmOptions, TrainerOptions};
use crate::gpu::{Buffer, Gpu, Recorder, Recording, Region};
use crate::infer::shapes::Shapes;
use crate::models::{Config, Learning, Model};
use crate::ops::dropout::Key;
use crate::optim::{Optimizer, Proofs, Submitted, Sums, Totals};
use crate::tensor::DType;
use crate::{Error, Result};

/// What is replayed for a micro-batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Forward and backward; overwrites gradients, and adds to totals.
    Begin,
    /// Forward and backward; adds to gradients and totals.
    Learn,
    /// Forward alone, without dropout; adds to totals.
    Measure,
}

/// How a recording is replayed. No type of its own for each use, as a page would hold all that is around it once for each.
type Replays<'r> = &'r mut dyn FnMut(&Recording) -> Result<()>;

/// A model, its optimizer, and what was recorded for them.
pub struct Trainer<O: Objective> {
    engine: Engine<O>,
    optimizer: Optimizer,
    /// What the replays since the last clearing have added to the totals.
    proofs: Proofs,
    shapes: Shapes<Recorded<O::Buffers>>,
    /// Keys of dropout used so far: every replay drops others.
    keys: u64,
    /// What it takes on the device beside the model; of recordings those that were prepared.
    bytes: u64,
    /// Zeroes totals.
    clear_totals: Recording,
    /// Adds a proof to the totals and does nothing else; recorded when it is first needed.
    #[cfg(not(target_arch = "wasm32"))]
    arrive: Option<Recording>,
}

/// What the micro-batches of a step have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Whole {
    /// The losses of all of them.
    pub answers: usize,
    /// What each loss is multiplied by, so that their sum is their mean.
    pub weight: f32,
}

impl<O: Objective> fmt::Debug for Trainer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("options", &self.engine.options)
            .field("optimizer", &self.optimizer)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A step that was submitted, whose report is on its way.
#[derive(Debug)]
pub struct BegunStep {
    answers: usize,
    submitted: Submitted,
}

/// What recordings are made from.
struct Engine<O> {
    gpu: Gpu,
    model: Arc<Model>,
    objective: O,
    options: TrainerOptions,
    totals: Totals,
    /// The number that the next replay adds to the totals.
    proof: Buffer,
    loss_scale: Region,
}

/// What was recorded for one shape.
struct Recorded<B> {
    buffers: B,
    keys: Vec<Key>,
    begin: Recording,
    /// Those of passes that not every run has.
    learn: Option<Recording>,
    measure: Option<Recording>,
    /// All gradients in pieces of at most so many elements, in the order in which the backward pass is done with them, where they were
    /// asked for.
    #[cfg(not(target_arch = "wasm32"))]
    pieces: Option<(usize, Vec<std::ops::Range<usize>>)>,
}

/// Says what to change where training does not fit the device.
pub(super) fn less_memory(error: Error) -> Error {
    error.with_advice("lower `micro_batch`, or choose a smaller model, vocabulary or sequence length")
}

/// The name of the optimizer tensor that holds how many keys of dropout were used.
const DROPOUT_KEYS: &str = "dropout.keys";
/// Its two values are the digits of that number to this base, each of which f32 holds exactly.
const DIGIT: u64 = 1 << 24;

impl Trainer<MaskedTokens> {
    /// A new model with its first weights that learns to guess masked tokens, with everything recorded.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that cannot be, [`Error::OutOfMemory`] and [`Error::Limit`] when it does
    /// not fit the device.
    pub fn pretraining(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Self> {
        let trainer = Self::build(gpu, config, options).map_err(less_memory)?;
        trainer.model().initialize(options.seed)?;
        Ok(trainer)
    }

    /// What pretraining would take on the device, and that it can be had: everything is allocated and given back.
    ///
    /// # Errors
    /// As [`Trainer::pretraining`].
    pub fn plan(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Memory> {
        Self::build(gpu, config, options).map_err(less_memory)?.planned()
    }

    /// A trainer whose parameters are all zero.
    pub(super) fn build(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Self> {
        let MlmOptions { micro_batch, seq_len, targets, storage, optimizer, freeze, recompute, seed } =
            options;
        let learning = Learning { division: optimizer.division(), freeze, recompute };
        let mut model = Model::trained(gpu, config, learning)?;
        if storage == DType::F16 {
            model = model.with_weights_f16()?;
        }
        let objective = MaskedTokens { sequences: micro_batch, tokens: seq_len, targets: targets.max(1) };
        let shared = TrainerOptions { storage, dropout: 0.0, optimizer, seed };
        let mut trainer = Self::new(gpu, model, objective, shared)?;
        trainer.prepare((micro_batch, seq_len))?;
        Ok(trainer)
    }
}

impl<O: Objective> Trainer<O> {
    /// Trains `model`, whose parameters have gradients, and f16 copies ([`Model::with_weights_f16`]) where activations are
    /// stored as f16.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Config`] for parameters without gradients.
    pub fn new(gpu: &Gpu, model: Model, objective: O, options: TrainerOptions) -> Result<Self> {
        let before = gpu.allocated();
        let totals = Totals::new(gpu)?;
        let optimizer = Optimizer::new(&model.parameters, options.optimizer, &totals)?;
        let mut recorder = Recorder::new(gpu);
        totals.clear(&mut recorder);
        let clear_totals = recorder.finish(gpu, "clear totals")?;
        let engine = Engine {
            gpu: gpu.clone(),
            model: Arc::new(model),
            objective,
            options,
            totals,
            proof: gpu.buffer("the proof", 4)?,
            loss_scale: optimizer.loss_scale(),
        };
        let (proofs, shapes) = (Proofs::default(), Shapes::sharing());
        let bytes = gpu.allocated() - before;
        Ok(Trainer {
            engine,
            optimizer,
            proofs,
            shapes,
            keys: 0,
            bytes,
            clear_totals,
            #[cfg(not(target_arch = "wasm32"))]
            arrive: None,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.engine.model
    }

    /// The model, for who measures it between steps.
    pub fn shared_model(&self) -> Arc<Model> {
        Arc::clone(&self.engine.model)
    }

    /// What it takes on the device.
    pub fn memory(&self) -> Memory {
        let parameters = &self.engine.model.parameters;
        let bytes = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::bytes);
        let weights = parameters.segments().iter().map(|s| s.values.bytes() + bytes(&s.weights_f16)).sum();
        let gradients = parameters.segments().iter().map(|s| bytes(&s.gradients)).sum();
        let optimizer = self.optimizer.bytes();
        let largest = parameters.shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).max();
        let read_back = Gpu::read_back_bytes(4 * largest.unwrap_or(0) as u64);
        let transient = self.bytes - optimizer;
        let total = weights + gradients + self.bytes + read_back;
        Memory { weights, gradients, optimizer, transient, read_back, total }
    }

    /// [`Trainer::memory`], where a read-back can be had too.
    ///
    /// # Errors
    /// As [`Trainer::prepare`].
    pub(super) fn planned(&self) -> Result<Memory> {
        let memory = self.memory();
        self.engine.gpu.try_read_back(memory.read_back).map_err(less_memory)?;
        Ok(memory)
    }

    /// Records all passes of a shape now, so that what does not fit shows before the first step.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Limit`]; those of the operations.
    pub fn prepare(&mut self, shape: BatchShape) -> Result<()> {
        self.prepare_passes(shape, &[Pass::Learn, Pass::Measure])
    }

    /// Records what begins, and `further` passes.
    fn prepare_passes(&mut self, shape: BatchShape, further: &[Pass]) -> Result<()> {
        let engine = &self.engine;
        let before = engine.gpu.allocated();
        let recorded = self.shapes.get(shape, |beside| engine.record(shape, beside), || engine.settle());
        let recorded = recorded.map_err(less_memory)?;
        for &pass in further {
            engine.recording(recorded, pass).map_err(less_memory)?;
        }
        self.bytes += engine.gpu.allocated().saturating_sub(before);
        Ok(())
    }

    /// Replays `pass` for `batch`, each of whose losses weighs `weight`; after a pass that begins, one that learns.
    fn replay(&mut self, pass: Pass, batch: &O::Batch, weight: f32) -> Result<()> {
        self.replay_by(pass, batch, weight, &mut Recording::replay)
    }

    /// [`Trainer::replay`], each time by `run`.
    fn replay_by(&mut self, mut pass: Pass, batch: &O::Batch, weight: f32, run: Replays<'_>) -> Result<()> {
        let engine = &self.engine;
        engine.objective.check(&engine.model.config, batch)?;
        let shape = engine.objective.shape(batch);
        let recorded = self.shapes.get(shape, |beside| engine.record(shape, beside), || engine.settle());
        let recorded = recorded.map_err(less_memory)?;
        for replay in 0..engine.objective.replays(batch) {
            engine.objective.upload(&engine.gpu, &engine.model, &recorded.buffers, batch, replay, weight)?;
            engine.gpu.write(&engine.proof, 0, &[self.proofs.issue()]);
            if pass != Pass::Measure {
                for key in &recorded.keys {
                    key.write(&engine.gpu, engine.options.seed, self.keys);
                    self.keys += 1;
                }
            }
            run(engine.recording(recorded, pass).map_err(less_memory)?)?;
            if pass == Pass::Begin {
                pass = Pass::Learn;
            }
        }
        Ok(())
    }

    /// Puts the gradient of the mean loss over all answers of `micro_batches` in the place of the old one, and adds the
    /// loss and the right answers to zeroed totals. Returns the number of answers.
    ///
    /// # Errors
    /// [`Error::Shape`] for a batch that does not fit; as [`Trainer::prepare`].
    pub fn accumulate(&mut self, micro_batches: &[O::Batch]) -> Result<usize> {
        let whole = self.whole(micro_batches);
        self.accumulate_part(&whole, micro_batches, &mut Recording::replay)?;
        Ok(whole.answers)
    }

    /// What the micro-batches of a step have in common.
    pub(super) fn whole(&self, micro_batches: &[O::Batch]) -> Whole {
        let objective = &self.engine.objective;
        let total: f64 = micro_batches.iter().map(|batch| objective.total_weight(batch)).sum();
        Whole {
            answers: micro_batches.iter().map(|batch| objective.answers(batch)).sum(),
            weight: if total > 0.0 { 1.0 / total as f32 } else { 1.0 },
        }
    }

    /// [`Trainer::accumulate`] for some of the micro-batches of a step, where each recording is replayed by `run`.
    fn accumulate_part(&mut self, whole: &Whole, micro_batches: &[O::Batch], run: Replays<'_>) -> Result<()> {
        self.optimizer.expect(whole.answers);
        let objective = &self.engine.objective;
        let first = micro_batches.iter().position(|batch| objective.replays(batch) > 0);
        self.optimizer.begin(first.is_none())?;
        self.proofs = Proofs::default();
        for (number, batch) in micro_batches.iter().enumerate() {
            let pass = if Some(number) == first { Pass::Begin } else { Pass::Learn };
            self.replay_by(pass, batch, whole.weight, run)?;
        }
        Ok(())
    }

    /// Submits a step, and neither waits for it nor asks what became of it. Returns the number of answers.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`].
    pub fn submit(&mut self, micro_batches: &[O::Batch], learning_rate: f64) -> Result<usize> {
        let answers = self.accumulate(micro_batches)?;
        self.optimizer.submit(learning_rate as f32, &self.proofs)?;
        Ok(answers)
    }

    /// The sums of the losses and of the right answers of a batch, without dropout.
    pub(super) async fn measure(&mut self, batch: &O::Batch) -> Result<Sums> {
        self.clear_totals.replay()?;
        self.proofs = Proofs::default();
        self.replay(Pass::Measure, batch, 1.0)?;
        self.engine.totals.read(&self.engine.gpu, &self.proofs).await
    }

    /// What the sums of some batches say together.
    pub(super) fn evaluation(&self, batches: &[O::Batch], sums: &[Sums]) -> Evaluation {
        let (mut loss, mut correct, mut masked, mut total) = (0.0, 0.0, 0, 0.0);
        for (batch, sums) in batches.iter().zip(sums) {
            loss += f64::from(sums.loss);
            correct += f64::from(sums.correct);
            masked += self.engine.objective.answers(batch) as u64;
            total += self.engine.objective.total_weight(batch);
        }
        let accuracy = correct / masked.max(1) as f64;
        Evaluation { loss: if total > 0.0 { loss / total } else { loss }, accuracy, masked }
    }

    /// Whether it drops anything, and so uses keys.
    fn drops(&self) -> bool {
        self.engine.options.dropout > 0.0
    }
}

impl<O: Objective> StepEngine for Trainer<O> {
    type Batch = O::Batch;
    type Step = BegunStep;

    fn begin_step(&mut self, micro_batches: &[O::Batch], learning_rate: f64) -> Result<BegunStep> {
        let answers = self.submit(micro_batches, learning_rate)?;
        Ok(BegunStep { answers, submitted: self.optimizer.begin_report(self.proofs.clone())? })
    }

    async fn finish_step(&mut self, step: BegunStep) -> Result<StepReport> {
        let BegunStep { answers, submitted } = step;
        let report = self.optimizer.report(submitted).await?;
        Ok(StepReport {
            loss: f64::from(report.sums.loss),
            accuracy: f64::from(report.sums.correct) / answers.max(1) as f64,
            gradient_norm: f64::from(report.norm),
            skipped: !report.applied,
        })
    }

    async fn evaluate(&mut self, batches: &[O::Batch]) -> Result<Evaluation> {
        let mut sums = Vec::with_capacity(batches.len());
        for batch in batches {
            sums.push(self.measure(batch).await?);
        }
        Ok(self.evaluation(batches, &sums))
    }

    fn model_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.engine.model.parameters.shapes()
    }

    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = self.optimizer.shapes(&self.engine.model.parameters);
        if self.drops() {
            tensors.push((DROPOUT_KEYS.to_owned(), vec![2]));
        }
        tensors
    }

    async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let parameters = &self.engine.model.parameters;
        if self.drops() && name == DROPOUT_KEYS {
            return Ok(vec![(self.keys / DIGIT) as f32, (self.keys % DIGIT) as f32]);
        }
        if parameters.locate(name).is_ok() {
            return parameters.read(name).await;
        }
        self.optimizer.read(parameters, name).await
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let parameters = &self.engine.model.parameters;
        if self.drops() && name == DROPOUT_KEYS {
            let [high, low] = values else {
                let expected = format!("2 values for {name}");
                return Err(Error::shape("writing optimizer state", expected, values.len()));
            };
            self.keys = *high as u64 * DIGIT + *low as u64;
            return Ok(());
        }
        if parameters.locate(name).is_ok() {
            return parameters.write(name, values);
        }
        self.optimizer.write(parameters, name, values)
    }

    fn device(&self) -> String {
        self.engine.gpu.capabilities().name.clone()
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.engine.gpu)
    }
}
