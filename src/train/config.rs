//! Everything that decides how a run goes: the recipe.

use serde::{Deserialize, Serialize};

#[cfg(not(target_arch = "wasm32"))]
use super::local_steps::LocalSteps;
use super::optimizer::is_amount;
pub use super::optimizer::{GroupConfig, OptimizerConfig};
use super::options::MlmOptions;
use super::schedule::{Budget, Plan, PlanConfig, Ramp, Schedule};
#[cfg(not(target_arch = "wasm32"))]
use super::wire_format::WireFormat;
use crate::data::{MaskedCount, MaskingOptions, Objective};
use crate::gpu::Choices;
use crate::models::{Config, Freeze};
use crate::train::Precision;
use crate::{Error, Result};

/// When held-out sequences are looked at. They also are before the first step and after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateConfig {
    /// Steps between two measurements; 0 for none on the way.
    pub every: u64,
    /// How many held-out sequences, or all where there are fewer; 0 for no measurement at all.
    pub sequences: u64,
}

/// When the run is saved. It also is at the end and when it is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; 0 for none by steps.
    pub every: u64,
    /// Minutes after which a step is followed by a checkpoint; 0 for none by time.
    pub minutes: f64,
    /// How many of the newest stay.
    pub keep: usize,
}

/// A recipe. Its keys are those of `--config` files and of `--set`, nested ones with dots (`model.hidden_size`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Chooses the first weights, the order of the data and the masks.
    pub seed: u64,
    /// T, the tokens of a sequence.
    pub seq_len: usize,
    /// How activations are stored.
    #[serde(default)]
    pub precision: Precision,
    /// Sequences computed at once; a larger batch is made of several. Lower it when memory runs out.
    pub micro_batch: usize,
    /// Sequences per optimizer step, at the start where there is a ramp.
    pub batch_sequences: u64,
    /// How the batch grows.
    pub ramp: Ramp,
    /// The length of the run in optimizer steps, unless `sequences` gives it.
    pub steps: Option<u64>,
    /// The length of the run in sequences, unless `steps` gives it.
    pub sequences: Option<u64>,
    /// The full learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// How the learning rate goes then.
    pub schedule: Schedule,
    /// Steps over which a trapezoid falls at its end; a quarter of the run unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u64>,
    /// After so many steps in a row whose gradient was not finite the run stops.
    pub max_skipped: u64,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// How tokens are masked.
    pub masking: MaskingOptions,
    /// When to measure.
    pub evaluate: EvaluateConfig,
    /// When to save.
    pub checkpoint: CheckpointConfig,
    /// Which parameters stay as they are.
    #[serde(default, skip_serializing_if = "Freeze::is_nothing")]
    pub freeze: Freeze,
    /// Layers whose inner results are computed twice to save memory ([`crate::models::Learning::recompute`]); all, where
    /// there are fewer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recompute: usize,
    /// Parts that the micro-batches of a step are divided into, which as many ranks may compute: each is summed by itself, and
    /// the sums are added in their order ([`ranks`](super::ranks)).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub blocks: usize,
    /// Steps that each rank does by itself, and when they synchronise; none where all steps are those of one process.
    #[cfg(not(target_arch = "wasm32"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<LocalSteps>,
    /// How gradients travel between ranks, wherever a step has several blocks.
    #[cfg(not(target_arch = "wasm32"))]
    #[serde(default, skip_serializing_if = "WireFormat::is_f32")]
    pub wire: WireFormat,
    /// Forms of kernels that were chosen by measuring ([`ops::choices`](crate::ops::choices)): other forms round otherwise, so a run
    /// keeps its own wherever it goes on.
    #[serde(default, skip_serializing_if = "Choices::is_empty")]
    pub kernels: Choices,
    /// The model whose weights the run starts from, by its folder or name; none for a run that starts from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The model's shape.
    pub model: Config,
    /// How many tokens the data's sequences have masked, where packing makes that another number than the rate of a full
    /// sequence. No setting: [`Settings::for_data`](super::Settings::for_data) takes it from the data.
    #[serde(skip)]
    pub masked: Option<MaskedCount>,
}

impl TrainConfig {
    /// A recipe by name, with the model of the same name ([`Config::preset`]).
    ///
    /// | name | T | batch | steps | learning rate | schedule |
    /// |---|---|---|---|---|---|
    /// | `micro` | 64 | 32 | 1500 | 2e-3 | 100 warm-up, linear |
    /// | `tiny` | 128 | 64 | 10,000 | 1e-3 | 500 warm-up, linear |
    /// | `small` | 128 | 128 | 100,000 | 1e-3 | 2000 warm-up, linear |
    /// | `modern-tiny` | 128 | 64 | 10,000 | 1e-3 | 500 warm-up, linear |
    /// | `modern-base` | 1024 | 64 | 100,000 | 8e-4 | 2000 warm-up, linear |
    /// | `notebook` | 128 | 32 to 2048 | 2^30 tokens | 1e-3 | the notebook's |
    ///
    /// All: AdamW 0.9/0.98, eps 1e-12, decay 0.01, clip 0.5, 15% of the tokens masked.
    ///
    /// # Errors
    /// [`Error::Config`] when no preset has the name.
    pub fn preset(name: &str) -> Result<Self> {
        let model = Config::preset(name)?;
        let notebook = name == "notebook";
        let (batch_sequences, steps, learning_rate, warmup_steps, every) = match name {
            "micro" => (32, 1500, 2e-3, 100, 300),
            "tiny" | "modern-tiny" => (64, 10_000, 1e-3, 500, 500),
            "small" => (128, 100_000, 1e-3, 2000, 1000),
            "modern-base" => (64, 100_000, 8e-4, 2000, 1000),
            _ => (32, 0, 1e-3, 0, 500),
        };
        Ok(TrainConfig {
            seed: 0,
            seq_len: model.max_position_embeddings,
            precision: Precision::Auto,
            micro_batch: 32,
            batch_sequences,
            ramp: if notebook { Ramp::Notebook } else { Ramp::Constant },
            steps: (!notebook).then_some(steps),
            sequences: notebook.then(|| (1 << 30) / model.max_position_embeddings as u64),
            learning_rate,
            warmup_steps,
            schedule: if notebook { Schedule::Notebook } else { Schedule::Linear },
            decay_steps: None,
            max_skipped: 20,
            optimizer: OptimizerConfig::uniform([0.9, 0.98], 1e-12, 0.01, 0.5),
            masking: MaskingOptions::default(),
            evaluate: EvaluateConfig { every, sequences: if name == "micro" { 512 } else { 1024 } },
            checkpoint: CheckpointConfig { every, minutes: 10.0, keep: 2 },
            freeze: Freeze::Nothing,
            recompute: 0,
            blocks: 1,
            #[cfg(not(target_arch = "wasm32"))]
            sync: None,
            #[cfg(not(target_arch = "wasm32"))]
            wire: WireFormat::F32,
            kernels: Choices::default(),
            from: None,
            model,
            masked: None,
        })
    }

    /// A recipe for going on from a model that has learned already: what `transformers`' own script for masked-language
    /// modelling does, with batches of 32 sequences and 10,000 steps. The learning rate is a tenth of what a new model
    /// takes, since a large one makes it forget.
    ///
    /// # Errors
    /// As [`TrainConfig::preset`].
    pub fn going_on() -> Result<Self> {
        Ok(TrainConfig {
            seq_len: 128,
            batch_sequences: 32,
            steps: Some(10_000),
            learning_rate: 5e-5,
            warmup_steps: 500,
            optimizer: OptimizerConfig::uniform([0.9, 0.999], 1e-8, 0.01, 1.0),
            evaluate: EvaluateConfig { every: 500, sequences: 1024 },
            checkpoint: CheckpointConfig { every: 500, minutes: 10.0, keep: 2 },
            ..Self::preset("small")?
        })
    }

    /// Sequences of each micro-batch: never more than the smallest batch.
    pub fn micro_batch_sequences(&self) -> u64 {
        (self.micro_batch as u64).min(self.batch_sequences)
    }

    /// Whether `evaluate.every` asks for a measurement when `done` steps are done.
    pub(super) fn is_evaluated(&self, done: u64) -> bool {
        let every = self.evaluate.every;
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(sync) = &self.sync {
            return sync.is_due(every, done);
        }
        every > 0 && done.is_multiple_of(every)
    }

    /// What the trainer on a device is built with.
    pub fn trainer_options(&self) -> MlmOptions {
        let micro_batch = self.micro_batch_sequences() as usize;
        // [CLS] and [SEP] are not masked.
        let maskable = self.seq_len.saturating_sub(2);
        let masked = match self.masking.objective {
            Objective::Token => self.masking.masked(maskable),
            // Spans end with a whole word, which rarely is longer; what has no room takes another replay.
            Objective::Span => (self.masking.masked(maskable) + 8).min(maskable),
        };
        let all = micro_batch * maskable;
        let targets = match self.masked {
            // Every segment rounds its share up, and with spans finishes a word.
            Some(packed) => {
                let words =
                    if self.masking.objective == Objective::Span { packed.room(micro_batch) / 4 } else { 0 };
                (packed.room(micro_batch) + words).min(all)
            }
            None => micro_batch * masked,
        };
        MlmOptions {
            micro_batch,
            seq_len: self.seq_len,
            targets,
            storage: self.precision.storage(),
            optimizer: self.optimizer.options(),
            freeze: self.freeze,
            recompute: self.recompute.min(self.model.num_hidden_layers),
            seed: self.seed,
        }
    }

    /// Lays out the run's steps.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::Config`] unless one of `steps` and `sequences` is given.
    pub fn plan(&self) -> Result<Plan> {
        let budget = match (self.steps, self.sequences) {
            (Some(steps), None) => Budget::Steps(steps),
            (None, Some(sequences)) => Budget::Sequences(sequences),
            (given, _) => {
                let found = if given.is_some() { "both" } else { "neither" };
                return Err(Error::config("steps", "one of `steps` and `sequences`", found));
            }
        };
        Plan::new(PlanConfig {
            schedule: self.schedule,
            decay_steps: self.decay_steps,
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            batch_sequences: self.batch_sequences,
            ramp: self.ramp,
            budget,
        })
    }

    /// Checks every setting and how they fit each other.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first setting at fault by its key.
    pub fn check(&self) -> Result<()> {
        self.model.validate().map_err(|error| keyed(error, |field| format!("model.{field}")))?;
        if !(3..=1 << 20).contains(&self.seq_len) {
            return Err(Error::config("seq_len", "a number from 3 to 1048576", self.seq_len));
        }
        let positions = self.model.max_position_embeddings;
        if self.model.is_bounded() && positions < self.seq_len {
            let expected =
                format!("at least `seq_len` ({}) where positions are absolute or rotary", self.seq_len);
            return Err(Error::config("model.max_position_embeddings", expected, positions));
        }
        self.plan()?;
        if self.micro_batch == 0 || !self.batch_sequences.is_multiple_of(self.micro_batch_sequences()) {
            let expected = format!("a divisor of `batch_sequences` ({})", self.batch_sequences);
            return Err(Error::config("micro_batch", expected, self.micro_batch));
        }
        self.masking.check().map_err(|error| {
            keyed(error, |field| {
                let key = if field == "mask-rate" { "rate" } else { field.trim_end_matches("-share") };
                format!("masking.{key}")
            })
        })?;
        self.optimizer.check()?;
        self.freeze.check(self.model.num_hidden_layers)?;
        // A page leaves forms to the rules, and says where the run has others.
        #[cfg(not(target_arch = "wasm32"))]
        crate::ops::choices::check(&self.kernels)?;
        if !is_amount(self.checkpoint.minutes) {
            return Err(Error::config("checkpoint.minutes", "0 or more", self.checkpoint.minutes));
        }
        if self.checkpoint.keep == 0 {
            return Err(Error::config("checkpoint.keep", "1 or more", 0));
        }
        check_blocks(self.blocks)?;
        // The sums of blocks are added by native code.
        #[cfg(target_arch = "wasm32")]
        if self.blocks > 1 {
            return Err(Error::config("blocks", "1 in a page", self.blocks));
        }
        if self.max_skipped == 0 {
            return Err(Error::config("max_skipped", "1 or more", 0));
        }
        Ok(())
    }
}

/// For what is written only where it was asked for, so that recipes and checkpoints from before stay what they are.
pub(super) fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What [`TrainConfig::blocks`] is where it is left out.
pub(super) fn one() -> usize {
    1
}

/// More blocks than anybody has GPUs only cost time.
const MOST_BLOCKS: usize = 1 << 16;

/// # Errors
/// [`Error::Config`] for a number of blocks that cannot be.
pub(super) fn check_blocks(blocks: usize) -> Result<()> {
    if !(1..=MOST_BLOCKS).contains(&blocks) {
        return Err(Error::config("blocks", format!("1 to {MOST_BLOCKS}"), blocks));
    }
    Ok(())
}

/// As [`is_zero`].
pub(super) fn is_one(number: &usize) -> bool {
    *number == 1
}

/// The same error under another name of its setting.
fn keyed(error: Error, key: impl Fn(&str) -> String) -> Error {
    match error {
        Error::Config { field, expected, found } => Error::Config { field: key(&field), expected, found },
        other => other,
    }
}
