//! A pretraining run: a model learns to guess masked tokens.
//!
//! ```text
//! OUT/train.json    the recipe
//! ```
//!
//! and what every [run](super::run) leaves.

mod batches;
mod card;
mod changes;
#[cfg(not(target_arch = "wasm32"))]
mod feed;
#[cfg(target_arch = "wasm32")]
#[path = "feed_here.rs"]
mod feed;
mod from;
mod initial;
mod job;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use super::config::TrainConfig;
use super::engine::StepEngine;
use super::run::Event;
use crate::Result;
use crate::data::{Batch, Dataset};
use crate::files::ModelFolder;
use crate::store::{Disk, Store};
use crate::viz::loss_curve::Reference;

pub(crate) use batches::held_out_batches;
pub use from::check_start;
pub use initial::save_initial;
pub use job::RECIPE;

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The recipe; its vocabulary and T are the data's.
    pub config: TrainConfig,
    /// The data.
    pub dataset: Arc<Dataset>,
    /// What the data is called, for the model card.
    pub data: Vec<String>,
    /// The model that `config.from` names: its weights are those the run starts from. A run that goes on from a checkpoint
    /// does without it.
    pub from: Option<Arc<ModelFolder>>,
    /// Losses to hold the run's against in its picture, besides the unigram entropy.
    pub references: Vec<Reference>,
    /// The run's folder.
    pub out: PathBuf,
    /// Go on from the newest checkpoint, or start over where there is none yet.
    pub resume: bool,
    /// Go on although recipe or data are not those the run was started with.
    pub allow_changes: bool,
    /// Go on in another precision than that of the steps done, all else being as it was: weights and the optimizer's state
    /// are f32 in either.
    pub other_precision: bool,
    /// Take a folder that holds what is no run's, and replace its files of the same names.
    pub force: bool,
    /// What checkpoints, pictures and the model are written with.
    pub store: Arc<dyn Store>,
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
            from: None,
            references: Vec::new(),
            out: out.into(),
            resume: false,
            allow_changes: false,
            other_precision: false,
            force: false,
            store: Arc::new(Disk),
            reopen_wait: Duration::from_secs(2),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The run's folder, which is a model folder now.
    #[serde(serialize_with = "crate::format::shown_path")]
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
    #[serde(rename = "held_out_loss")]
    pub eval_loss: Option<f64>,
    /// The accuracy measured with it.
    #[serde(rename = "held_out_accuracy")]
    pub eval_accuracy: Option<f64>,
    /// The loss in nats of guessing held-out tokens by their frequency.
    pub unigram_entropy: Option<f64>,
    /// Steps skipped because a gradient was not finite.
    pub skipped_steps: u64,
    /// How often the device was lost.
    pub device_losses: u32,
    /// Trained values.
    pub parameters: u64,
    /// What the trainer ran on.
    pub device: String,
    /// Time spent training, over all sessions.
    pub seconds: f64,
    /// Tokens seen per second of that time.
    pub tokens_per_second: f64,
}

/// Trains from a recipe and leaves a model folder.
///
/// `open` opens a device and builds the trainer, with the first weights; it is called again when the device was
/// lost, and the newest checkpoint is then written into the new trainer. Once `stop` is set the steps under way are
/// finished, a checkpoint and the model are saved, and the run returns.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) and [`Error::File`](crate::Error::File) for recipes, data and folders that do
/// not fit, before a device is opened; those of `open` and of the trainer;
/// [`Error::Training`](crate::Error::Training) when too many gradients in a row were not finite;
/// [`Error::DeviceLost`](crate::Error::DeviceLost) and [`Error::WorkLost`](crate::Error::WorkLost) when that keeps happening;
/// [`Error::Io`](crate::Error::Io) when the model cannot be written at the end. The checkpoints stay as they are.
///
/// ```
/// use std::sync::{Arc, atomic::AtomicBool};
///
/// use wgrad::data::{Dataset, HeldOut, PrepareOptions, prepare};
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::text::{Tokenizer, TokenizerOptions};
/// use wgrad::train::{RunOptions, Settings, TrainConfig, Trainer, pretrain};
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let text = ["the cat sleeps all day", "the dogs bark at night"];
/// std::fs::write(folder.join("text.txt"), text.join("\n").repeat(50)).unwrap();
/// let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// Tokenizer::train(text.map(|text| Ok(text.to_owned())), &options)?.save(folder.join("tokenizer"))?;
/// let options = PrepareOptions {
///     inputs: vec![folder.join("text.txt")],
///     tokenizer: folder.join("tokenizer"),
///     out: folder.join("data"),
///     seq_len: 16,
///     held_out: HeldOut::Sequences(4),
///     ..PrepareOptions::default()
/// };
/// prepare(&options, |_| {})?;
///
/// let data = Arc::new(Dataset::open(&[folder.join("data")])?);
/// let mut settings = Settings::preset("micro")?;
/// for change in ["steps=3", "warmup_steps=1", "batch_sequences=8", "micro_batch=8"] {
///     settings.set(change)?;
/// }
/// let options = RunOptions::new(settings.for_data(&data)?, data, folder.join("run"));
/// let open = async |config: &TrainConfig| {
///     let gpu = Gpu::open(&GpuOptions::default()).await?;
///     Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
/// };
/// let stop = AtomicBool::new(false);
/// let summary = pollster::block_on(pretrain(&options, open, &mut |_| {}, &stop))?;
/// assert_eq!(summary.steps, 3);
/// assert!(folder.join("run/model.safetensors").exists());
/// # Ok(())
/// # }
/// ```
pub async fn pretrain<L: StepEngine<Batch = Batch>>(
    options: &RunOptions,
    open: impl AsyncFnMut(&TrainConfig) -> Result<L>,
    progress: &mut dyn FnMut(Event<'_>),
    stop: &AtomicBool,
) -> Result<Summary> {
    let mut job = job::Pretraining::start(options, open, progress)?;
    super::run::run(&mut job, progress, stop).await
}
