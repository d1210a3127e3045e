//! What a run will take, before it begins.

use serde::Serialize;
use web_time::Instant;

use super::config::TrainConfig;
use super::engine::StepEngine;
use super::options::Memory;
use super::trainer::Trainer;
use super::workload::Workload;
use crate::gpu::Gpu;
use crate::ops::measure::settle_speed;
use crate::{Error, Result};

/// What a run will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// What it was measured on.
    pub device: String,
    /// Trained values.
    pub parameters: u64,
    /// Sequences computed at once.
    pub micro_batch: u64,
    /// Bytes on the device.
    pub memory: Memory,
    /// Operations of matrix products for each token, forward and backward, with the head's share.
    pub flops_per_token: f64,
    /// Optimizer steps of the run.
    pub steps: u64,
    /// Sequences of the run.
    pub sequences: u64,
    /// Tokens of the run, padding left out.
    pub tokens: u64,
    /// Seconds for forward and backward of a micro-batch.
    pub micro_batch_seconds: f64,
    /// Seconds for the optimizer's part of a step.
    pub optimizer_seconds: f64,
    /// Tokens per second over the run, padding left out.
    pub tokens_per_second: f64,
    /// Hours of training, without measurements on held-out text and checkpoints.
    pub hours: f64,
}

impl TrainConfig {
    /// A full micro-batch of this recipe, to measure with.
    pub fn workload(&self) -> Workload {
        let options = self.trainer_options();
        let masked = match self.masked {
            Some(packed) => packed.mean.round() as usize,
            None => self.masking.masked(self.seq_len.saturating_sub(2)),
        };
        Workload {
            model: self.model.clone(),
            sequences: options.micro_batch,
            tokens: self.seq_len,
            targets: (options.micro_batch * masked).max(1),
            precision: self.precision,
            recompute: options.recompute,
        }
    }

    /// Operations of matrix products for each token, forward and backward, with the head for those that are guessed:
    /// see [`crate::models::Config::body_flops`] and [`crate::models::Config::head_flops`].
    pub fn flops_per_token(&self) -> f64 {
        let workload = self.workload();
        workload.flops() / workload.rows() as f64
    }
}

/// Builds the trainer of `config` and trains made-up batches for about `budget` seconds, two steps at least. `tokens` is
/// how many a sequence of the data has on average, padding left out.
///
/// # Errors
/// As [`TrainConfig::check`] and [`Trainer::pretraining`]; [`Error::Training`] when a step had no finite loss.
pub async fn estimate(gpu: &Gpu, config: &TrainConfig, tokens: f64, budget: f64) -> Result<Estimate> {
    config.check()?;
    settle_speed(gpu).await?;
    let plan = config.plan()?;
    let workload = config.workload();
    let mut trainer = Trainer::pretraining(gpu, config.model.clone(), config.trainer_options())?;
    let memory = trainer.memory();
    let (sequences, micro_batch) = (plan.total_sequences(), config.micro_batch_sequences());
    let run = Run {
        parameters: config.model.parameter_count(),
        micro_batch,
        at_once: 1.0,
        micro_batches: sequences as f64 / micro_batch as f64,
        flops_per_token: config.flops_per_token(),
        steps: plan.total_steps(),
        sequences,
        tokens: sequences as f64 * tokens,
        learning_rate: config.learning_rate,
    };
    run.measure(&mut trainer, memory, &[workload.batch()], budget).await
}

/// What is known of a run before a step is measured.
pub(super) struct Run {
    pub parameters: u64,
    pub micro_batch: u64,
    /// Micro-batches of the batch that is measured.
    pub at_once: f64,
    /// Those of the whole run.
    pub micro_batches: f64,
    pub flops_per_token: f64,
    pub steps: u64,
    pub sequences: u64,
    pub tokens: f64,
    pub learning_rate: f64,
}

impl Run {
    /// Steps of `batch` on `trainer`, which takes so much memory, for about `budget` seconds.
    pub(super) async fn measure<E: StepEngine>(
        self,
        trainer: &mut E,
        memory: Memory,
        batch: &[E::Batch],
        budget: f64,
    ) -> Result<Estimate> {
        // Drivers compile in the first step, and how a step is cut into submissions is settled after three. Where a step
        // takes longer than all that was to be measured, the second one has to do.
        let mut step = 0.0;
        for number in 1..=3 {
            let clock = Instant::now();
            let report = trainer.step(batch, self.learning_rate).await?;
            if !report.loss.is_finite() {
                return Err(Error::Training { step: number, message: format!("a loss of {}", report.loss) });
            }
            step = clock.elapsed().as_secs_f64();
            if number > 1 && step > budget {
                break;
            }
        }
        if step <= budget {
            step = mean_seconds(trainer, batch, self.learning_rate, budget / 2.0).await?;
        }
        // A step without a micro-batch is the optimizer's part alone.
        let optimizer_seconds =
            mean_seconds(trainer, &[], self.learning_rate, budget / 2.0).await?.min(0.9 * step);
        let micro_batch_seconds = (step - optimizer_seconds) / self.at_once;
        let seconds = self.micro_batches * micro_batch_seconds + self.steps as f64 * optimizer_seconds;
        Ok(Estimate {
            device: trainer.device(),
            parameters: self.parameters,
            micro_batch: self.micro_batch,
            memory,
            flops_per_token: self.flops_per_token,
            steps: self.steps,
            sequences: self.sequences,
            tokens: self.tokens as u64,
            micro_batch_seconds,
            optimizer_seconds,
            tokens_per_second: self.tokens / seconds,
            hours: seconds / 3600.0,
        })
    }
}

/// What a step of `batches` takes, the mean over about `budget` seconds.
async fn mean_seconds<E: StepEngine>(
    trainer: &mut E,
    batches: &[E::Batch],
    learning_rate: f64,
    budget: f64,
) -> Result<f64> {
    let (clock, mut count) = (Instant::now(), 0);
    while count == 0 || clock.elapsed().as_secs_f64() < budget {
        trainer.step(batches, learning_rate).await?;
        count += 1;
    }
    Ok(clock.elapsed().as_secs_f64() / f64::from(count))
}
