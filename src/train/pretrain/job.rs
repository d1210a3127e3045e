//! Pretraining as the engine of a run sees it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::batches::held_out_batches;
use super::feed::Feed;
use super::{RunOptions, Summary, card, changes, from};
use crate::data::{Batch, Batcher, BatcherOptions, Split};
use crate::files::{ModelFolder, RunFolder};
use crate::store::write_json;
use crate::train::config::TrainConfig;
use crate::train::engine::StepEngine;
use crate::train::metrics::{Columns, Row};
use crate::train::run::job::{Common, End, Fed, Job, Progress};
use crate::train::run::log::points;
use crate::train::run::position::Position;
use crate::train::run::save::Tensors;
use crate::train::run::{Event, patiently, take_folder};
use crate::train::schedule::Plan;
use crate::train::settings::FORMAT;
use crate::viz::loss_curve::{LossCurve, Reference};
use crate::{Error, Result};

/// The recipe's name in the run's folder.
pub const RECIPE: &str = "train.json";

/// What its file holds.
#[derive(Serialize)]
struct Recipe<'a> {
    format: u32,
    #[serde(flatten)]
    config: &'a TrainConfig,
}

/// Parts of the recipe that change neither what is learned nor what is measured.
const FREE: [&str; 4] = ["checkpoint", "max_skipped", "recompute", "kernels"];

pub(super) struct Pretraining<'a, O> {
    pub options: &'a RunOptions,
    pub common: Common,
    open: O,
    plan: Plan,
    batcher: Batcher,
    held_out: Vec<Batch>,
    feed: Option<Feed>,
}

impl<'a, O> Pretraining<'a, O> {
    /// Checks that recipe, data and folder fit, and locks the folder.
    pub(super) fn start(options: &'a RunOptions, open: O, progress: Progress<'_>) -> Result<Self> {
        let (config, dataset) = (&options.config, &options.dataset);
        config.check()?;
        // A model that was made elsewhere may have more embeddings than tokens.
        let enough = config.from.is_some() && config.model.vocab_size > dataset.vocab_size();
        if config.model.vocab_size != dataset.vocab_size() && !enough {
            let expected = format!("{}, the tokenizer's", dataset.vocab_size());
            return Err(Error::config("model.vocab_size", expected, config.model.vocab_size));
        }
        if config.seq_len != dataset.seq_len() {
            let expected = format!("{}, the data's", dataset.seq_len());
            return Err(Error::config("seq_len", expected, config.seq_len));
        }
        if !options.resume {
            from::model(options)?;
        }
        let plan = config.plan()?;
        let batcher = Batcher::new(
            dataset.clone(),
            BatcherOptions {
                seed: config.seed,
                masking: config.masking,
                mask_padding: config.model.mask_padding,
            },
        )?;
        batcher.require(plan.largest_batch()).map_err(|error| match error {
            Error::Config { expected, found, .. } => {
                Error::Config { field: "batch_sequences".to_owned(), expected, found }
            }
            other => other,
        })?;

        let folder = open_folder(options)?;
        let sequences = config.evaluate.sequences.min(dataset.len(Split::HeldOut));
        if sequences == 0 && config.evaluate.sequences > 0 {
            let warning = "the data has no held-out sequences: no loss is measured on text not trained on";
            progress(Event::Warning(warning.to_owned()));
        }
        let held_out = held_out_batches(&batcher, sequences, config.micro_batch_sequences())?;
        let common = Common {
            out: options.out.clone(),
            store: options.store.clone(),
            folder,
            fingerprint: fingerprint(options),
            resume: options.resume,
            allow_changes: options.allow_changes,
            other_precision: options.other_precision,
            checkpoint: config.checkpoint,
            max_skipped: config.max_skipped,
            advice: "lower `learning_rate`, or raise `max_skipped`",
            reopen_wait: options.reopen_wait,
            kernels: options.config.kernels.clone(),
            columns: Columns::Pretraining,
            total_steps: plan.total_steps(),
            parameters: config.model.parameter_count(),
            unigram_entropy: dataset.unigram_entropy(),
        };
        Ok(Self { options, common, open, plan, batcher, held_out, feed: None })
    }
}

impl<L, O> Job for Pretraining<'_, O>
where
    L: StepEngine<Batch = Batch>,
    O: AsyncFnMut(&TrainConfig) -> Result<L>,
{
    type Trainer = L;
    type Summary = Summary;

    fn common(&self) -> &Common {
        &self.common
    }

    fn write_recipe(&self) -> Result<()> {
        let recipe = Recipe { format: FORMAT, config: &settled(&self.options.config) };
        write_json(&*self.options.store, &self.options.out.join(RECIPE), &recipe)
    }

    async fn open(&mut self, done: u64) -> Result<L> {
        let folder = if done == 0 { from::model(self.options)? } else { None };
        let mut trainer = (self.open)(&self.options.config).await?;
        if let Some(folder) = folder {
            from::put(&mut trainer, folder)?;
        }
        Ok(trainer)
    }

    fn consequence(&self, stored: &Map<String, Value>, done: u64) -> Option<String> {
        changes::of_rates(stored, &self.options.config, &self.plan, done)
    }

    fn seek(&mut self, at: &Position, _: &Value) -> Result<()> {
        let micro = self.options.config.micro_batch_sequences();
        // The thread of an earlier one ends first.
        self.feed = None;
        self.feed = Some(Feed::start(self.batcher.clone(), self.plan.clone(), at.step, at.sequence, micro)?);
        Ok(())
    }

    fn next(&mut self, done: u64) -> Result<Fed<Batch>> {
        let feed = self.feed.as_mut().ok_or_else(|| Error::Training {
            step: done + 1,
            message: "the run was not told where it stands: this is a defect".to_owned(),
        })?;
        feed.next(done)
    }

    fn is_evaluated(&self, done: u64) -> bool {
        let ends = done == 0 || done == self.common.total_steps;
        !self.held_out.is_empty() && (ends || self.options.config.is_evaluated(done))
    }

    async fn evaluate(&mut self, trainer: &mut L, row: &mut Row, _: Progress<'_>) -> Result<bool> {
        if !self.is_evaluated(row.step) {
            return Ok(false);
        }
        let evaluation = trainer.evaluate(&self.held_out).await?;
        row.eval_loss = Some(evaluation.loss);
        row.eval_accuracy = Some(evaluation.accuracy);
        Ok(true)
    }

    fn picture(&self, rows: &[Row], device: &str) -> LossCurve {
        let options = self.options;
        let model = &options.config.model;
        let mut subtitle = format!(
            "{} layers, width {}, vocabulary {}, {} tokens",
            model.num_hidden_layers, model.hidden_size, model.vocab_size, options.config.seq_len
        );
        for more in options.data.iter().map(String::as_str).chain([device]) {
            if !more.is_empty() {
                subtitle = format!("{subtitle} · {more}");
            }
        }
        let entropy = self.common.unigram_entropy;
        let entropy = entropy.map(|loss| Reference { label: "unigram entropy".to_owned(), loss });
        let points = |value: fn(&Row) -> Option<f64>| points(rows, |row| row.step, value);
        LossCurve {
            title: self.common.name(),
            subtitle,
            y_label: None,
            train: points(|row| (row.step > 0).then_some(row.loss)),
            held_out: points(|row| row.eval_loss),
            references: entropy.into_iter().chain(options.references.iter().cloned()).collect(),
            learning_rate: points(|row| (row.step > 0).then_some(row.lr)),
            batch_sequences: points(|row| (row.step > 0).then_some(row.batch_sequences as f64)),
        }
    }

    async fn finish(&mut self, mut trainer: L, end: End, progress: Progress<'_>) -> Result<Summary> {
        let options = self.options;
        let End { at, interrupted, device, device_losses, log } = end;
        // An interrupted run was last measured with other weights than those it leaves.
        let held_out = log.held_out().filter(|(step, ..)| *step == at.step);
        let summary = Summary {
            out: options.out.clone(),
            interrupted,
            steps: at.step,
            total_steps: self.common.total_steps,
            sequences: at.sequence,
            tokens: at.tokens,
            loss: log.loss(),
            eval_loss: held_out.map(|(_, loss, _)| loss),
            eval_accuracy: held_out.map(|(_, _, accuracy)| accuracy),
            unigram_entropy: self.common.unigram_entropy,
            skipped_steps: at.skipped,
            device_losses,
            parameters: self.common.parameters,
            device,
            seconds: at.seconds,
            tokens_per_second: if at.seconds > 0.0 { at.tokens as f64 / at.seconds } else { 0.0 },
        };
        let card = card::card(options, &self.common, &summary).render(&options.config.model);
        let tensors = trainer.model_tensors();
        let model = Tensors::read(&mut trainer, tensors).await?;
        patiently(self.common.reopen_wait, progress, || {
            ModelFolder::save(
                &*options.store,
                &options.out,
                &options.config.model,
                options.dataset.tokenizer(),
                model.source(),
                &card,
            )
        })?;
        Ok(summary)
    }
}

fn open_folder(options: &RunOptions) -> Result<RunFolder> {
    let folder = take_folder(&options.store, &options.out, options.resume, options.force)?;
    Ok(folder.keep(options.config.checkpoint.keep))
}

/// The recipe as it is stored: what was computed with must not depend on where the run goes on.
fn settled(config: &TrainConfig) -> TrainConfig {
    TrainConfig { precision: config.precision.settled(), ..config.clone() }
}

fn fingerprint(options: &RunOptions) -> Map<String, Value> {
    // A struct of numbers, booleans and unit variants always serialises.
    let mut recipe = serde_json::to_value(settled(&options.config)).unwrap_or_default();
    if let Some(keys) = recipe.as_object_mut() {
        keys.retain(|key, _| !FREE.contains(&key.as_str()));
    }
    let data = json!({
        "fingerprint": format!("{:016x}", options.dataset.fingerprint()),
        "sequences": options.dataset.len(Split::Train),
    });
    Map::from_iter([("data".to_owned(), data), ("recipe".to_owned(), recipe)])
}
