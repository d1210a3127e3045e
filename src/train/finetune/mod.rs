//! Finetuning: a pretrained encoder learns a task from labelled texts.
//!
//! [`finetune`] is the whole of it, from tables to a folder; [`Trainer`](super::Trainer) is a step; [`scores`] says what
//! answers are worth.
//!
//! ```text
//! OUT/finetune.json                   the recipe
//! OUT/best/seed-3-epoch-2/            the best epoch of a seed while the run lasts: weights and predictions
//! OUT/predictions.tsv, predictions_SET.tsv    what the saved model says of each set
//! ```
//!
//! and what every [run](super::run) leaves, but for its checkpoints, which go when the last seed is done.

mod answers;
mod best;
mod card;
mod class_weights;
pub mod entities;
mod evaluate;
mod fit;
mod job;
mod measure;
mod output;
mod prepare;
mod recipe;
mod score;
pub mod scores;
mod setup;
mod trainers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

pub use answers::Answers;
pub use class_weights::ClassWeights;
pub use evaluate::{Evaluated, evaluate};
pub use fit::{estimate, largest};
pub use job::RECIPE;
pub use prepare::{Prepared, Truncation};
pub use recipe::{Rates, Recipe, RecipeName};
pub use score::Scores;
pub use scores::Metric;

use super::ranks::Team;
use super::run::Event;
use crate::Result;
use crate::data::task::{Columns, Kind, Table, Task};
use crate::files::ModelFolder;
use crate::gpu::{Choices, Gpu};
use crate::models::Pooling;
use crate::store::{Disk, Store};
use crate::tensor::DType;

/// What is finetuned, on what, and where to.
#[derive(Debug)]
pub struct FinetuneOptions {
    /// What is learned.
    pub task: Task,
    /// The model it begins with.
    pub model: ModelFolder,
    /// How tokens become the vector of a text in contrastive training, and what a classifier's head reads. `None` takes
    /// what the model's folder says, and where it says nothing the first token of Hugging Face's BERTs and in the
    /// notebook's recipe, else the mean: guessing masks never taught a first token to stand for the text.
    pub pooling: Option<Pooling>,
    /// What is learned from.
    pub train: Table,
    /// What is measured on, with names; the first decides which epoch is kept. Without any it is the last.
    pub evals: Vec<(String, Table)>,
    /// How.
    pub recipe: Recipe,
    /// One run for each; the model of the one in the middle is kept.
    pub seeds: Vec<u64>,
    /// How weights are saved: [`DType::F32`], exactly, or [`DType::F16`], in half the size. Scores are those of f32.
    pub saved_as: DType,
    /// How activations are stored while it learns: [`DType::F32`], or [`DType::F16`] with a loss scale that adapts.
    pub storage: DType,
    /// Forms of kernels that the device was opened with ([`ops::choices`](crate::ops::choices)), to be told in the run's folder.
    pub kernels: Choices,
    /// The folder of the finetuned model.
    pub out: PathBuf,
    /// Go on from the newest checkpoint, or start over where there is none yet.
    pub resume: bool,
    /// Go on although recipe, texts or model are not those the run was started with.
    pub allow_changes: bool,
    /// Take a folder that holds what is no run's, and replace its files of the same names.
    pub force: bool,
    /// The ranks that train together, at most as many as the recipe's blocks. Each epoch is measured by this one alone.
    pub team: Team,
    /// What everything in `out` is written with.
    pub store: Arc<dyn Store>,
    /// How long the thread sleeps before a lost device is opened again, and before a full disk is written to again at the
    /// run's end; each further time without success as long again.
    pub wait: Duration,
}

impl FinetuneOptions {
    /// Finetunes `model` on `train` into the folder `out`, by the recipe *Cramming*, with one seed and in f32; nothing is
    /// measured.
    pub fn new(task: Task, model: ModelFolder, train: Table, out: impl Into<PathBuf>) -> Self {
        FinetuneOptions {
            task,
            model,
            pooling: None,
            train,
            evals: Vec::new(),
            recipe: Recipe::new(RecipeName::default(), task),
            seeds: vec![0],
            saved_as: DType::F32,
            storage: DType::F32,
            kernels: Choices::default(),
            out: out.into(),
            resume: false,
            allow_changes: false,
            force: false,
            team: Team::alone(),
            store: Arc::new(Disk),
            wait: Duration::from_secs(2),
        }
    }
}

/// How a seed ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// The best epoch, counted from 1, whose scores these are.
    pub epoch: u64,
    /// Set, measure, value; a measure that is undefined is null.
    pub scores: Vec<(String, &'static str, Option<f64>)>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FinetuneReport {
    /// The model's folder.
    #[serde(serialize_with = "crate::format::shown_path")]
    pub out: PathBuf,
    /// The task.
    pub task: Task,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Whether a model was saved; a run stopped in its first epoch leaves none.
    pub saved: bool,
    /// The seed whose model was saved.
    pub kept_seed: Option<u64>,
    /// Every seed's best epoch.
    pub seeds: Vec<SeedReport>,
    /// Set, measure, and its median over the seeds.
    pub median: Vec<(String, &'static str, Option<f64>)>,
    /// Texts or pairs learned from.
    pub texts: usize,
    /// Of them, those that were truncated to the longest length.
    pub truncated: usize,
    /// Texts or pairs left out because they were too long.
    pub left_out: usize,
    /// Steps whose gradient was not finite.
    pub skipped_steps: u64,
    /// Optimizer steps done, over all seeds.
    pub steps: u64,
    /// How often the device was lost.
    pub device_losses: u32,
    /// Time spent, measuring counted in.
    pub seconds: f64,
    /// The adapter.
    pub device: String,
}

/// Finetunes a model: for every seed, epochs of steps, each epoch measured and the best one kept. The model of the
/// seed with the median score is saved to the folder, with predictions and a card.
///
/// `open` opens a device; it is called again when the device was lost, and the newest checkpoint goes on. Once `stop` is
/// set the steps under way are finished, a checkpoint and the best model so far are saved, and the run returns.
///
/// # Errors
/// [`Error::File`](crate::Error::File) for a folder that has a model or a run already;
/// [`Error::Training`](crate::Error::Training) when gradients stop being finite; those of settings, texts, files and the
/// device.
///
/// Here a model with random weights learns two classes from a table, and is asked about a text:
///
/// ```
/// # use wgrad::files::TensorSource;
/// # use wgrad::models::Config;
/// # use wgrad::nn::initial_values;
/// # use wgrad::store::Disk;
/// # use wgrad::text::{Tokenizer, TokenizerOptions};
/// use std::sync::atomic::AtomicBool;
///
/// use wgrad::files::ModelFolder;
/// use wgrad::data::FileOptions;
/// use wgrad::data::task::{Table, Task};
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::infer::Classifier;
/// use wgrad::tensor::DType;
/// use wgrad::train::finetune::{FinetuneOptions, Recipe, RecipeName, columns, finetune};
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// # let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// # let tokenizer = Tokenizer::train(["good", "bad"].map(|text| Ok(text.to_owned())), &options)?;
/// # let specials = *tokenizer.specials();
/// # let config = Config { vocab_size: tokenizer.vocab_size(), pad_token_id: specials.pad, cls_token_id: specials.cls,
/// #     sep_token_id: specials.sep, mask_token_id: specials.mask, ..Config::preset("micro")? };
/// # let specs = config.parameters();
/// # let shapes = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
/// # let values = TensorSource::new(shapes, |name| {
/// #     let spec = specs.iter().find(|spec| spec.name == name);
/// #     Ok(spec.map(|spec| initial_values(spec, 0)).unwrap_or_default().into())
/// # });
/// # ModelFolder::save(&Disk, folder.join("model"), &config, &tokenizer, values, "# A model with random weights")?;
/// let table = format!("text,label\n{}", "good,yes\nbad,no\n".repeat(32));
/// std::fs::write(folder.join("train.csv"), table).unwrap();
/// let table = Table::read(&folder.join("train.csv"), &columns(Task::Classify, "text", None, Some("label")), &FileOptions::default())?;
/// let model = ModelFolder::load(folder.join("model"))?;
/// let options = FinetuneOptions {
///     recipe: Recipe { epochs: 2, max_length: 8, ..Recipe::new(RecipeName::Cramming, Task::Classify) },
///     ..FinetuneOptions::new(Task::Classify, model, table, folder.join("finetuned"))
/// };
/// pollster::block_on(async {
///     let open = async || Gpu::open(&GpuOptions::default()).await;
///     finetune(&options, open, &mut |_| {}, &AtomicBool::new(false)).await?;
///
///     let gpu = open().await?;
///     let mut classifier = Classifier::open(&gpu, &ModelFolder::load(folder.join("finetuned"))?, DType::F32)?;
///     let found = classifier.predict(&[("good".to_owned(), None)], &mut |_| {}).await?;
///     assert_eq!(found[0].probabilities.len(), 2);
///     Ok(())
/// })
/// # }
/// ```
pub async fn finetune(
    options: &FinetuneOptions,
    open: impl AsyncFnMut() -> Result<Gpu>,
    progress: &mut dyn FnMut(Event<'_>),
    stop: &AtomicBool,
) -> Result<FinetuneReport> {
    let mut job = job::Finetuning::start(options, open, progress)?;
    super::run::run(&mut job, progress, stop).await
}

/// The columns of a table for a task: texts and labels by the names that were given. Where a text may have several labels,
/// commas stand between them.
pub fn columns(task: Task, text: &str, pair: Option<&str>, label: Option<&str>) -> Columns {
    // Contrastive training needs no label.
    let label = label.or((task != Task::Contrastive).then_some("label"));
    let numbers = matches!(task.kind(), Kind::Number | Kind::Vector);
    let separator = (task.kind() == Kind::Labels).then(|| ",".to_owned());
    let [pair, label] = [pair, label].map(|name| name.map(str::to_owned));
    Columns { text: text.to_owned(), pair, label, numbers, separator }
}
