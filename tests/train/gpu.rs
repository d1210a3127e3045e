//! Runs on a device: the same bits whether they were stopped, lost it, or neither.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Outcome, Place, assert_same, common, result};
use wgrad::files::REFERENCE_FILE;
use wgrad::gpu::Gpu;
use wgrad::train::{Event, RunOptions, Summary, TrainConfig, Trainer, pretrain};

fn train_on(gpu: &Gpu, options: &RunOptions, stop_after: Option<u64>) -> Summary {
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) if stop_after == Some(row.step) => stop.store(true, Ordering::Relaxed),
        _ => {}
    };
    let open = async |config: &TrainConfig| {
        Trainer::pretraining(gpu, config.model.clone(), config.trainer_options())
    };
    pollster::block_on(pretrain(options, open, &mut watch, &stop)).unwrap()
}

#[test]
fn a_stopped_run_goes_on_bitwise_on_the_device() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02", "checkpoint.every=100"];
    let whole = place.options("whole", &changes);
    let summary = train_on(&gpu, &whole, None);
    assert_eq!((summary.steps, summary.skipped_steps), (12, 0));
    assert!(summary.device == gpu.capabilities().name && !summary.device.is_empty());
    let expected: Outcome = result(&whole.out);

    let options = place.options("stopped", &changes);
    assert!(train_on(&gpu, &options, Some(4)).interrupted);
    let options = RunOptions { resume: true, ..options };
    assert!(train_on(&gpu, &options, Some(7)).interrupted);
    // They are for a finished model, and whoever stops a run does not wait for them.
    assert!(!options.out.join(REFERENCE_FILE).exists());
    assert_eq!(train_on(&gpu, &options, None).steps, 12);
    assert!(options.out.join(REFERENCE_FILE).exists());
    assert_same(&result(&options.out), &expected, "stopped twice on the device");
    let vectors = [&whole, &options].map(|options| std::fs::read(options.out.join(REFERENCE_FILE)).unwrap());
    assert_eq!(vectors[0], vectors[1]);
}

/// Fault 33: a submission is lost while the run is under way.
#[test]
fn a_run_whose_driver_drops_work_goes_back_and_ends_bitwise() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02"];
    let whole = place.options("whole", &changes);
    train_on(&gpu, &whole, None);
    let options = place.options("dropped", &changes);
    let mut losses = vec![10, 6];
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) if losses.last() == Some(&row.step) => {
            losses.pop();
            gpu.lose_submission(1);
        }
        _ => {}
    };
    let open = async |config: &TrainConfig| {
        gpu.lose_submission(u32::MAX);
        Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
    };
    let summary = pollster::block_on(pretrain(&options, open, &mut watch, &AtomicBool::new(false))).unwrap();
    assert_eq!((summary.steps, summary.device_losses), (12, 2));
    assert_same(&result(&options.out), &result(&whole.out), "with work dropped twice");
}

/// Faults 31 and 44b.
#[test]
fn a_run_whose_device_is_lost_opens_it_again_and_ends_bitwise() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02"];
    let whole = place.options("whole", &changes);
    train_on(&gpu, &whole, None);

    let options = place.options("lost", &changes);
    let device: RefCell<Option<Gpu>> = RefCell::new(None);
    let (mut ready, mut losses) = (Vec::new(), vec![10, 6]);
    let mut watch = |event: Event<'_>| match event {
        Event::Ready { step, .. } => ready.push(step),
        Event::Step(row) if losses.last() == Some(&row.step) => {
            losses.pop();
            device.take().unwrap().destroy();
        }
        _ => {}
    };
    let open = async |config: &TrainConfig| {
        let gpu = common::gpu().unwrap();
        device.replace(Some(gpu.clone()));
        Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
    };
    let summary = pollster::block_on(pretrain(&options, open, &mut watch, &AtomicBool::new(false))).unwrap();
    assert_eq!((summary.steps, summary.device_losses, ready), (12, 2, vec![0, 4, 8]));
    assert_same(&result(&options.out), &result(&whole.out), "with a device lost twice");
}
