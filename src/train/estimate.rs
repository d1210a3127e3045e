//! What a run will take, before it begins.

use serde::Serialize;
use web_time::Instant;

use super::config::TrainConfig;
use super::engine::StepEngine;
use super::objective::MaskedTokens;
use super::options::Memory;
use super::trainer::Trainer;
use super::workload::Workload;
use crate::data::Batch;
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
    let batches = [workload.batch()];
    // Drivers compile in the first step, and how a step is cut into submissions is settled after three. Where a step
    // takes longer than all that was to be measured, the second one has to do.
    let mut step = 0.0;
    for number in 1..=3 {
        let clock = Instant::now();
        let report = trainer.step(&batches, config.learning_rate).await?;
        if !report.loss.is_finite() {
            return Err(Error::Training { step: number, message: format!("a loss of {}", report.loss) });
        }
        step = clock.elapsed().as_secs_f64();
        if number > 1 && step > budget {
            break;
        }
    }
    if step <= budget {
        step = mean_seconds(&mut trainer, &batches, config.learning_rate, budget / 2.0).await?;
    }
    // A step without a micro-batch is the optimizer's part alone.
    let optimizer_seconds =
        mean_seconds(&mut trainer, &[], config.learning_rate, budget / 2.0).await?.min(0.9 * step);
    let micro_batch_seconds = step - optimizer_seconds;

    let micro_batch = config.micro_batch_sequences();
    let (steps, sequences) = (plan.total_steps(), plan.total_sequences());
    let micro_batches = sequences as f64 / micro_batch as f64;
    let seconds = micro_batches * micro_batch_seconds + steps as f64 * optimizer_seconds;
    let tokens = sequences as f64 * tokens;
    Ok(Estimate {
        device: gpu.capabilities().name.clone(),
        parameters: config.model.parameter_count(),
        micro_batch,
        memory,
        flops_per_token: config.flops_per_token(),
        steps,
        sequences,
        tokens: tokens as u64,
        micro_batch_seconds,
        optimizer_seconds,
        tokens_per_second: tokens / seconds,
        hours: seconds / 3600.0,
    })
}

/// What a step of `batches` takes, the mean over about `budget` seconds.
async fn mean_seconds(
    trainer: &mut Trainer<MaskedTokens>,
    batches: &[Batch],
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
