//! Faults 38 and 39: disks that refuse, and bytes that change.

use std::path::Path;
use std::sync::Arc;

use crate::common::faulty::{Fault, Faulty};
use crate::toy::Script;
use crate::{Place, assert_same, kill_at, result, train, train_with};
use wgrad::store::Disk;
use wgrad::train::{RunOptions, metrics};

/// Nothing half-written is left.
fn assert_tidy(out: &Path) {
    for folder in [out.to_path_buf(), out.join("checkpoints")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name}");
        }
    }
}

#[test]
fn a_disk_full_for_a_while_is_told_and_survived() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    let disk = Arc::new(Faulty::default());
    let options = RunOptions { store: disk.clone(), ..place.options("full", &[]) };
    let script = Script::new(move |_, step| {
        match step {
            3..=9 => disk.strike_now(Fault::Full),
            _ => disk.heal(),
        }
        None
    });
    let (summary, told) = train_with(&options, &script, None);
    assert_eq!(summary.unwrap().steps, 12);
    assert_eq!(told.checkpoints, [12]);
    let warned = |text: &str| told.warnings.iter().filter(|warning| warning.contains(text)).count();
    assert_eq!(warned("the checkpoint of step 4 was not saved"), 1, "{:?}", told.warnings);
    assert_eq!(warned("the checkpoint of step 8 was not saved"), 1);
    assert_eq!(warned("the picture was not saved"), 3);
    assert_eq!(warned("the metrics were not saved"), 1);
    assert_eq!(told.warnings.len(), 6, "{:?}", told.warnings);
    assert_tidy(&options.out);
    assert_same(&result(&options.out), &result(&whole.out), "full for a while");
}

#[test]
fn a_disk_full_at_the_end_fails_and_loses_nothing() {
    let place = Place::new();
    let disk = Arc::new(Faulty::default());
    let options = RunOptions { store: disk.clone(), ..place.options("full", &[]) };
    let script = Script::new(move |_, step| {
        if step >= 10 {
            disk.strike_now(Fault::Full);
        }
        None
    });
    let error = train_with(&options, &script, None).0.unwrap_err().to_string();
    assert!(error.contains("full: cannot "), "{error}");
    assert!(!options.out.join("model.safetensors").exists());
    assert_tidy(&options.out);
    let resumed = RunOptions { resume: true, store: Arc::new(Disk), ..options };
    let (summary, told) = train(&resumed);
    assert_eq!((summary.steps, told.ready), (12, vec![8]));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_told() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let options = place.options(file, &[]);
        kill_at(&options, 11);
        let path = options.out.join("checkpoints/step-00000008").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (_, told) = train(&RunOptions { resume: true, ..options.clone() });
        assert_eq!(told.ready, [4]);
        assert!(told.warnings[0].contains("step 8 is damaged"), "{:?}", told.warnings);
        assert_same(&result(&options.out), &result(&whole.out), file);
    }
}

#[test]
fn torn_metrics_are_mended_and_told() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    let tear = |options: &RunOptions| {
        let path = options.out.join(metrics::CSV);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 9);
        std::fs::write(&path, text).unwrap();
        train(&RunOptions { resume: true, ..options.clone() }).1.warnings
    };
    // A row that is computed anew.
    let options = place.options("torn", &[]);
    kill_at(&options, 7);
    assert_eq!(tear(&options), Vec::<String>::new());
    assert_same(&result(&options.out), &result(&whole.out), "torn metrics");
    // The checkpoint's own.
    let options = place.options("lost", &[]);
    kill_at(&options, 5);
    let warnings = tear(&options);
    assert!(warnings.len() == 1 && warnings[0].contains("1 unreadable line"), "{warnings:?}");
    let steps: Vec<_> = metrics::read(&options.out).unwrap().iter().map(|row| row.step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
}
