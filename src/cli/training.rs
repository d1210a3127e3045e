//! Pretraining as `pretrain` and `quickstart` run it.

use std::process::exit;

use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::train::pretrain::RECIPE;
use wgrad::train::ranks::{DataParallel, Learns, LocalTraining, Team, TrainerPlan};
use wgrad::train::{Event, RunOptions, Summary, TrainConfig, pretrain};

use super::watch::Watch;
use super::{device, interrupt, precision, print, tuned};

/// Runs the training that `options` describes on a [settled](settle) device and those of the other ranks, shown on standard
/// error; Ctrl-C ends it after the steps under way.
pub fn train(options: &RunOptions, gpu: &GpuOptions, team: &Team) -> anyhow::Result<Summary> {
    let when = options.config.sync.map_or(interrupt::THIS_STEP, |_| "when the ranks synchronise next");
    let stop = interrupt::watch(when)?;
    let mut watch = Watch::new();
    let show = &mut |event: Event<'_>| watch.show(event);
    let summary = match options.config.sync {
        None => {
            let open = async |config: &TrainConfig| {
                let gpu = device::open(gpu).await?;
                let engine = DataParallel::pretraining(&gpu, &plan(config), config.blocks, team)?;
                Ok(engine.with_wire(config.wire))
            };
            pollster::block_on(pretrain(options, open, show, &stop))
        }
        Some(sync) => {
            let open = async |config: &TrainConfig| {
                let gpu = device::open(gpu).await?;
                let engine = LocalTraining::pretraining(&gpu, &plan(config), config.blocks, sync, team)?;
                Ok(engine.with_wire(config.wire))
            };
            pollster::block_on(pretrain(options, open, show, &stop))
        }
    };
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

/// What the trainers of all ranks are made from.
fn plan(config: &TrainConfig) -> TrainerPlan {
    TrainerPlan {
        config: config.model.clone(),
        kernels: config.kernels.clone(),
        learns: Learns::Masked(config.trainer_options()),
    }
}
