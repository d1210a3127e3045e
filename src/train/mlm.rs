//! Masked-language-model training on a device: every step is a replay of recordings made once.

use super::learner::{Evaluation, Learner, StepReport};
use crate::autograd::Graph;
use crate::bert::{Config, Ids, Inputs, Model, Targets, encode, mlm_loss};
use crate::data::Batch;
use crate::gpu::{Buffer, Gpu, Recorder, Recording};
use crate::ops::embedding;
use crate::ops::reduce::sum_into;
use crate::optim::{AdamW, AdamWOptions, Totals};
use crate::tensor::DType;
use crate::{Error, Result};

/// The fixed sizes of a run, and its optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlmOptions {
    /// B: sequences computed at once.
    pub micro_batch: usize,
    /// T: tokens in a sequence.
    pub seq_len: usize,
    /// How many tokens of a micro-batch are guessed at most, as far as can be told ahead; a batch with more
    /// makes the recordings anew.
    pub targets: usize,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Chooses the first weights.
    pub seed: u64,
}

/// Where the arrays of a batch are put before each replay.
struct Slots {
    ids: Buffer,
    index: Buffer,
    bounds: Buffer,
    rows: Buffer,
    labels: Buffer,
    weights: Buffer,
}

/// What depends on how many targets a micro-batch can have.
struct Recordings {
    targets: usize,
    slots: Slots,
    /// Forward and backward; adds to gradients and totals.
    learn: Recording,
    /// Forward alone; adds to totals.
    measure: Recording,
}

/// A BERT with its head and optimizer.
pub struct MlmLearner {
    gpu: Gpu,
    model: Model,
    options: MlmOptions,
    optimizer: AdamW,
    totals: Totals,
    /// Zeroes totals.
    clear_totals: Recording,
    /// Zeroes gradients.
    clear_gradients: Recording,
    recordings: Recordings,
}

impl MlmLearner {
    /// A new model with its first weights, and everything a step needs recorded.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that cannot be, [`Error::OutOfMemory`] and [`Error::Limit`] when it does
    /// not fit the device.
    pub fn new(gpu: &Gpu, config: Config, options: MlmOptions) -> Result<Self> {
        let model = Model::new(gpu, config, true)?;
        model.initialize(options.seed)?;
        let totals =
            Totals { loss: gpu.buffer("the loss", 4)?, correct: gpu.buffer("the right answers", 4)? };
        let optimizer = AdamW::new(&model.parameters, options.optimizer, &totals)?;
        let mut recorder = Recorder::new(gpu);
        for buffer in [&totals.loss, &totals.correct] {
            let view = recorder.bind(&buffer.into());
            recorder.clear(view);
        }
        let clear_totals = recorder.finish("clear totals")?;
        let mut recorder = Recorder::new(gpu);
        for buffer in model.parameters.segments().iter().filter_map(|segment| segment.gradients.as_ref()) {
            let view = recorder.bind(&buffer.into());
            recorder.clear(view);
        }
        let clear_gradients = recorder.finish("clear gradients")?;
        let recordings = record(gpu, &model, options, &totals, options.targets)?;
        let gpu = gpu.clone();
        Ok(MlmLearner { gpu, model, options, optimizer, totals, clear_totals, clear_gradients, recordings })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Puts `batch` where the recordings read it; each of its targets weighs `weight`.
    fn load(&mut self, batch: &Batch, weight: f32) -> Result<()> {
        let (sequences, tokens) = (self.options.micro_batch, self.options.seq_len);
        if batch.sequences > sequences || batch.seq_len != tokens {
            return Err(Error::Shape {
                operation: "micro-batch",
                expected: format!("at most {sequences} sequences of {tokens} tokens"),
                found: format!("{} of {}", batch.sequences, batch.seq_len),
            });
        }
        let vocabulary = self.model.config.vocab_size as u32;
        if let Some(id) = batch.input_ids.iter().chain(&batch.labels).find(|&&id| id >= vocabulary) {
            let expected = format!("ids below the model's vocabulary of {vocabulary}");
            return Err(Error::Shape { operation: "micro-batch", expected, found: id.to_string() });
        }
        if batch.masked_rows.len() > self.recordings.targets {
            let targets = batch.masked_rows.len().next_multiple_of(64);
            self.recordings = record(&self.gpu, &self.model, self.options, &self.totals, targets)?;
        }
        // Sequences that the batch lacks are padding that nothing attends to.
        let rows = sequences * tokens;
        let mut ids = batch.input_ids.clone();
        ids.resize(rows, self.model.config.pad_token_id);
        let mut bounds = batch.bounds.clone();
        bounds.resize(rows, [0, 0]);
        let targets = self.recordings.targets;
        let mut masked = batch.masked_rows.clone();
        masked.resize(targets, u32::MAX);
        let mut labels = batch.labels.clone();
        labels.resize(targets, 0);
        let mut weights = vec![weight; batch.labels.len()];
        weights.resize(targets, 0.0);
        let slots = &self.recordings.slots;
        self.gpu.write(&slots.ids, 0, &ids);
        self.gpu.write(&slots.index, 0, &embedding::index(&ids));
        self.gpu.write(&slots.bounds, 0, &bounds);
        self.gpu.write(&slots.rows, 0, &masked);
        self.gpu.write(&slots.labels, 0, &labels);
        self.gpu.write(&slots.weights, 0, &weights);
        Ok(())
    }

    /// Adds the gradient of the mean loss over all targets of `micro_batches` to zeroed gradients, and the
    /// loss and the right answers to zeroed totals. Returns the number of targets.
    ///
    /// # Errors
    /// [`Error::Shape`] for a batch that does not fit.
    pub fn accumulate(&mut self, micro_batches: &[Batch]) -> Result<usize> {
        let targets: usize = micro_batches.iter().map(|batch| batch.labels.len()).sum();
        self.clear_totals.replay()?;
        self.clear_gradients.replay()?;
        for batch in micro_batches {
            self.load(batch, 1.0 / targets.max(1) as f32)?;
            self.recordings.learn.replay()?;
        }
        Ok(targets)
    }
}

impl Learner for MlmLearner {
    async fn step(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<StepReport> {
        let targets = self.accumulate(micro_batches)?;
        let report = self.optimizer.step(&self.model.parameters, learning_rate as f32).await?;
        Ok(StepReport {
            loss: f64::from(report.loss),
            accuracy: f64::from(report.correct) / targets.max(1) as f64,
            gradient_norm: f64::from(report.norm),
            skipped: !report.applied,
        })
    }

    async fn evaluate(&mut self, batches: &[Batch]) -> Result<Evaluation> {
        let (mut loss, mut correct, mut masked) = (0.0, 0.0, 0);
        for batch in batches {
            self.clear_totals.replay()?;
            self.load(batch, 1.0)?;
            self.recordings.measure.replay()?;
            loss += f64::from(self.gpu.read::<f32>(&self.totals.loss, 0, 1).await?[0]);
            correct += f64::from(self.gpu.read::<f32>(&self.totals.correct, 0, 1).await?[0]);
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
}

fn record(
    gpu: &Gpu,
    model: &Model,
    options: MlmOptions,
    totals: &Totals,
    targets: usize,
) -> Result<Recordings> {
    let targets = targets.max(1);
    let rows = options.micro_batch * options.seq_len;
    let words = |label: &str, count: usize| gpu.buffer(label, count as u64 * 4);
    let slots = Slots {
        ids: words("token ids", rows)?,
        index: words("token index", embedding::index_len(rows))?,
        bounds: words("bounds", rows * 2)?,
        rows: words("target rows", targets)?,
        labels: words("target labels", targets)?,
        weights: words("target weights", targets)?,
    };
    let learn = pass(Graph::training(gpu), model, options, totals, &slots, targets)?;
    let measure = pass(Graph::inference(gpu), model, options, totals, &slots, targets)?;
    Ok(Recordings { targets, slots, learn, measure })
}

/// Records forward, and backward if `graph` has a tape.
fn pass(
    mut graph: Graph,
    model: &Model,
    options: MlmOptions,
    totals: &Totals,
    slots: &Slots,
    targets: usize,
) -> Result<Recording> {
    let MlmOptions { micro_batch: sequences, seq_len: tokens, .. } = options;
    let rows = sequences * tokens;
    let graph_ref = &mut graph;
    let positions = position_ids(graph_ref, &model.config, sequences, tokens)?;
    let index_len = embedding::index_len(rows);
    let inputs = Inputs {
        sequences,
        tokens,
        words: Ids {
            ids: graph_ref.input(&slots.ids, [rows], DType::U32)?,
            index: graph_ref.input(&slots.index, [index_len], DType::U32)?,
        },
        positions,
        bounds: graph_ref.input(&slots.bounds, [rows, 2], DType::U32)?,
    };
    let targets = Targets {
        rows: graph_ref.input(&slots.rows, [targets], DType::U32)?,
        labels: graph_ref.input(&slots.labels, [targets], DType::U32)?,
        weights: graph_ref.input(&slots.weights, [targets], DType::F32)?,
    };
    let hidden = encode(graph_ref, &model.config, &model.parameters, &inputs)?;
    let guesses = mlm_loss(graph_ref, &model.config, &model.parameters, &hidden.last, &targets)?;
    let count = guesses.loss.shape().elements();
    for (values, total) in [(&guesses.loss, &totals.loss), (&guesses.correct, &totals.correct)] {
        let total = graph_ref.recorder().bind(&total.into());
        sum_into(graph_ref, values.view(), [count, 1], total, true)?;
    }
    if guesses.loss.needs_gradient() {
        let ones = graph_ref.constant(&vec![1f32; count], [count], DType::F32)?;
        graph_ref.backward(&guesses.loss, ones)?;
    }
    graph.finish("training step")
}

/// The positions of all rows, if the model has absolute positions.
pub(crate) fn position_ids(
    graph: &mut Graph,
    config: &Config,
    sequences: usize,
    tokens: usize,
) -> Result<Option<Ids>> {
    if config.position_embedding_type != crate::bert::PositionEmbedding::Absolute {
        return Ok(None);
    }
    let ids: Vec<u32> = (0..sequences).flat_map(|_| 0..tokens as u32).collect();
    let index = embedding::index(&ids);
    Ok(Some(Ids {
        ids: graph.constant(&ids, [ids.len()], DType::U32)?,
        index: graph.constant(&index, [index.len()], DType::U32)?,
    }))
}
