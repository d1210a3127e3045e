//! Pretraining as `pretrain` and `quickstart` run it.

use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::train::pretrain::RECIPE;
use wgrad::train::{MaskedTokens, RunOptions, Summary, TrainConfig, Trainer, pretrain};

use super::watch::Watch;
use super::{device, interrupt, precision, tuned};

/// Runs the training that `options` describes on a [settled](settle) device, shown on standard error; Ctrl-C ends it after the
/// steps under way.
pub fn train(options: &RunOptions, gpu: &GpuOptions) -> anyhow::Result<Summary> {
    let stop = interrupt::watch()?;
    let mut watch = Watch::new();
    let open = async |config: &TrainConfig| open_trainer(gpu, config).await;
    let summary = pollster::block_on(pretrain(options, open, &mut |event| watch.show(event), &stop));
    watch.end();
    Ok(summary?)
}

/// Settles what the adapter decides: f16 where it has it and it pays, and the forms of kernels that are fastest there, or
/// that the run has begun with.
pub fn settle(options: &mut RunOptions, gpu: GpuOptions) -> anyhow::Result<GpuOptions> {
    let adapter = pollster::block_on(Gpu::chosen(&gpu))?;
    let config = &mut options.config;
    config.precision = precision::decide(config.precision, &adapter);
    let begun = options.resume.then(|| options.out.join(RECIPE));
    let gpu = tuned::decide(&config.kernels, begun.as_deref(), config.precision.storage(), gpu)?;
    config.kernels.clone_from(&gpu.choices);
    Ok(gpu)
}

/// Opens the GPU and builds the trainer there.
async fn open_trainer(gpu: &GpuOptions, config: &TrainConfig) -> wgrad::Result<Trainer<MaskedTokens>> {
    let gpu = device::open(gpu).await?;
    Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
}
