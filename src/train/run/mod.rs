//! A pretraining run: steps fed, measured, drawn and saved; interrupted, resumed, and carried over a lost device.
//!
//! ```text
//! OUT/train.json                  the recipe
//! OUT/metrics.csv, metrics.jsonl  a row per step
//! OUT/loss.svg                    their picture, drawn anew at measurements and checkpoints
//! OUT/checkpoints/                see the checkpoint module
//! OUT/config.json, model.safetensors, tokenizer.json, README.md    the model, at the end or when interrupted
//! ```

mod batches;
mod card;
#[cfg(not(target_arch = "wasm32"))]
mod feed;
#[cfg(target_arch = "wasm32")]
#[path = "feed_here.rs"]
mod feed;
mod job;
mod log;
mod save;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::config::TrainConfig;
use super::learner::Learner;
use super::metrics::Row;
use crate::checkpoint::atomic::{Disk, FileSystem};
use crate::data::{Batch, Dataset};
use crate::viz::loss_curve::Reference;
use crate::{Error, Result};

pub(crate) use batches::held_out_batches;
pub use job::RECIPE;
pub use log::PICTURE;
pub use save::save_initial;

/// After so many lost devices without a step beyond all earlier ones the run gives up.
pub const DEVICE_LOSSES: u32 = 3;

/// What to run, and where.
#[derive(Clone)]
pub struct RunOptions {
    /// The recipe; its vocabulary and T are the data's.
    pub config: TrainConfig,
    /// The data.
    pub dataset: Arc<Dataset>,
    /// What the data is called, for the model card.
    pub data: Vec<String>,
    /// Losses to hold the run's against in its picture, besides the unigram entropy.
    pub references: Vec<Reference>,
    /// The run's folder.
    pub out: PathBuf,
    /// Go on from the newest checkpoint, or start over where there is none yet.
    pub resume: bool,
    /// Go on although recipe or data are not those the run was started with.
    pub allow_changes: bool,
    /// What checkpoints, pictures and the model are written with.
    pub file_system: Arc<dyn FileSystem>,
    /// How long the thread sleeps before a lost device is opened again; each further time without progress as long
    /// again.
    pub reopen_wait: Duration,
}

impl RunOptions {
    /// A new run on the real disk.
    pub fn new(config: TrainConfig, dataset: Arc<Dataset>, out: impl Into<PathBuf>) -> Self {
        Self {
            config,
            dataset,
            data: Vec::new(),
            references: Vec::new(),
            out: out.into(),
            resume: false,
            allow_changes: false,
            file_system: Arc::new(Disk),
            reopen_wait: Duration::from_secs(2),
        }
    }
}

/// What happened, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A learner is ready to go on after `step` steps.
    Ready {
        /// Steps done before.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// What the learner runs on; may be empty.
        device: &'a str,
        /// Trained values.
        parameters: u64,
        /// The loss in nats of guessing held-out tokens by their frequency.
        unigram_entropy: Option<f64>,
    },
    /// A step was done, and what was measured is this. Step 0 is the measurement before the first.
    Step(&'a Row),
    /// A checkpoint was saved.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Its folder.
        path: &'a Path,
    },
    /// Something is not as it should be, and training goes on.
    Warning(String),
    /// The device was lost and will be opened again.
    DeviceLost {
        /// The last step that was done.
        step: u64,
        /// What the driver said.
        error: &'a Error,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The run's folder, which is a model folder now.
    pub out: PathBuf,
    /// Whether it was asked to stop before its last step.
    pub interrupted: bool,
    /// Steps done.
    pub steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Sequences seen.
    pub sequences: u64,
    /// Tokens seen, padding left out.
    pub tokens: u64,
    /// Mean training loss of the last 100 steps, in nats per masked token.
    pub loss: Option<f64>,
    /// The last held-out loss, in nats per masked token.
    pub held_out_loss: Option<f64>,
    /// The accuracy measured with it.
    pub held_out_accuracy: Option<f64>,
    /// The loss in nats of guessing held-out tokens by their frequency.
    pub unigram_entropy: Option<f64>,
    /// Steps skipped because a gradient was not finite.
    pub skipped_steps: u64,
    /// How often the device was lost.
    pub device_losses: u32,
    /// Trained values.
    pub parameters: u64,
    /// What the learner ran on.
    pub device: String,
    /// Time spent training, over all sessions.
    pub seconds: f64,
    /// Tokens seen per second of that time.
    pub tokens_per_second: f64,
}

/// What outlives a lost device.
#[derive(Debug, Default)]
struct Tally {
    /// The furthest step that was done.
    furthest: u64,
    losses: u32,
    losses_without_progress: u32,
}

/// Trains from a recipe and leaves a model folder.
///
/// `open` opens a device and builds the learner, with the first weights; it is called again when the device was
/// lost, and the newest checkpoint is then written into the new learner. Once `stop` is set the current step is
/// finished, a checkpoint and the model are saved, and the run returns.
///
/// # Errors
/// [`Error::Config`] and [`Error::File`] for recipes, data and folders that do not fit, before a device is opened;
/// [`Error::Training`] when too many gradients in a row were not finite; [`Error::DeviceLost`] when the device keeps
/// getting lost; [`Error::Io`] when the model cannot be written at the end; those of `open` and of the learner. The
/// checkpoints stay as they are.
pub async fn run<L: Learner<Batch = Batch>>(
    options: &RunOptions,
    mut open: impl AsyncFnMut(&TrainConfig) -> Result<L>,
    progress: &mut dyn FnMut(Event<'_>),
    stop: &AtomicBool,
) -> Result<Summary> {
    let job = job::Job::start(options, progress)?;
    let mut tally = Tally::default();
    loop {
        let error = match session::live(&job, &mut open, &mut tally, progress, stop).await {
            Err(error @ Error::DeviceLost { .. }) => error,
            // A driver that is starting again may have no adapter for a while.
            Err(error @ Error::NoAdapter { .. }) if tally.losses > 0 => error,
            ended => return ended,
        };
        tally.losses += 1;
        tally.losses_without_progress += 1;
        if tally.losses_without_progress >= DEVICE_LOSSES || stop.load(Ordering::Relaxed) {
            return Err(error);
        }
        progress(Event::DeviceLost { step: tally.furthest, error: &error });
        // A page has no thread to put to sleep; its browser answers when there is an adapter again.
        #[cfg(not(target_arch = "wasm32"))]
        std::thread::sleep(options.reopen_wait * tally.losses_without_progress);
    }
}
