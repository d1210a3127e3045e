//! How fast a device trains.

use web_time::Instant;

use super::statistics::median;
use super::trainer::Trainer;
use super::workload::Workload;
use crate::gpu::{Gpu, Timing};
use crate::ops::measure::settle_speed;
use crate::{Error, Result};

/// Small, so that the weights of a measurement stay where gradients are finite.
const LEARNING_RATE: f64 = 1e-4;

/// What a measurement of training steps gave. Times are in seconds.
#[derive(Debug, Clone)]
pub struct StepSpeed {
    /// The first step, with making the model, recording and compiling.
    pub first_step: f64,
    /// Each step after it.
    pub steps: Vec<f64>,
    /// The least time until one of them was handed to the driver.
    pub submit: f64,
    /// The most bytes that buffers and textures took at once.
    pub peak_bytes: u64,
    /// Each dispatch of one more step, where that was asked for.
    pub profile: Vec<Timing>,
}

impl StepSpeed {
    /// The median of the steps' times.
    pub fn median(&self) -> f64 {
        median(&self.steps).unwrap_or(f64::NAN)
    }
}

/// Trains steps of `workload` for about `budget` seconds, one at least, after the first one. `progress` is told the
/// seconds of each step. With `profile`, one more step is timed dispatch by dispatch.
///
/// # Errors
/// As [`Trainer::pretraining`] and [`Gpu::start_profile`]; [`Error::Training`] when a step had no finite loss, as one of broken kernels has.
pub async fn steps(
    gpu: &Gpu,
    workload: &Workload,
    budget: f64,
    profile: bool,
    mut progress: impl FnMut(f64),
) -> Result<StepSpeed> {
    settle_speed(gpu).await?;
    let began = Instant::now();
    let batches = [workload.batch()];
    let mut trainer = Trainer::pretraining(gpu, workload.model.clone(), workload.options())?;
    let (steps, profiled) = (Vec::new(), Vec::new());
    let mut speed =
        StepSpeed { first_step: 0.0, steps, submit: f64::INFINITY, peak_bytes: 0, profile: profiled };
    let mut index = 0;
    while index < 2 || speed.steps.iter().sum::<f64>() < budget {
        index += 1;
        let clock = Instant::now();
        let submitted = trainer.submit(&batches, LEARNING_RATE)?;
        let submit = clock.elapsed().as_secs_f64();
        let report = trainer.report(submitted).await?;
        if report.skipped || !report.loss.is_finite() {
            let message = format!("a loss of {} and a gradient of {}", report.loss, report.gradient_norm);
            return Err(Error::Training { step: index, message });
        }
        if index == 1 {
            speed.first_step = began.elapsed().as_secs_f64();
            progress(speed.first_step);
        } else {
            speed.submit = speed.submit.min(submit);
            speed.steps.push(clock.elapsed().as_secs_f64());
            progress(clock.elapsed().as_secs_f64());
        }
    }
    speed.peak_bytes = gpu.peak_allocated();
    if profile {
        gpu.start_profile()?;
        let submitted = trainer.submit(&batches, LEARNING_RATE)?;
        trainer.report(submitted).await?;
        speed.profile = gpu.take_profile().await?;
    }
    Ok(speed)
}
