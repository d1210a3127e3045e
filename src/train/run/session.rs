//! The life of one learner: from its device's opening to the run's end, or to the device's loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use web_time::Instant;

use super::batches::Fed;
use super::card::card;
use super::feed::Feed;
use super::job::Job;
use super::log::Log;
use super::save::{Position, restore, save_checkpoint, save_model};
use super::{Event, Summary, Tally};
use crate::checkpoint::{LoadedCheckpoint, check_resume};
use crate::infer::save_reference;
use crate::train::config::TrainConfig;
use crate::train::learner::Learner;
use crate::train::metrics::Row;
use crate::viz::loss_curve::Reference;
use crate::{Error, Result};

/// Where the events go.
type Progress<'p> = &'p mut dyn FnMut(Event<'_>);

struct Session<'a, L> {
    job: &'a Job<'a>,
    learner: L,
    log: Log,
    at: Position,
    /// The step of the newest checkpoint of this session or the one it began from.
    saved: Option<u64>,
    began: Instant,
    /// Seconds of earlier sessions.
    earlier: f64,
}

/// Opens a learner, brings it to where the run stands, and trains to the end.
pub(super) async fn live<L: Learner>(
    job: &Job<'_>,
    open: &mut impl AsyncFnMut(&TrainConfig) -> Result<L>,
    tally: &mut Tally,
    progress: Progress<'_>,
    stop: &AtomicBool,
) -> Result<Summary> {
    let checkpoint = match job.options.resume || tally.losses > 0 {
        true => job.folder.latest()?,
        false => None,
    };
    match &checkpoint {
        Some(checkpoint) => {
            checkpoint.notes.iter().for_each(|note| progress(Event::Warning(note.clone())));
            check_changes(job, checkpoint, progress)?;
        }
        None if job.options.resume || tally.losses > 0 => {
            progress(Event::Warning("there is no checkpoint yet: the run starts over".to_owned()));
        }
        None => {}
    }
    let learner = open(&job.options.config).await?;
    if let Err(error) = job.write_recipe() {
        progress(Event::Warning(error.to_string()));
    }
    let mut session = Session::new(job, learner, checkpoint.as_ref(), progress)?;
    let device = session.learner.device();
    progress(Event::Ready {
        step: session.at.step,
        total_steps: job.plan.total_steps(),
        device: &device,
        parameters: job.options.config.model.parameter_count(),
        unigram_entropy: job.unigram_entropy,
    });
    let interrupted = session.train(tally, progress, stop).await?;
    session.end(interrupted, device, tally, progress).await
}

/// Refuses a checkpoint of another recipe or other data, or says what changed if that is allowed.
fn check_changes(job: &Job, checkpoint: &LoadedCheckpoint, progress: Progress<'_>) -> Result<()> {
    match check_resume(&checkpoint.state.fingerprint, &job.fingerprint) {
        Err(Error::Config { found, .. }) if job.options.allow_changes => {
            progress(Event::Warning(format!("the run goes on with changes: {found}")));
            Ok(())
        }
        other => other,
    }
}

impl<'a, L: Learner> Session<'a, L> {
    fn new(
        job: &'a Job<'a>,
        mut learner: L,
        checkpoint: Option<&LoadedCheckpoint>,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let (fs, out) = (&*job.options.file_system, &job.options.out);
        let (log, at) = match checkpoint {
            None => (Log::create(fs, out)?, Position::default()),
            Some(checkpoint) => {
                let at = restore(&mut learner, checkpoint)?;
                let (log, unreadable) = Log::resume(fs, out, at.step)?;
                if unreadable > 0 {
                    let note = format!("{unreadable} unreadable lines of the metrics were removed");
                    progress(Event::Warning(note));
                }
                (log, at)
            }
        };
        let saved = checkpoint.map(|checkpoint| checkpoint.step);
        Ok(Self { job, learner, log, at, saved, began: Instant::now(), earlier: at.seconds })
    }

    /// Trains to the last step, or until `stop`; says whether it was stopped.
    async fn train(&mut self, tally: &mut Tally, progress: Progress<'_>, stop: &AtomicBool) -> Result<bool> {
        let job = self.job;
        if self.at.step == 0 && self.log.rows().is_empty() {
            let mut row = Row { loss: f64::NAN, grad_norm: f64::NAN, ..Row::default() };
            if self.measure(&mut row).await? {
                self.note(row, progress);
                self.draw(progress);
            }
        }
        let micro = job.options.config.micro_batch_sequences();
        let mut feed =
            Feed::start(job.batcher.clone(), job.plan.clone(), self.at.step, self.at.sequence, micro)?;
        let mut last_saved = Instant::now();
        while self.at.step < job.plan.total_steps() {
            if stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let fed = feed.next(self.at.step)?;
            self.step(fed, tally, progress).await?;
            if self.is_due(last_saved.elapsed()) {
                self.save(progress).await?;
                last_saved = Instant::now();
            }
        }
        Ok(false)
    }

    /// One optimizer step and what follows from it.
    async fn step(&mut self, fed: Fed, tally: &mut Tally, progress: Progress<'_>) -> Result<()> {
        let config = &self.job.options.config;
        let clock = Instant::now();
        let report = self.learner.step(&fed.micro_batches, fed.step.learning_rate).await?;
        let seconds = clock.elapsed().as_secs_f64();

        let tokens: u64 = fed.micro_batches.iter().map(|batch| batch.tokens as u64).sum();
        // A loss that is not finite has no usable gradient either.
        let skipped = report.skipped || !report.loss.is_finite();
        self.at = Position {
            step: fed.step.index + 1,
            sequence: fed.sequence + fed.step.sequences,
            tokens: self.at.tokens + tokens,
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
            lr: fed.step.learning_rate,
            batch_sequences: fed.step.sequences,
            grad_norm: report.gradient_norm,
            skipped_steps: self.at.skipped,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
            seconds: self.at.seconds,
            ..Row::default()
        };
        let stuck = self.at.skipped_in_a_row >= config.max_skipped;
        let last = self.at.step == self.job.plan.total_steps();
        let every = config.evaluate.every;
        let due = last || (every > 0 && self.at.step.is_multiple_of(every));
        let measured = !stuck && due && self.measure(&mut row).await?;
        self.note(row, progress);
        if measured {
            self.draw(progress);
        }
        if stuck { Err(self.stuck()) } else { Ok(()) }
    }

    fn stuck(&self) -> Error {
        let kept = match self.saved {
            Some(step) => format!("the checkpoint of step {step} is kept"),
            None => "there is no checkpoint yet".to_owned(),
        };
        let message = format!(
            "the gradient was not finite {} times in a row; {kept}; lower `learning_rate`, or raise `max_skipped`",
            self.at.skipped_in_a_row
        );
        Error::Training { step: self.at.step, message }
    }

    /// Looks at the held-out sequences; says whether there are any.
    async fn measure(&mut self, row: &mut Row) -> Result<bool> {
        if self.job.held_out.is_empty() {
            return Ok(false);
        }
        let evaluation = self.learner.evaluate(&self.job.held_out).await?;
        row.held_out_loss = Some(evaluation.loss);
        row.held_out_accuracy = Some(evaluation.accuracy);
        Ok(true)
    }

    fn note(&mut self, row: Row, progress: Progress<'_>) {
        if let Some(error) = self.log.append(row) {
            progress(Event::Warning(format!("the metrics were not saved: {error}")));
        }
        progress(Event::Step(&row));
    }

    fn is_due(&self, since: Duration) -> bool {
        let checkpoint = &self.job.options.config.checkpoint;
        let by_steps = checkpoint.every > 0 && self.at.step.is_multiple_of(checkpoint.every);
        by_steps || (checkpoint.minutes > 0.0 && since.as_secs_f64() >= 60.0 * checkpoint.minutes)
    }

    /// Saves a checkpoint unless this step has one. A disk that refuses is no reason to stop.
    async fn save(&mut self, progress: Progress<'_>) -> Result<()> {
        if self.saved == Some(self.at.step) {
            return Ok(());
        }
        match save_checkpoint(self.job, &mut self.learner, &self.at).await? {
            Ok(saved) => {
                self.saved = Some(self.at.step);
                saved.notes.into_iter().for_each(|note| progress(Event::Warning(note)));
                progress(Event::Checkpoint { step: self.at.step, path: &saved.path });
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
        let options = self.job.options;
        let model = &options.config.model;
        let mut subtitle = format!(
            "{} layers, width {}, vocabulary {}, {} tokens",
            model.num_hidden_layers, model.hidden_size, model.vocab_size, options.config.seq_len
        );
        for more in options.data.iter().cloned().chain([self.learner.device()]) {
            if !more.is_empty() {
                subtitle = format!("{subtitle} · {more}");
            }
        }
        let (fs, title) = (&*options.file_system, self.job.name());
        let entropy = self.job.unigram_entropy;
        let entropy = entropy.map(|loss| Reference { label: "unigram entropy".to_owned(), loss });
        let references = entropy.into_iter().chain(options.references.iter().cloned()).collect();
        let drawn = self.log.draw(fs, &options.out, &title, &subtitle, references);
        if let Err(error) = drawn {
            progress(Event::Warning(format!("the picture was not saved: {error}")));
        }
    }

    /// The last checkpoint, the model folder, the summary.
    async fn end(
        mut self,
        interrupted: bool,
        device: String,
        tally: &Tally,
        progress: Progress<'_>,
    ) -> Result<Summary> {
        self.save(progress).await?;
        // An interrupted run was last measured with other weights than those it leaves.
        let (at, held_out) = (self.at, self.log.held_out());
        let held_out = held_out.filter(|(step, ..)| *step == at.step);
        let summary = Summary {
            out: self.job.options.out.clone(),
            interrupted,
            steps: at.step,
            total_steps: self.job.plan.total_steps(),
            sequences: at.sequence,
            tokens: at.tokens,
            loss: self.log.loss(),
            held_out_loss: held_out.map(|(_, loss, _)| loss),
            held_out_accuracy: held_out.map(|(_, _, accuracy)| accuracy),
            unigram_entropy: self.job.unigram_entropy,
            skipped_steps: at.skipped,
            device_losses: tally.losses,
            parameters: self.job.options.config.model.parameter_count(),
            device,
            seconds: at.seconds,
            tokens_per_second: if at.seconds > 0.0 { at.tokens as f64 / at.seconds } else { 0.0 },
        };
        let card = card(self.job, &summary).render(&self.job.options.config.model);
        save_model(self.job, &mut self.learner, &card).await?;
        // Who stops a run does not want to wait for what the end of it will compute.
        if let Some(gpu) = self.learner.gpu().cloned().filter(|_| !interrupted) {
            // Its memory is needed.
            drop(self.learner);
            let options = self.job.options;
            if let Err(error) = save_reference(&gpu, &*options.file_system, &options.out).await {
                progress(Event::Warning(format!("the reference vectors were not saved: {error}")));
            }
        }
        Ok(summary)
    }
}
