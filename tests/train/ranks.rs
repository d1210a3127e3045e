//! Runs on several ranks: stopped on four, gone on with on two, ended on one.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::ranks::with_ranks;
use crate::{Place, assert_same, common, result};
use wgrad::gpu::Gpu;
use wgrad::train::ranks::{DataParallel, Learns, Team, TrainerPlan};
use wgrad::train::{Event, RunOptions, Summary, TrainConfig, pretrain};
use wgrad::{Error, Result};

pub(crate) fn train(
    gpu: &Gpu,
    options: &RunOptions,
    team: &Team,
    stop_after: Option<u64>,
) -> Result<Summary> {
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) if stop_after == Some(row.step) => stop.store(true, Ordering::Relaxed),
        _ => {}
    };
    let open = async |config: &TrainConfig| {
        let plan = TrainerPlan {
            config: config.model.clone(),
            kernels: config.kernels.clone(),
            learns: Learns::Masked(config.trainer_options()),
        };
        Ok(DataParallel::pretraining(gpu, &plan, config.blocks, team)?.with_wire(config.wire))
    };
    pollster::block_on(pretrain(options, open, &mut watch, &stop))
}

#[test]
fn a_run_goes_on_with_fewer_ranks_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02", "micro_batch=2", "blocks=4", "checkpoint.every=100"];
    let whole = place.options("whole", &changes);
    assert_eq!(train(&gpu, &whole, &Team::alone(), None).unwrap().steps, 12);
    let expected = result(&whole.out);
    assert!(expected.rows.len() > 12);

    // In the middle of an epoch, both times.
    let options = place.options("fewer", &changes);
    assert!(with_ranks(4, |team| train(&gpu, &options, team, Some(3))).unwrap().interrupted);
    let options = RunOptions { resume: true, ..options };
    assert!(with_ranks(2, |team| train(&gpu, &options, team, Some(7))).unwrap().interrupted);
    assert_eq!(train(&gpu, &options, &Team::alone(), None).unwrap().steps, 12);
    assert_same(&result(&options.out), &expected, "4, 2 and 1 ranks");

    // Blocks are a part of the recipe.
    let other = RunOptions { resume: true, allow_changes: false, ..place.options("fewer", &changes[..2]) };
    let error = train(&gpu, &other, &Team::alone(), None).unwrap_err();
    assert!(matches!(&error, Error::Config { found, .. } if found.contains("recipe.blocks")), "{error}");
}

/// A device that is lost on another rank is opened again, as this one's would be.
#[test]
fn work_that_another_rank_has_lost_is_done_again() {
    use crate::common::ranks::{PATIENCE, hello, with_others};
    use wgrad::gpu::{GpuOptions, MatrixOperands};
    use wgrad::train::ranks::{Local, work};

    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02", "micro_batch=2", "blocks=2"];
    let whole = place.options("whole", &changes);
    train(&gpu, &whole, &Team::alone(), None).unwrap();
    let options = place.options("lost", &changes);
    let loses = |mut link: Local| {
        let mut opened = 0;
        let open = |_: &TrainerPlan, _: Option<MatrixOperands>| {
            opened += 1;
            if opened == 2 {
                // A driver that is starting again has no adapter for a while.
                return Err(Error::NoAdapter { asked: String::new() });
            }
            let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
            // In a step that follows a checkpoint, and after the device is open again in none.
            gpu.lose_submission(if opened == 1 { 40 } else { u32::MAX });
            Ok(gpu)
        };
        work(&mut link, &hello(), open)?;
        assert_eq!(opened, 3);
        Ok(())
    };
    let (summary, others) = with_others(2, PATIENCE, loses, |team| train(&gpu, &options, team, None));
    assert_eq!(summary.unwrap().device_losses, 2);
    others.into_iter().for_each(|other| other.unwrap());
    assert_same(&result(&options.out), &result(&whole.out), "a rank that lost work");
}
