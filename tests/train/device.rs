//! Faults 31 and 44b: the device is lost, opened again, and the run goes on by itself.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::toy::{Fault, Script, lost};
use crate::{Place, assert_same, result, train, train_with};
use wgrad::Error;
use wgrad::train::{RunOptions, TrainConfig, pretrain};

/// Loses the n-th device in the n-th of these steps.
fn losing(steps: &'static [u64]) -> std::rc::Rc<Script> {
    Script::new(move |trainer, step| (steps.get(trainer as usize - 1) == Some(&step)).then_some(Fault::Lost))
}

#[test]
fn a_lost_device_changes_nothing() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    let expected = result(&whole.out);
    // After a checkpoint, before the first, in the first step, in the last, several times with progress between.
    let cases: [(&[u64], &[u64]); 6] = [
        (&[6], &[0, 4]),
        (&[2], &[0, 0]),
        (&[1], &[0, 0]),
        (&[12], &[0, 8]),
        (&[2, 3, 4, 6, 10, 12], &[0, 0, 0, 0, 4, 8, 8]),
        (&[7, 6], &[0, 4, 4]),
    ];
    for (number, (steps, ready)) in cases.into_iter().enumerate() {
        let options = place.options(&format!("lost-{number}"), &[]);
        let script = losing(steps);
        let (summary, told) = train_with(&options, &script, None);
        assert_eq!(summary.unwrap().device_losses as usize, steps.len());
        assert_eq!((told.ready, told.lost as usize), (ready.to_vec(), steps.len()));
        assert_eq!(script.opened.get() as usize, steps.len() + 1);
        assert_same(&result(&options.out), &expected, &format!("lost at {steps:?}"));
    }
}

#[test]
fn a_step_is_under_way_while_the_one_before_is_reported() {
    let place = Place::new();
    let script = Script::new(|_, _| None);
    let (summary, _) = train_with(&place.options("run", &[]), &script, None);
    assert_eq!((summary.unwrap().steps, script.most_begun.get()), (12, 2));
}

/// Fault 33: a driver that drops work and calls it done is noticed when the next step is under way already.
#[test]
fn dropped_work_changes_nothing() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    for steps in [&[6, 12][..], &[1, 7], &[2, 3]] {
        let options = place.options(&format!("dropped-{steps:?}"), &[]);
        let script = Script::new(move |trainer, step| {
            (steps.get(trainer as usize - 1) == Some(&step)).then_some(Fault::Dropped)
        });
        let (summary, told) = train_with(&options, &script, None);
        assert_eq!((summary.unwrap().steps, told.lost), (12, 2));
        assert_same(&result(&options.out), &result(&whole.out), &format!("dropped at {steps:?}"));
    }
}

#[test]
fn three_losses_without_progress_give_up_and_keep_the_checkpoint() {
    let place = Place::new();
    let options = place.options("run", &[]);
    let script = losing(&[6, 6, 5, 6]);
    let (ended, told) = train_with(&options, &script, None);
    assert!(matches!(ended, Err(Error::DeviceLost { .. })), "{ended:?}");
    // The first loss came after progress; the next two did not reach further.
    assert_eq!((script.opened.get(), told.lost), (3, 2));
    let (summary, told) = train(&RunOptions { resume: true, ..options });
    assert_eq!((summary.steps, told.ready), (12, vec![4]));
}

#[test]
fn a_run_told_to_stop_does_not_open_a_device_again() {
    let place = Place::new();
    let options = place.options("run", &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let script = Script::new(move |_, step| {
        asked.store(step == 6, Ordering::Relaxed);
        (step == 6).then_some(Fault::Lost)
    });
    let open = async |config: &TrainConfig| Ok(script.open(config));
    let ended = pollster::block_on(pretrain(&options, open, &mut |_| {}, &stop));
    assert!(matches!(ended, Err(Error::DeviceLost { .. })), "{ended:?}");
    assert_eq!(script.opened.get(), 1);
}

#[test]
fn a_driver_may_take_a_while_to_come_back() {
    let place = Place::new();
    let options = place.options("run", &[]);
    let attempts = Cell::new(0);
    let script = losing(&[6]);
    let open = async |config: &TrainConfig| {
        attempts.set(attempts.get() + 1);
        match attempts.get() {
            2 => Err(Error::NoAdapter { asked: String::new() }),
            _ => Ok(script.open(config)),
        }
    };
    let stop = AtomicBool::new(false);
    let summary = pollster::block_on(pretrain(&options, open, &mut |_| {}, &stop)).unwrap();
    assert_eq!((summary.steps, summary.device_losses, attempts.get()), (12, 2, 3));

    // None at all is told at once; one that cannot be opened is tried three times.
    for (error, expected) in [(Error::NoAdapter { asked: String::new() }, 1), (lost(), 3)] {
        let attempts = Cell::new(0);
        let error = Cell::new(Some(error));
        let open = async |_: &TrainConfig| -> wgrad::Result<crate::toy::Toy> {
            attempts.set(attempts.get() + 1);
            let told = error.take().unwrap_or_else(lost);
            Err(told)
        };
        let options = place.options(&format!("none-{expected}"), &[]);
        pollster::block_on(pretrain(&options, open, &mut |_| {}, &stop)).unwrap_err();
        assert_eq!(attempts.get(), expected);
    }
}
