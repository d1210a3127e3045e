//! One attempt at a run: from its device's opening to the run's end, or to the device's loss.

use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use web_time::Instant;

use super::changes::{check_changes, part, tell_other_forms};
use super::divergence::Divergence;
use super::job::{Begun, End, Fed, Job, Progress};
use super::log::{Log, PICTURE};
use super::pace::Pace;
use super::position::Position;
use super::save::{job_state, restore, save_checkpoint};
use super::{Event, Tally};
use crate::files::LoadedCheckpoint;
use crate::infer::save_reference;
use crate::store::checksums;
use crate::train::engine::StepEngine;
use crate::train::metrics::{CSV, JSONL, Row};
use crate::{Error, Result};

/// Why training pauses.
#[derive(PartialEq, Eq)]
enum Pause {
    /// Somebody asked for it.
    Stopped,
    /// There is no further step.
    Finished,
    /// The next step is the first of another trainer.
    Begins,
}

/// What helps against a loss that explodes.
const ADVICE: &str = "lower the learning rate, or let it rise over more steps";

struct Attempt<'a, J: Job> {
    job: &'a mut J,
    trainer: J::Trainer,
    /// The steps that were done when the trainer was made.
    made_at: u64,
    log: Log,
    divergence: Divergence,
    /// Whether somebody was told that the loss has exploded.
    told: bool,
    at: Position,
    /// The step of the newest checkpoint of this attempt or the one it began from.
    saved: Option<u64>,
    last_saved: Instant,
    /// A checkpoint is due, and waits for a step that is not skipped.
    due: bool,
    /// No step has been done yet from the newest checkpoint, which may hold weights that have blown up.
    unproven: bool,
    began: Instant,
    pace: Pace,
    /// Seconds of earlier attempts.
    earlier: f64,
}

/// Opens a trainer, brings it to where the run stands, and trains to the end.
pub(super) async fn live<J: Job>(
    job: &mut J,
    tally: &mut Tally,
    progress: Progress<'_>,
    stop: &AtomicBool,
) -> Result<J::Summary> {
    let goes_on = job.common().resume || tally.losses > 0;
    let checkpoint = if goes_on { job.common().folder.latest()? } else { None };
    match &checkpoint {
        Some(checkpoint) => {
            checkpoint.notes.iter().for_each(|note| progress(Event::Warning(note.clone())));
            check_changes(job, checkpoint, progress)?;
        }
        None if goes_on => {
            progress(Event::Warning("there is no checkpoint yet: the run starts over".to_owned()));
        }
        None => {}
    }
    let trainer = job.open(checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step)).await?;
    tell_other_forms(job.common(), &trainer, progress);
    if let Err(error) = job.write_recipe() {
        progress(Event::Warning(error.to_string()));
    }
    let common = job.common();
    // A model that an earlier part of this run has left stays listed; what is about to change does not.
    if let Err(error) = checksums::forget_for_people(&*common.store, &common.out) {
        progress(Event::Warning(format!("the list of checksums was not changed: {error}")));
    }
    let mut attempt = Attempt::new(job, trainer, checkpoint.as_ref(), progress)?;
    // Some systems remove no file that is mapped, and this checkpoint will be pruned one day.
    drop(checkpoint);
    let device = attempt.trainer.device();
    let common = attempt.job.common();
    progress(Event::Ready {
        step: attempt.at.step,
        total_steps: common.total_steps,
        device: &device,
        parameters: common.parameters,
        unigram_entropy: common.unigram_entropy,
    });
    let interrupted = loop {
        match attempt.train(tally, progress, stop).await? {
            Pause::Begins => attempt = attempt.begin().await?,
            pause => break pause == Pause::Stopped,
        }
    };
    attempt.save_last(progress).await?;
    if !interrupted && !attempt.job.keeps_best() {
        attempt.end_well()?;
    }
    let Attempt { job, trainer, log, at, .. } = attempt;
    let gpu = trainer.gpu().cloned();
    // This frees the trainer's memory, which the reference vectors need.
    let end = End { at, interrupted, device, device_losses: tally.losses, log };
    let summary = job.finish(trainer, end, progress).await?;
    // A person who stops a run does not want to wait for vectors that its end will compute anyway.
    if let Some(gpu) = gpu.filter(|_| !interrupted) {
        let common = job.common();
        // A model works without reference vectors.
        if let Err(error) = save_reference(&gpu, &*common.store, &common.out).await {
            progress(Event::Warning(format!("the reference vectors were not saved: {error}")));
        }
    }
    let common = job.common();
    if let Err(error) = checksums::enlist(&*common.store, &common.out, &FOR_PEOPLE) {
        progress(Event::Warning(format!("the checksums of pictures and metrics were not saved: {error}")));
    }
    // The model is whole all the same.
    if let Some(error) = (!interrupted).then(|| job.clean().err()).flatten() {
        progress(Event::Warning(format!("what only an unfinished run needs is left: {error}")));
    }
    Ok(summary)
}

/// What a run leaves beside its model, for people alone.
const FOR_PEOPLE: [&str; 3] = [PICTURE, CSV, JSONL];

impl<'a, J: Job> Attempt<'a, J> {
    fn new(
        job: &'a mut J,
        mut trainer: J::Trainer,
        checkpoint: Option<&LoadedCheckpoint>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let (store, out, columns) = (&*job.common().store, &job.common().out, job.common().columns);
        let (log, at) = match checkpoint {
            None => (Log::create(store, out, columns)?, Position::default()),
            Some(checkpoint) => {
                let at = Position::of(checkpoint)?;
                // Before its first step a trainer holds what it was made with, and nothing is to be restored.
                if at.step > 0 && !job.begins(at.step) {
                    restore(&mut trainer, checkpoint)?;
                }
                let (log, unreadable) = Log::resume(store, out, columns, at.step)?;
                if unreadable > 0 {
                    let note = format!("{unreadable} unreadable lines of the metrics were removed");
                    progress(Event::Warning(note));
                }
                (log, at)
            }
        };
        job.seek(&at, &checkpoint.map_or(Value::Null, job_state))?;
        let saved = checkpoint.map(|checkpoint| checkpoint.step);
        let mut divergence = Divergence::default();
        // Losses on other data or under another masking say nothing of the level that is to come.
        let is_level = |key: &&str| {
            checkpoint
                .is_none_or(|old| part(&old.state.fingerprint, key) == part(&job.common().fingerprint, key))
        };
        if !job.keeps_best() && ["data", "recipe.masking"].iter().all(is_level) {
            log.rows().iter().filter(|row| row.step > 0).for_each(|row| divergence.note(row.loss));
        }
        let (made_at, began, earlier) = (at.step, Instant::now(), at.seconds);
        let told = false;
        Ok(Self {
            job,
            trainer,
            made_at,
            log,
            divergence,
            told,
            at,
            saved,
            last_saved: began,
            due: false,
            unproven: false,
            began,
            pace: Pace::from(began),
            earlier,
        })
    }

    /// Gives the trainer up, and begins another.
    async fn begin(self) -> Result<Self> {
        let Attempt { job, trainer, at, .. } = self;
        // The memory of the device may not hold two trainers at once.
        drop(trainer);
        let trainer = job.begin(at.step).await?;
        // A new trainer begins with a loss of its own.
        Ok(Attempt { job, trainer, made_at: at.step, divergence: Divergence::default(), told: false, ..self })
    }

    /// Trains until it has to pause.
    async fn train(&mut self, tally: &mut Tally, progress: Progress<'_>, stop: &AtomicBool) -> Result<Pause> {
        if self.at.step == 0 && self.log.rows().is_empty() {
            let mut row = Row { loss: f64::NAN, grad_norm: f64::NAN, ..Row::default() };
            if self.job.evaluate(&mut self.trainer, &mut row, progress).await? {
                self.note(row, progress);
                self.draw(progress);
            }
        }
        // The device is to find the next step when it is done with one, and not to wait until the CPU has read a report
        // and prepared it.
        let mut ahead: Option<Begun<<J::Trainer as StepEngine>::Step>> = None;
        loop {
            let begun = self.at.step + u64::from(ahead.is_some());
            let pause = if begun >= self.job.common().total_steps {
                Some(Pause::Finished)
            } else if stop.load(Ordering::Relaxed) && self.trainer.is_whole() {
                Some(Pause::Stopped)
            } else if self.made_at != begun && self.job.begins(begun) {
                Some(Pause::Begins)
            } else {
                None
            };
            let quick = self.pace.quick && !self.trainer.begins_by_waiting();
            let waits = ahead.is_some() && (!quick || self.looks_after(begun));
            let following = match pause {
                None if !waits => Some(self.begin_step(begun)),
                _ => None,
            };
            match (ahead.take(), pause) {
                (Some(step), _) => {
                    // An error of the next step is none of this one's.
                    self.finish_step(step, tally, progress).await?;
                    if following.is_none() {
                        self.save_if_due(progress).await?;
                    }
                    self.pace.free(Instant::now());
                }
                (None, Some(pause)) => return Ok(pause),
                (None, None) => {}
            }
            ahead = following.transpose()?;
        }
    }

    /// Whether the weights must be looked at when so many steps are done, before another changes them.
    fn looks_after(&self, done: u64) -> bool {
        self.due || self.is_due(done) || self.job.is_evaluated(done)
    }

    /// Saves a checkpoint if one is due.
    async fn save_if_due(&mut self, progress: Progress<'_>) -> Result<()> {
        // While steps are being skipped the weights may be beyond help, and must not take the place of good ones.
        if self.due && self.at.skipped_in_a_row == 0 && self.trainer.is_whole() {
            self.save(progress).await?;
            self.last_saved = Instant::now();
        }
        Ok(())
    }

    /// Feeds the step after `done` steps to the trainer.
    fn begin_step(&mut self, done: u64) -> Result<Begun<<J::Trainer as StepEngine>::Step>> {
        let Fed { micro_batches, learning_rate, sequences, tokens, row } = self.job.next(done)?;
        let at = Instant::now();
        let step = self.trainer.begin_step(&micro_batches, learning_rate)?;
        Ok(Begun { step, at, sequences, tokens, learning_rate, row })
    }

    /// Waits for a step, and does what follows from it. One that is evaluated or saved has none begun after it.
    async fn finish_step(
        &mut self,
        fed: Begun<<J::Trainer as StepEngine>::Step>,
        tally: &mut Tally,
        progress: Progress<'_>,
    ) -> Result<()> {
        let report = self.trainer.finish_step(fed.step).await?;
        let tokens_per_second = self.pace.reported(fed.at, Instant::now(), fed.tokens);

        // A loss that is not finite has no usable gradient either.
        let skipped = report.skipped || !report.loss.is_finite();
        self.at = Position {
            step: self.at.step + 1,
            sequence: self.at.sequence + fed.sequences,
            tokens: self.at.tokens + fed.tokens,
            skipped: self.at.skipped + u64::from(skipped),
            skipped_in_a_row: if skipped { self.at.skipped_in_a_row + 1 } else { 0 },
            seconds: self.earlier + self.began.elapsed().as_secs_f64(),
        };
        if self.at.step > tally.furthest {
            tally.furthest = self.at.step;
            tally.losses_without_progress = 0;
        }

        let mut row = Row {
            step: self.at.step,
            sequences: self.at.sequence,
            tokens: self.at.tokens,
            loss: report.loss,
            accuracy: Some(report.accuracy),
            lr: fed.learning_rate,
            batch_sequences: fed.sequences,
            grad_norm: report.gradient_norm,
            skipped_steps: self.at.skipped,
            tokens_per_second,
            seconds: self.at.seconds,
            ..fed.row
        };
        if !skipped {
            self.divergence.note(report.loss);
        }
        #[cfg(not(target_arch = "wasm32"))]
        if self.at.step == self.job.common().total_steps {
            self.trainer.synchronize().await?;
        }
        let stuck = self.at.skipped_in_a_row >= self.job.common().max_skipped;
        let measured = !stuck && self.job.evaluate(&mut self.trainer, &mut row, progress).await?;
        self.note(row, progress);
        if measured {
            self.draw(progress);
        }
        let exploded = self.divergence.exploded();
        if let Some((best, now)) = exploded.filter(|_| !self.told) {
            let pause = if self.job.keeps_best() { "" } else { "no checkpoint is saved until it is back; " };
            progress(Event::Warning(format!(
                "step {}: the loss has exploded: {now:.4} over the last steps, where it was {best:.4} at best; \
                 {pause}{ADVICE}",
                self.at.step
            )));
        }
        self.told = exploded.is_some();
        if stuck {
            return Err(self.stuck());
        }
        if self.at.skipped_in_a_row == 0 {
            self.prune(progress);
        }
        self.due |= self.is_due(self.at.step);
        Ok(())
    }

    /// Whether the loss is where it may be at the end of a run.
    fn end_well(&self) -> Result<()> {
        let Some((best, now)) = self.divergence.exploded() else { return Ok(()) };
        let hint = format!("{}, and no model was saved; {ADVICE}", self.kept());
        Err(Error::Diverged { step: self.at.step, best, now, hint })
    }

    fn kept(&self) -> String {
        match self.saved {
            // If it was saved after the step that went wrong it leads nowhere else again.
            Some(step) if self.unproven => format!(
                "the checkpoint of step {step} is kept; if the run fails from there again, remove it to go on from an \
                 earlier one"
            ),
            Some(step) => format!("the checkpoint of step {step} is kept"),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    fn stuck(&self) -> Error {
        let message = format!(
            "the gradient was not finite {} times in a row; {}; {}",
            self.at.skipped_in_a_row,
            self.kept(),
            self.job.common().advice
        );
        Error::Training { step: self.at.step, message }
    }

    fn note(&mut self, row: Row, progress: Progress<'_>) {
        if let Some(error) = self.log.append(row) {
            progress(Event::Warning(format!("the metrics were not saved: {error}")));
        }
        progress(Event::Step(&row));
    }

    /// Whether a checkpoint is due when so many steps are done.
    fn is_due(&self, done: u64) -> bool {
        let checkpoint = &self.job.common().checkpoint;
        let by_steps = checkpoint.every > 0 && done.is_multiple_of(checkpoint.every);
        let since = self.last_saved.elapsed().as_secs_f64();
        let by_time = checkpoint.minutes > 0.0 && since >= 60.0 * checkpoint.minutes;
        by_steps || by_time || self.job.must_save(done)
    }

    /// Saves the checkpoint that a run ends with.
    async fn save_last(&mut self, progress: Progress<'_>) -> Result<()> {
        if self.at.skipped_in_a_row > 0 {
            let step = self.at.step;
            progress(Event::Warning(format!(
                "the checkpoint of step {step} was not saved: the step was skipped, because its gradient was not finite"
            )));
            self.draw(progress);
            return Ok(());
        }
        self.save(progress).await?;
        self.prune(progress);
        Ok(())
    }

    /// Removes old checkpoints when the newest has turned out to be good.
    fn prune(&mut self, progress: Progress<'_>) {
        if let Some(step) = self.saved.filter(|_| std::mem::take(&mut self.unproven)) {
            let notes = self.job.common().folder.prune(step);
            notes.into_iter().for_each(|note| progress(Event::Warning(note)));
        }
    }

    /// Saves a checkpoint unless this step has one. A disk that refuses is no reason to stop.
    async fn save(&mut self, progress: Progress<'_>) -> Result<()> {
        // The good ones that are there must not make room for one of a model that has come apart.
        let exploded = !self.job.keeps_best() && self.divergence.exploded().is_some();
        if self.saved == Some(self.at.step) || exploded {
            return Ok(());
        }
        self.due = false;
        let saved = match self.job.settle() {
            Ok(()) => save_checkpoint(self.job, &mut self.trainer, &self.at).await?,
            Err(error) => Err(error),
        };
        match saved {
            Ok(path) => {
                (self.saved, self.unproven) = (Some(self.at.step), true);
                progress(Event::Checkpoint { step: self.at.step, path: &path });
                self.job.saved();
            }
            Err(error) => {
                let step = self.at.step;
                progress(Event::Warning(format!("the checkpoint of step {step} was not saved: {error}")));
            }
        }
        self.draw(progress);
        Ok(())
    }

    fn draw(&self, progress: Progress<'_>) {
        let common = self.job.common();
        let picture = self.job.picture(self.log.rows(), &self.trainer.device());
        if let Err(error) = super::log::draw(&*common.store, &common.out, &picture) {
            progress(Event::Warning(format!("the picture was not saved: {error}")));
        }
    }
}
