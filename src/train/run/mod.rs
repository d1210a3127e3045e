//! A training run, whatever is learned: steps fed, evaluated, drawn and saved; interrupted, resumed, and carried over
//! a lost device.
//!
//! ```text
//! OUT/lock                        held by the process that trains
//! OUT/metrics.csv, metrics.jsonl  a row per step
//! OUT/loss.svg                    their picture, drawn anew at evaluations and checkpoints
//! OUT/checkpoints/                see `files/run.rs`
//! OUT/config.json, model.safetensors, tokenizer.json, README.md    the model, at the end or when interrupted
//! ```
//!
//! [`pretrain`](mod@super::pretrain) and [`finetune`](mod@super::finetune) each describe a job, and add files of their own.

mod attempt;
pub(super) mod card;
mod changes;
mod divergence;
pub(super) mod job;
pub(super) mod log;
mod pace;
pub(super) mod position;
pub(super) mod save;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use log::PICTURE;

use self::job::{Job, Progress};
#[cfg(not(target_arch = "wasm32"))]
use super::finetune::Scores;
use super::metrics::Row;
use super::trainer::less_memory;
use crate::files::{RunFolder, WeightFiles};
use crate::store::{Purpose, Store, claim};
use crate::{Error, Result};

/// A run gives up when it has lost this many devices in a row without a step further than before.
pub const DEVICE_LOSSES: u32 = 3;

/// What happened, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A trainer is ready to go on after `step` steps.
    Ready {
        /// Steps done before.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// What the trainer runs on; may be empty.
        device: &'a str,
        /// Trained values.
        parameters: u64,
        /// The loss in nats of guessing held-out tokens by their frequency.
        unigram_entropy: Option<f64>,
    },
    /// A step was done, and what was measured is this. Step 0 is the measurement before the first.
    Step(&'a Row),
    /// Texts to measure on are done.
    Measuring {
        /// How many.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// An epoch of finetuning is done and measured.
    #[cfg(not(target_arch = "wasm32"))]
    Epoch {
        /// The seed.
        seed: u64,
        /// The epoch, counted from 1.
        epoch: u64,
        /// What was measured on each set.
        measured: &'a [(String, Scores)],
    },
    /// A checkpoint was saved.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Its folder.
        path: &'a Path,
    },
    /// Something is not as it should be, and training goes on.
    Warning(String),
    /// The device, or work that it was given, was lost: it is opened again, and the newest checkpoint goes on.
    DeviceLost {
        /// The last step that was done.
        step: u64,
        /// What the driver said.
        error: &'a Error,
    },
}

/// Counts that go on when a lost device is opened again.
#[derive(Debug, Default)]
struct Tally {
    /// The furthest step that was done.
    furthest: u64,
    losses: u32,
    losses_without_progress: u32,
}

/// Runs `job` to its end, or until `stop`: the steps under way, one or two, are then finished, and a checkpoint and the model are saved.
/// A device that was lost, or has lost work, is opened again, and the newest checkpoint goes on.
///
/// # Errors
/// [`Error::Training`] when too many gradients in a row were not finite; [`Error::Diverged`] when the loss is far above its
/// best at the end, unless the job keeps its best by itself; [`Error::DeviceLost`] and [`Error::WorkLost`] when that
/// keeps happening; [`Error::Io`] when the model cannot be written at the end; those of the job. The checkpoints stay as
/// they are.
pub(super) async fn run<J: Job>(
    job: &mut J,
    progress: Progress<'_>,
    stop: &AtomicBool,
) -> Result<J::Summary> {
    let mut tally = Tally::default();
    loop {
        let error = match attempt::live(job, &mut tally, progress, stop).await {
            Err(error @ (Error::DeviceLost { .. } | Error::WorkLost { .. })) => error,
            // A driver that is starting again may have no adapter for a while.
            Err(error @ Error::NoAdapter { .. }) if tally.losses > 0 => error,
            ended => return ended.map_err(less_memory),
        };
        tally.losses += 1;
        tally.losses_without_progress += 1;
        if tally.losses_without_progress >= DEVICE_LOSSES || stop.load(Ordering::Relaxed) {
            return Err(error);
        }
        progress(Event::DeviceLost { step: tally.furthest, error: &error });
        // A page has no thread to put to sleep; its browser answers when there is an adapter again.
        #[cfg(not(target_arch = "wasm32"))]
        std::thread::sleep(job.common().reopen_wait * tally.losses_without_progress);
    }
}

/// So often is tried what must be written for a run to have been worth it.
const ATTEMPTS: u32 = 4;

/// Does what writes the last files of a run. A disk may be full for some seconds, and what took hours is not given up for
/// that: what failed is tried again after `wait`, twice and thrice that. A page, which cannot wait, tries once.
///
/// # Errors
/// Those of `write`.
pub(super) fn patiently<T>(
    wait: Duration,
    progress: Progress<'_>,
    mut write: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        match write() {
            Err(error @ Error::Io { .. }) if attempt < ATTEMPTS && cfg!(not(target_arch = "wasm32")) => {
                progress(Event::Warning(format!("{error}; it is tried again")));
            }
            ended => return ended,
        }
        #[cfg(not(target_arch = "wasm32"))]
        std::thread::sleep(wait * attempt);
        #[cfg(target_arch = "wasm32")]
        let _ = wait;
        attempt += 1;
    }
}

/// Takes the folder of a run, which is new, empty or a run's, and locks it. `force` takes one that holds other things,
/// but never one with a model or checkpoints.
pub(super) fn take_folder(
    store: &Arc<dyn Store>,
    out: &Path,
    resume: bool,
    force: bool,
) -> Result<RunFolder> {
    if !resume {
        refuse_model(&**store, out)?;
    }
    claim(&**store, out, Purpose::Run, force)?;
    let begin = if resume { RunFolder::open } else { RunFolder::create };
    begin(store.clone(), out)
}

/// A new run must not end by overwriting a model that was there before.
pub(super) fn refuse_model(store: &dyn Store, out: &Path) -> Result<()> {
    if let Some(weights) = WeightFiles::of(|name| store.exists(&out.join(name))) {
        let found =
            format!("one with {}: resume the run that made it, or choose another folder", weights.first());
        return Err(Error::file(out, "a folder without a model", found));
    }
    Ok(())
}
