//! Finetuning as the engine of a run sees it: seeds one after the other, each of which is epochs of steps.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::best::{Best, Waiting, clean, prune, sweep};
use super::setup::Setup;
use super::{FinetuneOptions, FinetuneReport, SeedReport, output};
use crate::data::task::{Kind, batches};
use crate::files::MODEL_FILE;
use crate::gpu::Gpu;
use crate::ops::measure::settle_speed;
use crate::store::{CHECKPOINTS, Purpose, Store, claim, write_json};
use crate::train::config::CheckpointConfig;
use crate::train::engine::StepEngine;
use crate::train::metrics::{Columns, Row};
use crate::train::objective::{TextBatch, TextObjective};
use crate::train::ranks::DataParallel;
use crate::train::run::job::{Common, End, Fed, Job, Progress};
use crate::train::run::log::points;
use crate::train::run::position::Position;
use crate::train::run::save::Tensors;
use crate::train::run::{Event, patiently, refuse_model, take_folder};
use crate::train::statistics::median;
use crate::viz::loss_curve::LossCurve;
use crate::{Error, Result};

/// The recipe of a finetuning run in its folder.
pub const RECIPE: &str = "finetune.json";

/// So many gradients in a row that are not finite end a run.
const MAX_SKIPPED: u64 = 20;

/// What a checkpoint keeps besides the tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    layout: Layout,
    /// The best epoch so far of each seed that has one.
    best: Vec<Best>,
}

/// What says where a step lies, and what scores are of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Layout {
    seeds: Vec<u64>,
    epochs: u64,
    /// Steps of an epoch.
    per_epoch: u64,
    /// The names and checksums of the sets that are measured.
    sets: Value,
}

impl Layout {
    /// Whether a run may go on as `other`: with more seeds at most.
    fn leads_to(&self, other: &Layout) -> bool {
        let Layout { seeds, epochs, per_epoch, sets } = self;
        other.seeds.starts_with(seeds)
            && (*epochs, *per_epoch, sets) == (other.epochs, other.per_epoch, &other.sets)
    }
}

pub(super) struct Finetuning<'a, O> {
    setup: Setup<'a>,
    common: Common,
    open: O,
    device: Option<Gpu>,
    lengths: Vec<usize>,
    order: Option<Order>,
    state: State,
    /// The state of the newest checkpoint: where that one turns out to be damaged, the one before it goes on.
    saved: State,
    /// Best epochs that the disk has refused so far. No checkpoint is saved that would speak of them.
    waiting: Vec<Waiting>,
}

/// The batches of an epoch of a seed: which texts are in each.
struct Order {
    seed: u64,
    epoch: u64,
    batches: Vec<Vec<usize>>,
}

/// Where a step lies, all counted from 0.
struct Place {
    seed: u64,
    epoch: u64,
    /// In its epoch.
    number: u64,
    /// In its seed.
    step: u64,
}

impl<'a, O> Finetuning<'a, O> {
    /// Prepares texts, and locks the folder; no device is touched.
    pub(super) fn start(options: &'a FinetuneOptions, open: O, progress: Progress<'_>) -> Result<Self> {
        let (out, store) = (&options.out, &options.store);
        let claimed = claim(&**store, out, Purpose::Run, options.force);
        if options.resume && store.exists(&out.join(MODEL_FILE)) && !has_checkpoints(&**store, out) {
            // A process that was killed while it cleaned up left what nobody will need.
            claimed.and_then(|()| sweep(&**store, out))?;
            let expected = "a run that was stopped or killed";
            return Err(Error::file(out, expected, "one that is done, or a model from elsewhere"));
        }
        // Before texts are prepared, which may take a while. It is looked at again when it is locked.
        if !options.resume {
            refuse_model(&**store, out)?;
        }
        claimed?;
        let setup = Setup::new(options)?;
        setup.warnings().into_iter().for_each(|text| progress(Event::Warning(text)));
        let folder = take_folder(store, out, options.resume, options.force)?;
        let lengths = setup.train.lengths();
        let per_seed = setup.steps_per_epoch() * options.recipe.epochs;
        let common = Common {
            out: out.clone(),
            store: store.clone(),
            folder,
            fingerprint: setup.fingerprint()?,
            resume: options.resume,
            allow_changes: options.allow_changes,
            other_precision: false,
            checkpoint: CheckpointConfig { every: 0, minutes: 10.0, keep: 2 },
            max_skipped: MAX_SKIPPED,
            advice: "a lower learning rate may help (--lr)",
            reopen_wait: options.wait,
            kernels: options.kernels.clone(),
            columns: Columns::Finetuning,
            total_steps: per_seed * options.seeds.len() as u64,
            parameters: setup.config.parameter_count(),
            unigram_entropy: None,
        };
        let (state, saved, waiting) = Default::default();
        Ok(Finetuning { setup, common, open, device: None, lengths, order: None, state, saved, waiting })
    }

    fn layout(&self) -> Layout {
        Layout {
            seeds: self.setup.options.seeds.clone(),
            epochs: self.setup.options.recipe.epochs,
            per_epoch: self.setup.steps_per_epoch(),
            sets: self.common.fingerprint.get("eval").cloned().unwrap_or_default(),
        }
    }

    /// Steps of a seed.
    fn per_seed(&self) -> u64 {
        self.setup.steps_per_epoch() * self.setup.options.recipe.epochs
    }

    /// The step after `done` steps.
    fn place(&self, done: u64) -> Place {
        let seeds = &self.setup.options.seeds;
        let number = (done / self.per_seed()) as usize;
        let step = done % self.per_seed();
        // After the last step there is no further seed.
        let seed = seeds.get(number).or(seeds.last()).copied().unwrap_or_default();
        let per_epoch = self.setup.steps_per_epoch();
        Place { seed, epoch: step / per_epoch, number: step % per_epoch, step }
    }

    fn unopened() -> Error {
        Error::Training { step: 0, message: "no device was opened: this is a defect".to_owned() }
    }

    /// Measures every set, and keeps the epoch if it is the best of its seed. What the first set gave is put into `row`.
    async fn end_epoch(
        &mut self,
        trainer: &mut DataParallel<TextObjective>,
        row: &mut Row,
        progress: Progress<'_>,
    ) -> Result<()> {
        let gpu = self.device.as_ref().ok_or_else(Self::unopened)?;
        let model = trainer.trainer().shared_model();
        let mut found = self.setup.measure(gpu, model.clone(), progress).await;
        if let Err(Error::OutOfMemory { .. }) = found {
            // Both at once do not fit, each by itself may.
            trainer.trainer_mut().give_up_recordings()?;
            found = self.setup.measure(gpu, model, progress).await;
        }
        let (measured, predictions) = found?;
        if let Some((_, first)) = measured.first() {
            first.enter(row);
        }
        let (seed, epoch) = (row.seed, row.epoch);
        progress(Event::Epoch { seed, epoch, measured: &measured });
        let candidate = Best { seed, epoch, measured };
        let known = self.state.best.iter().position(|best| best.seed == seed);
        // A score that is no number beats nothing.
        let better = known.is_none_or(|at| candidate.main() > self.state.best[at].main());
        if !better && !self.setup.evals.is_empty() {
            return Ok(());
        }
        let weights = Tensors::read(trainer, trainer.model_tensors()).await?;
        let candidate = Waiting::new(candidate, weights, predictions);
        let saved = candidate.save(&*self.common.store, &self.common.out);
        let best = candidate.best.clone();
        match saved {
            Ok(()) => self.waiting.retain(|waiting| waiting.best.seed != seed),
            // A disk that is full for a while costs no epoch.
            Err(error @ Error::Io { .. }) => {
                let kept = format!(
                    "epoch {epoch} of seed {seed} is kept in memory until it can be written: {error}"
                );
                progress(Event::Warning(kept));
                self.waiting.retain(|waiting| waiting.best.seed != seed);
                self.waiting.push(candidate);
            }
            Err(error @ Error::File { .. }) => {
                progress(Event::Warning(format!("epoch {epoch} of seed {seed} is not kept: {error}")));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        match known {
            Some(at) => self.state.best[at] = best,
            None => self.state.best.push(best),
        }
        Ok(())
    }
}

impl<O: AsyncFnMut() -> Result<Gpu>> Job for Finetuning<'_, O> {
    type Trainer = DataParallel<TextObjective>;
    type Summary = FinetuneReport;

    fn common(&self) -> &Common {
        &self.common
    }

    fn write_recipe(&self) -> Result<()> {
        let FinetuneOptions { task, recipe, seeds, storage, kernels, .. } = self.setup.options;
        let recipe = serde_json::json!({
            "format": 1, "task": task, "seeds": seeds, "storage": storage, "kernels": kernels, "recipe": recipe
        });
        write_json(&*self.common.store, &self.common.out.join(RECIPE), &recipe)
    }

    async fn open(&mut self, done: u64) -> Result<Self::Trainer> {
        let gpu = (self.open)().await?;
        settle_speed(&gpu).await?;
        self.device = Some(gpu);
        self.begin(done).await
    }

    fn begins(&self, done: u64) -> bool {
        done.is_multiple_of(self.per_seed()) && done < self.common.total_steps
    }

    async fn begin(&mut self, done: u64) -> Result<Self::Trainer> {
        let seed = self.place(done).seed;
        self.setup.trainer(self.device.as_ref().ok_or_else(Self::unopened)?, seed)
    }

    fn seek(&mut self, _: &Position, state: &Value) -> Result<()> {
        let (out, store) = (&self.common.out, &*self.common.store);
        // What was learned after the checkpoint is learned again.
        self.waiting.clear();
        let layout = self.layout();
        self.state = match state {
            Value::Null => State::default(),
            state => {
                let state: State = serde_json::from_value(state.clone()).map_err(|error| {
                    Error::file(out, "the checkpoint of a finetuning run", error.to_string())
                })?;
                if !state.layout.leads_to(&layout) {
                    let expected = "the seeds (more may follow), epochs, texts per step and sets to measure on that the \
                                    run has begun with, which no change of settings can do without";
                    return Err(Error::config("resume", expected, "others: start a new run"));
                }
                state
            }
        };
        if let Some(lost) = self.state.best.iter().find(|best| !best.is_kept(store, out)) {
            let found = "none: it was removed, and the run cannot go on without it";
            return Err(Error::file(lost.folder(out), "the best epoch of a seed", found));
        }
        self.state.layout = layout;
        self.saved = self.state.clone();
        Ok(())
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn next(&mut self, done: u64) -> Result<Fed<TextBatch>> {
        let Place { seed, epoch, number, step } = self.place(done);
        let recipe = &self.setup.options.recipe;
        let learning_rate = recipe.rates.at(step, self.per_seed(), epoch);
        let known = self.order.take().filter(|order| (order.seed, order.epoch) == (seed, epoch));
        let order = self.order.insert(known.unwrap_or_else(|| {
            let shuffled = if recipe.reshuffle { epoch } else { 0 };
            Order { seed, epoch, batches: batches(&self.lengths, recipe.batch, seed, shuffled) }
        }));
        let chosen = order.batches.get(number as usize).map(Vec::as_slice).unwrap_or_default();
        let micro_batches = self.setup.micro_batches(chosen);
        let texts = micro_batches.iter().flat_map(|batch| &batch.texts);
        Ok(Fed {
            tokens: texts.map(|text| text.ids.len() as u64).sum(),
            learning_rate,
            sequences: chosen.len() as u64,
            row: Row { seed, epoch: epoch + 1, seed_step: step + 1, ..Row::default() },
            micro_batches,
        })
    }

    /// At the end of every epoch.
    fn is_evaluated(&self, done: u64) -> bool {
        self.must_save(done)
    }

    async fn evaluate(
        &mut self,
        trainer: &mut Self::Trainer,
        row: &mut Row,
        progress: Progress<'_>,
    ) -> Result<bool> {
        if matches!(self.setup.options.task.kind(), Kind::Number | Kind::Labels) {
            // A number is not right or wrong, nor are several labels.
            row.accuracy = None;
        }
        let due = self.is_evaluated(row.step);
        if due {
            self.end_epoch(trainer, row, progress).await?;
        }
        Ok(due)
    }

    /// At the end of every epoch.
    fn keeps_best(&self) -> bool {
        true
    }

    fn must_save(&self, done: u64) -> bool {
        done > 0 && done.is_multiple_of(self.setup.steps_per_epoch())
    }

    fn settle(&mut self) -> Result<()> {
        settle(&mut self.waiting, &*self.common.store, &self.common.out)
    }

    fn saved(&mut self) {
        let kept = self.state.best.iter().chain(&self.saved.best);
        prune(&*self.common.store, &self.common.out, kept);
        self.saved = self.state.clone();
    }

    fn picture(&self, rows: &[Row], _: &str) -> LossCurve {
        let seed = rows.last().map_or(0, |row| row.seed);
        picture(&self.setup, rows, seed, format!("seed {seed}"))
    }

    async fn finish(
        &mut self,
        trainer: Self::Trainer,
        end: End,
        progress: Progress<'_>,
    ) -> Result<FinetuneReport> {
        drop(trainer);
        let mut runs = self.state.best.clone();
        runs.sort_by(|a, b| a.main().total_cmp(&b.main()));
        let seeds: Vec<SeedReport> = runs.iter().map(Best::report).collect();
        let kept = runs.get(runs.len().saturating_sub(1) / 2);
        let train = &self.setup.train;
        let report = FinetuneReport {
            out: self.common.out.clone(),
            task: self.setup.options.task,
            interrupted: end.interrupted,
            saved: kept.is_some(),
            kept_seed: kept.map(|best| best.seed),
            median: medians(&seeds),
            seeds,
            texts: train.count(),
            truncated: train.truncated,
            left_out: train.left_out,
            skipped_steps: end.at.skipped,
            steps: end.at.step,
            device_losses: end.device_losses,
            seconds: end.at.seconds,
            device: end.device,
        };
        let store = &*self.common.store;
        if let Some(best) = kept {
            let subtitle = format!("seed {}, best epoch {}", best.seed, best.epoch);
            let picture = picture(&self.setup, end.log.rows(), best.seed, subtitle);
            patiently(self.common.reopen_wait, progress, || {
                settle(&mut self.waiting, store, &self.common.out)?;
                output::save(store, &self.setup, best, &report, &picture)
            })?;
        }
        Ok(report)
    }

    fn clean(&self) -> Result<()> {
        clean(&*self.common.store, &self.common.out)
    }
}

/// Writes best epochs that the disk has refused so far.
fn settle(waiting: &mut Vec<Waiting>, store: &dyn Store, out: &Path) -> Result<()> {
    while let Some(next) = waiting.last() {
        next.save(store, out)?;
        waiting.pop();
    }
    Ok(())
}

/// Whether there is a checkpoint to go on from.
fn has_checkpoints(store: &dyn Store, out: &Path) -> bool {
    let names = store.list(&out.join(CHECKPOINTS)).unwrap_or_default();
    names.iter().any(|name| name.starts_with("step-"))
}

/// The loss of a seed.
fn picture(setup: &Setup<'_>, rows: &[Row], seed: u64, subtitle: String) -> LossCurve {
    let points = |value: fn(&Row) -> Option<f64>| {
        points(rows.iter().filter(|row| row.seed == seed), |row| row.seed_step, value)
    };
    let squared = setup.options.task.kind() == Kind::Number;
    LossCurve {
        title: format!("Finetuning on {}", setup.options.task),
        subtitle,
        y_label: squared.then(|| "squared error".to_owned()),
        train: points(|row| Some(row.loss)),
        held_out: points(|row| row.eval_loss),
        learning_rate: points(|row| Some(row.lr)),
        ..LossCurve::default()
    }
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
