//! What the engine of a run needs to know of pretraining or finetuning.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use web_time::Instant;

use super::Event;
use super::log::Log;
use super::position::Position;
use crate::Result;
use crate::files::RunFolder;
use crate::gpu::Choices;
use crate::store::Store;
use crate::train::config::CheckpointConfig;
use crate::train::engine::StepEngine;
use crate::train::metrics::{Columns, Row};
use crate::viz::loss_curve::LossCurve;

/// Where the events of a run go.
pub(crate) type Progress<'p> = &'p mut dyn FnMut(Event<'_>);

/// What every run has.
pub(crate) struct Common {
    /// The run's folder.
    pub out: PathBuf,
    /// What checkpoints, pictures and the model are written with.
    pub store: Arc<dyn Store>,
    /// The checkpoints, and the lock of the folder.
    pub folder: RunFolder,
    /// What a checkpoint must have been made with.
    pub fingerprint: Map<String, Value>,
    /// Whether to go on from the newest checkpoint.
    pub resume: bool,
    /// Whether to go on although the recipe or the data is another.
    pub allow_changes: bool,
    /// Whether to go on although the precision is another.
    pub other_precision: bool,
    /// When checkpoints are saved.
    pub checkpoint: CheckpointConfig,
    /// The run ends when this many gradients in a row are not finite.
    pub max_skipped: u64,
    /// The advice that the error about gradients that are not finite ends with.
    pub advice: &'static str,
    /// How long the thread sleeps before a lost device is opened again, or a full disk is written to again at the end; each
    /// further time without progress as long again. A page has no thread to put to sleep.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "a page does not wait"))]
    pub reopen_wait: Duration,
    /// The forms of kernels that its recipe names.
    pub kernels: Choices,
    /// The columns of its metrics.
    pub columns: Columns,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Trained values.
    pub parameters: u64,
    /// The loss in nats of guessing held-out tokens by their frequency.
    pub unigram_entropy: Option<f64>,
}

impl Common {
    /// The model's name: that of its folder.
    pub(crate) fn name(&self) -> String {
        name(&self.out)
    }
}

/// The name of a model in the folder `out`.
pub(crate) fn name(out: &Path) -> String {
    let place = std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
    place.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// One optimizer step with its micro-batches.
pub(crate) struct Fed<B> {
    pub micro_batches: Vec<B>,
    pub learning_rate: f64,
    /// Sequences or texts of the step.
    pub sequences: u64,
    /// Tokens of the step, padding left out.
    pub tokens: u64,
    /// What the row of the step says besides.
    pub row: Row,
}

/// A step that was begun, and what its row will say.
pub(crate) struct Begun<S> {
    pub step: S,
    pub at: Instant,
    pub sequences: u64,
    pub tokens: u64,
    pub learning_rate: f64,
    pub row: Row,
}

/// How a run ended.
pub(crate) struct End {
    pub at: Position,
    pub interrupted: bool,
    pub device: String,
    pub device_losses: u32,
    pub log: Log,
}

/// Pretraining or finetuning, as the engine sees it: it opens a trainer, feeds it steps, and is told what came of them.
#[allow(async_fn_in_trait, reason = "used generically, never as an object, and a page has one thread")]
pub(crate) trait Job {
    type Trainer: StepEngine;
    type Summary;

    fn common(&self) -> &Common;

    /// Writes down what the run is, so that a person, or a later command, can go on with it.
    fn write_recipe(&self) -> Result<()>;

    /// Opens a device and makes the trainer of the step after `done` steps, with first weights.
    async fn open(&mut self, done: u64) -> Result<Self::Trainer>;

    /// What follows from going on after `done` steps with other settings than the `stored` ones, for a person to weigh.
    fn consequence(&self, _stored: &Map<String, Value>, _done: u64) -> Option<String> {
        None
    }

    /// A new trainer on the device that is open, where a new one begins after `done` steps.
    fn begins(&self, _done: u64) -> bool {
        false
    }

    /// The trainer that begins after `done` steps, on the device that is open.
    async fn begin(&mut self, done: u64) -> Result<Self::Trainer> {
        self.open(done).await
    }

    /// Makes ready to feed the steps after `at`. `state` is what [`Job::state`] gave then, or null.
    fn seek(&mut self, at: &Position, state: &Value) -> Result<()>;

    /// What a checkpoint must keep besides tensors and position.
    fn state(&self) -> Value {
        Value::Null
    }

    /// The step after `done` steps.
    fn next(&mut self, done: u64) -> Result<Fed<<Self::Trainer as StepEngine>::Batch>>;

    /// Whether the model is evaluated after `done` steps.
    fn is_evaluated(&self, done: u64) -> bool;

    /// Evaluates the model after the step of `row` if that [is due](Job::is_evaluated), and says whether it was. Step 0
    /// stands for the model before the first step. Where it is not due, the trainer may be a step ahead.
    async fn evaluate(
        &mut self,
        trainer: &mut Self::Trainer,
        row: &mut Row,
        progress: Progress<'_>,
    ) -> Result<bool>;

    /// Whether it leaves the best model that it had, and not the last.
    fn keeps_best(&self) -> bool {
        false
    }

    /// Whether a checkpoint is to be saved after `done` steps, whatever the settings say.
    fn must_save(&self, _done: u64) -> bool {
        false
    }

    /// Writes what the next checkpoint speaks of and the disk has refused so far. An error keeps that checkpoint from
    /// being saved.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// A checkpoint of the present state was saved.
    fn saved(&mut self) {}

    /// The picture of the loss.
    fn picture(&self, rows: &[Row], device: &str) -> LossCurve;

    /// Leaves the model and says how it went.
    async fn finish(
        &mut self,
        trainer: Self::Trainer,
        end: End,
        progress: Progress<'_>,
    ) -> Result<Self::Summary>;

    /// Removes what only an unfinished run needs, when all of it has been done: what is killed before goes on, and does the
    /// rest.
    fn clean(&self) -> Result<()> {
        Ok(())
    }
}
