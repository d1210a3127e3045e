//! Pretraining as `pretrain` and `quickstart` run it.

use std::process::exit;

use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::train::pretrain::RECIPE;
use wgrad::train::ranks::{DataParallel, Learns, Team, TrainerPlan};
use wgrad::train::{MaskedTokens, RunOptions, Summary, TrainConfig, pretrain};

use super::watch::Watch;
use super::{device, interrupt, precision, print, tuned};

/// Runs the training that `options` describes on a [settled](settle) device and those of the other ranks, shown on standard
/// error; Ctrl-C ends it after the steps under way.
pub fn train(options: &RunOptions, gpu: &GpuOptions, team: &Team) -> anyhow::Result<Summary> {
    let stop = interrupt::watch()?;
    let mut watch = Watch::new();
    let open = async |config: &TrainConfig| open_trainer(gpu, config, team).await;
    let summary = pollster::block_on(pretrain(options, open, &mut |event| watch.show(event), &stop));
    watch.end();
    Ok(summary?)
}

/// Ends the ranks of a training, and the program where it failed or was stopped. The others may not end, which then ends this
/// process as well, so what is to be told is told before.
pub fn end(team: &Team, interrupted: anyhow::Result<bool>) -> anyhow::Result<()> {
    let code = match interrupted {
        Ok(false) => None,
        Ok(true) => Some(interrupt::INTERRUPTED),
        Err(error) if team.size() == 1 => return Err(error),
        Err(error) => Some(print::error(&error).into()),
    };
    team.end();
    code.map_or(Ok(()), |code| exit(code))
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
async fn open_trainer(
    gpu: &GpuOptions,
    config: &TrainConfig,
    team: &Team,
) -> wgrad::Result<DataParallel<MaskedTokens>> {
    let gpu = device::open(gpu).await?;
    let plan = TrainerPlan {
        config: config.model.clone(),
        kernels: config.kernels.clone(),
        learns: Learns::Masked(config.trainer_options()),
    };
    DataParallel::pretraining(&gpu, &plan, config.blocks, team)
}
