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
        assert!(text.contains("3 times in a row") && text.contains("step 8 is kept"), "{text}");
        assert_eq!(told.steps.last().unwrap().step, 9);
        assert!(!options.out.join("model.safetensors").exists());
        // Good again from where it was kept.
        let options = RunOptions { resume: true, ..options };
        let (summary, told) = crate::train(&options);
        assert_eq!((summary.steps, told.ready), (12, vec![8]));
    }
}

#[test]
fn too_many_before_the_first_checkpoint_say_so() {
    let place = Place::new();
    let script = Script::new(|_, _| Some(Fault::Skip));
    let error = train_with(&place.options("run", &[]), &script, None).0.unwrap_err().to_string();
    assert!(error.contains("step 3") && error.contains("no checkpoint yet"), "{error}");
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
