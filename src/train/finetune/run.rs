//! A finetuning run: seeds, epochs, steps, and the best epoch of each seed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use web_time::Instant;

use super::job::{Job, Start};
use super::learner::TaskLearner;
use super::measure::Measured;
use super::output;
use super::recipe::Recipe;
use super::rows::{Row, Rows};
use super::scores::median;
use crate::bert::Pooling;
use crate::checkpoint::atomic::Disk;
use crate::checkpoint::{MODEL_FILE, ModelFolder};
use crate::data::task::{Columns, Table, Task, batches};
use crate::gpu::Gpu;
use crate::infer::save_reference;
use crate::ops::measure::settle_speed;
use crate::tensor::DType;
use crate::{Error, Result};

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
    /// The folder of the finetuned model.
    pub out: PathBuf,
}

/// What happens in a run, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A seed begins.
    Ready {
        /// The seed.
        seed: u64,
        /// Optimizer steps it will take.
        steps: u64,
        /// Texts or pairs to learn from.
        texts: usize,
        /// Trained values.
        parameters: u64,
        /// The adapter.
        device: String,
    },
    /// A step is done.
    Step(&'a Row),
    /// Texts to measure on are done.
    Measuring {
        /// How many.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// An epoch is done and measured.
    Epoch {
        /// The seed.
        seed: u64,
        /// The epoch, counted from 1.
        epoch: u64,
        /// What was measured on each set.
        measured: &'a [(String, Measured)],
    },
    /// Something to know that ends nothing.
    Warning(String),
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
    /// Of them, those that were cut to the longest length.
    pub truncated: usize,
    /// Texts or pairs left out because they were too long.
    pub left_out: usize,
    /// Steps whose gradient was not finite.
    pub skipped_steps: u64,
    /// Optimizer steps done, over all seeds.
    pub steps: u64,
    /// Time spent, measuring counted in.
    pub seconds: f64,
    /// The adapter.
    pub device: String,
}

/// The best epoch of a seed, with its weights.
pub(super) struct Best {
    pub seed: u64,
    pub epoch: u64,
    pub measured: Vec<(String, Measured)>,
    pub outputs: Vec<output::Answers>,
    pub weights: Vec<(String, Vec<f32>)>,
}

impl Best {
    fn main(&self) -> f64 {
        self.measured.first().map_or(f64::NEG_INFINITY, |(_, measured)| measured.main())
    }

    fn report(&self) -> SeedReport {
        let scores = self.measured.iter().flat_map(|(set, measured)| {
            measured.scores.iter().map(|(metric, value)| (set.clone(), metric.name(), *value))
        });
        SeedReport { seed: self.seed, epoch: self.epoch, scores: scores.collect() }
    }
}

/// After so many steps in a row whose gradient was not finite the run ends.
const MAX_SKIPPED: u64 = 20;

/// What a run has counted.
#[derive(Default)]
struct Tally {
    steps: u64,
    skipped: u64,
    skipped_in_a_row: u64,
}

/// Finetunes a model: for every seed, epochs of steps, each epoch measured and the best one kept. The model of the
/// seed with the median score is saved to the folder, with `predictions.tsv`, `metrics.csv` and `.jsonl`,
/// `loss.svg`, and a card. `stop` ends the run between two steps; what was measured by then is saved.
///
/// # Errors
/// [`Error::File`] for a folder that has a model already; [`Error::Training`] when gradients stop being finite;
/// those of settings, texts, files and the device.
pub async fn finetune(
    gpu: &Gpu,
    options: &FinetuneOptions,
    events: &mut dyn FnMut(Event<'_>),
    stop: &AtomicBool,
) -> Result<FinetuneReport> {
    let out = &options.out;
    if out.join(MODEL_FILE).exists() {
        let found = format!("one with {MODEL_FILE}: choose another folder");
        return Err(Error::file(out, "a folder without a model", found));
    }
    let job = Job::new(options)?;
    settle_speed(gpu).await?;
    job.warnings().into_iter().for_each(|text| events(Event::Warning(text)));
    std::fs::create_dir_all(out).map_err(Error::io(out, "create the folder"))?;
    let (began, mut tally) = (Instant::now(), Tally::default());
    let (mut rows, mut log) = (Rows::create(out)?, Vec::new());
    let mut runs: Vec<Best> = Vec::new();
    for &seed in &options.seeds {
        let mut keep = |row: &Row| {
            log.push(*row);
            rows.append(row)
        };
        let best = one_seed(gpu, &job, seed, &mut tally, events, stop, &mut keep).await?;
        runs.extend(best);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    runs.sort_by(|a, b| a.main().total_cmp(&b.main()));
    let seeds: Vec<SeedReport> = runs.iter().map(Best::report).collect();
    let kept = runs.get(runs.len().saturating_sub(1) / 2);
    let report = FinetuneReport {
        out: out.clone(),
        task: options.task,
        interrupted: stop.load(Ordering::Relaxed),
        saved: kept.is_some(),
        kept_seed: kept.map(|best| best.seed),
        median: medians(&seeds),
        seeds,
        texts: job.train.len(),
        truncated: job.train.truncated,
        left_out: job.train.left_out,
        skipped_steps: tally.skipped,
        steps: tally.steps,
        seconds: began.elapsed().as_secs_f64(),
        device: gpu.capabilities().name.clone(),
    };
    if let Some(best) = kept {
        output::save(&job, best, &report, &log)?;
        // The model is as good without them.
        if let Err(error) = save_reference(gpu, &Disk, out).await {
            events(Event::Warning(format!("the reference vectors were not saved: {error}")));
        }
    }
    Ok(report)
}

/// Trains one seed; none when it was stopped before an epoch was over.
async fn one_seed(
    gpu: &Gpu,
    job: &Job<'_>,
    seed: u64,
    tally: &mut Tally,
    events: &mut dyn FnMut(Event<'_>),
    stop: &AtomicBool,
    log: &mut dyn FnMut(&Row) -> Result<()>,
) -> Result<Option<Best>> {
    let (recipe, lengths) = (&job.options.recipe, job.train.lengths());
    let Start { mut learner, mut outputs } = job.start(gpu, seed)?;
    let per_epoch = lengths.len().div_ceil(recipe.batch) as u64;
    let steps = per_epoch * recipe.epochs;
    events(Event::Ready {
        seed,
        steps,
        texts: lengths.len(),
        parameters: job.config.parameter_count(),
        device: gpu.capabilities().name.clone(),
    });
    let (began, mut best, mut step) = (Instant::now(), None::<Best>, 0);
    for epoch in 0..recipe.epochs {
        let order = batches(&lengths, recipe.batch, seed, if recipe.reshuffle { epoch } else { 0 });
        let mut last = Row::default();
        for (number, chosen) in order.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(best);
            }
            let rate = recipe.rates.at(step, steps, epoch);
            let report = learner.step(&job.micro_batches(chosen), rate).await?;
            step += 1;
            tally.count(report.skipped, step)?;
            last = Row {
                seed,
                epoch: epoch + 1,
                step,
                loss: report.loss,
                lr: rate,
                grad_norm: report.gradient_norm,
                seconds: began.elapsed().as_secs_f64(),
                ..Row::default()
            };
            if number + 1 < order.len() {
                log(&last)?;
                events(Event::Step(&last));
            }
        }
        let mut measured = Vec::new();
        let mut answers = Vec::new();
        for (name, set) in &job.evals {
            let total = set.len();
            let mut progress = |done| events(Event::Measuring { done, total });
            let (result, found) = job.measure(&mut outputs, learner.model(), set, &mut progress).await?;
            measured.push((name.clone(), result));
            answers.push(found);
        }
        if let Some((_, first)) = measured.first() {
            last.put(first);
        }
        log(&last)?;
        events(Event::Step(&last));
        events(Event::Epoch { seed, epoch: epoch + 1, measured: &measured });
        let main = measured.first().map_or(f64::INFINITY, |(_, first)| first.main());
        if best.as_ref().is_none_or(|best| main > best.main()) || job.evals.is_empty() {
            let weights = read(&learner).await?;
            best = Some(Best { seed, epoch: epoch + 1, measured, outputs: answers, weights });
        }
    }
    Ok(best)
}

impl Tally {
    fn count(&mut self, skipped: bool, step: u64) -> Result<()> {
        self.steps += 1;
        self.skipped += u64::from(skipped);
        self.skipped_in_a_row = if skipped { self.skipped_in_a_row + 1 } else { 0 };
        if self.skipped_in_a_row < MAX_SKIPPED {
            return Ok(());
        }
        let message = format!(
            "{MAX_SKIPPED} gradients in a row were not finite; a lower learning rate may help (--lr)"
        );
        Err(Error::Training { step, message })
    }
}

/// The weights that are saved.
async fn read(learner: &TaskLearner) -> Result<Vec<(String, Vec<f32>)>> {
    let parameters = &learner.model().parameters;
    let mut weights = Vec::new();
    for (name, _) in parameters.shapes() {
        let values = parameters.read(&name).await?;
        weights.push((name, values));
    }
    Ok(weights)
}

/// The median of every score over the seeds that have it.
fn medians(seeds: &[SeedReport]) -> Vec<(String, &'static str, Option<f64>)> {
    let Some(first) = seeds.first() else { return Vec::new() };
    let value = |seed: &SeedReport, at: usize| seed.scores.get(at).and_then(|score| score.2);
    let one = |(at, (set, metric, _)): (usize, &(String, &'static str, Option<f64>))| {
        let values: Vec<f64> = seeds.iter().filter_map(|seed| value(seed, at)).collect();
        (set.clone(), *metric, median(&values))
    };
    first.scores.iter().enumerate().map(one).collect()
}

/// The columns of a table for a task: texts and labels by the names that were given.
pub fn columns(task: Task, text: &str, pair: Option<&str>, label: Option<&str>) -> Columns {
    // Contrastive training needs no label.
    let label = label.or((task != Task::Contrastive).then_some("label"));
    Columns { text: text.to_owned(), pair: pair.map(str::to_owned), label: label.map(str::to_owned) }
}
