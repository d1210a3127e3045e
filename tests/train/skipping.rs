//! Fault 36: gradients and losses that are not finite.

use crate::toy::{Fault, Script};
use crate::{Place, train_with};
use wgrad::Error;
use wgrad::train::{RunOptions, metrics};

#[test]
fn skipped_steps_are_counted_and_training_goes_on() {
    let place = Place::new();
    let options = place.options("run", &[]);
    // Never three in a row.
    let script = Script::new(|_, step| match step {
        2 | 3 | 6 | 12 => Some(Fault::Skip),
        5 => Some(Fault::Nan),
        _ => None,
    });
    let (summary, told) = train_with(&options, &script, None);
    let summary = summary.unwrap();
    assert_eq!((summary.steps, summary.skipped_steps), (12, 5));
    assert!(summary.loss.unwrap().is_finite());
    let skipped: Vec<_> = told.steps.iter().map(|row| row.skipped_steps).collect();
    assert_eq!(skipped, [0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 4, 4, 5]);
    let rows = metrics::read(&options.out).unwrap();
    assert!(rows[5].loss.is_nan() && rows[2].grad_norm.is_infinite());
}

#[test]
fn too_many_in_a_row_stop_the_run_and_keep_the_checkpoint() {
    let place = Place::new();
    for fault in [Fault::Skip, Fault::Nan] {
        let options = place.options(&format!("{fault:?}"), &[]);
        let script = Script::new(move |_, step| (step >= 7).then_some(fault));
        let (ended, told) = train_with(&options, &script, None);
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::Training { step: 9, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("3 times in a row") && text.contains("step 4 is kept"), "{text}");
        assert_eq!(told.steps.last().unwrap().step, 9);
        assert!(!options.out.join("model.safetensors").exists());
        // Good again from where it was kept.
        let options = RunOptions { resume: true, ..options };
        let (summary, told) = crate::train(&options);
        assert_eq!((summary.steps, told.ready), (12, vec![4]));
    }
}

#[test]
fn too_many_before_the_first_checkpoint_say_so() {
    let place = Place::new();
    let script = Script::new(|_, _| Some(Fault::Skip));
    let error = train_with(&place.options("run", &[]), &script, None).0.unwrap_err().to_string();
    assert!(error.contains("step 3") && error.contains("no checkpoint yet"), "{error}");
}

/// The steps that have a checkpoint.
fn kept(out: &std::path::Path) -> Vec<u64> {
    let names = std::fs::read_dir(out.join("checkpoints")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut steps: Vec<u64> = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    steps
}

#[test]
fn fault_61_what_was_good_outlives_a_rate_that_blows_up() {
    let place = Place::new();
    let whole = place.options("whole", &["max_skipped=6", "checkpoint.every=1"]);
    train_with(&whole, &Script::new(|_, _| None), None).0.unwrap();
    for keep in [1, 2] {
        // Checkpoints fall due at every step, the exploded one and the skipped ones too.
        let changes = ["max_skipped=6", "checkpoint.every=1", &format!("checkpoint.keep={keep}")];
        let options = place.options(&format!("keep-{keep}"), &changes);
        let script = Script::new(|_, step| (step == 5).then_some(Fault::Explode));
        let (ended, told) = train_with(&options, &script, None);
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("6 times in a row"), "{error}");
        // Nobody knows of the fifth that it is not good until the sixth is skipped.
        assert_eq!(told.checkpoints, [1, 2, 3, 4, 5]);
        assert!(kept(&options.out).contains(&4), "{:?}", kept(&options.out));
        assert!(error.contains("the checkpoint of step 5 is kept"), "{error}");
        assert!(error.contains("remove it to go on from an earlier one"), "{error}");

        // The last good one leads where it would have led.
        std::fs::remove_dir_all(options.out.join("checkpoints/step-00000005")).unwrap();
        let (summary, told) = crate::train(&RunOptions { resume: true, ..options.clone() });
        assert_eq!((summary.steps, told.ready), (12, vec![4]));
        crate::assert_same(&crate::result(&options.out), &crate::result(&whole.out), "after an explosion");
    }
}

#[test]
fn fault_61_a_checkpoint_that_falls_due_while_steps_are_skipped_is_saved_after_the_next_good_one() {
    let place = Place::new();
    let script = || Script::new(|_, step| matches!(step, 4 | 5 | 12).then_some(Fault::Skip));
    let options = place.options("run", &[]);
    let (summary, told) = train_with(&options, &script(), None);
    assert_eq!((summary.unwrap().skipped_steps, told.checkpoints), (3, vec![6, 8]));
    assert_eq!(kept(&options.out), [6, 8]);
    assert!(told.warnings[0].contains("step 12 was not saved"), "{:?}", told.warnings);
    // Stopped in the midst of it: the run goes on from before.
    let options = place.options("stopped", &[]);
    let (summary, told) = train_with(&options, &script(), Some(12));
    assert_eq!((summary.unwrap().steps, told.checkpoints), (12, vec![6, 8]));
}

#[test]
fn a_loss_that_explodes_is_no_success_and_keeps_what_was_good() {
    let place = Place::new();
    crate::train(&place.options("run", &["steps=40", "schedule=constant"]));
    let changes = ["steps=46", "schedule=constant", "learning_rate=20", "checkpoint.every=1"];
    let options = RunOptions { resume: true, allow_changes: true, ..place.options("run", &changes) };
    let (ended, told) = train_with(&options, &Script::new(|_, _| None), None);
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 46, .. }), "{error}");
    assert!(
        error.to_string().contains("is kept, and no model was saved; lower the learning rate"),
        "{error}"
    );
    let exploded = told.warnings.iter().filter(|warning| warning.contains("the loss has exploded: "));
    assert_eq!(exploded.count(), 1, "{:?}", told.warnings);
    // The checkpoints of before are those that are left.
    let left = std::fs::read_dir(options.out.join("checkpoints")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(left.iter().any(|name| name == "step-00000040"), "{left:?}");
}
