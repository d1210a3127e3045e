//! Pretraining as `pretrain` and `quickstart` run it.

use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::train::{MaskedTokens, RunOptions, Summary, TrainConfig, Trainer, pretrain};

use super::watch::Watch;
use super::{device, interrupt, precision};

/// Runs the training that `options` describes, shown on standard error; Ctrl-C ends it after the current step.
pub fn train(options: &RunOptions, gpu: &GpuOptions) -> anyhow::Result<Summary> {
    let mut options = options.clone();
    decide(&mut options.config, gpu)?;
    let stop = interrupt::watch()?;
    let mut watch = Watch::new();
    let open = async |config: &TrainConfig| open_trainer(gpu, config).await;
    let summary = pollster::block_on(pretrain(&options, open, &mut |event| watch.show(event), &stop));
    watch.end();
    Ok(summary?)
}

/// Settles what the adapter decides: f16 where it has it and it pays.
pub fn decide(config: &mut TrainConfig, gpu: &GpuOptions) -> anyhow::Result<()> {
    let adapter = pollster::block_on(Gpu::chosen(gpu))?;
    config.precision = precision::decide(config.precision, &adapter);
    Ok(())
}

/// Opens the GPU and builds the trainer there.
async fn open_trainer(gpu: &GpuOptions, config: &TrainConfig) -> wgrad::Result<Trainer<MaskedTokens>> {
    let gpu = device::open(gpu).await?;
    Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
}
