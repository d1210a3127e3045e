//! Saving that is interrupted: by a failing disk, a full one, a power cut, a kill.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wgrad::files::RunFolder;
use wgrad::store::Disk;

use super::common::faulty::{Fault, Faulty};
use super::run_folder::{check_contents, names, save, save_marked};

/// A run with these checkpoints.
fn run_with(out: &Path, steps: &[u64]) -> RunFolder {
    let run = RunFolder::create(Arc::new(Faulty::default()), out).unwrap();
    for &step in steps {
        save(&run, step).unwrap();
    }
    run
}

fn temporaries(out: &Path) -> Vec<String> {
    names(&out.join("checkpoints")).into_iter().filter(|name| name.starts_with('.')).collect()
}

/// What is there, what is saved next, and the mark of its values: a first, a third (which removes one), a second
/// over the one of the same step.
const CASES: [(&[u64], u64, f32); 4] = [(&[], 1, 1.0), (&[1], 2, 2.0), (&[1, 2], 3, 3.0), (&[1, 2], 2, 20.0)];

/// Saves on a disk with a fault at operation 0, 1, 2, … until none is left to strike, and looks at what remains.
fn at_every_operation(fault: Fault, check: impl Fn(&Path, RunFolder, &Faulty, wgrad::Result<()>, usize)) {
    for (case, (before, step, mark)) in CASES.into_iter().enumerate() {
        for operation in 0.. {
            let out = tempfile::tempdir().unwrap();
            drop(run_with(out.path(), before));
            let disk = Faulty::at(operation, fault);
            let run = RunFolder::open(Arc::new(disk.clone()), out.path()).unwrap();
            let saved = save_marked(&run, step, mark).map(|_| ());
            if !disk.struck() {
                saved.unwrap();
                assert!(operation > 15, "only {operation} operations");
                break;
            }
            check(out.path(), run, &disk, saved, case);
        }
    }
}

#[test]
fn fault_37_a_power_cut_at_any_operation_leaves_a_checkpoint() {
    at_every_operation(Fault::PowerCut, |out, run, _, saved, case| {
        drop(run);
        let (before, step, mark) = CASES[case];
        let run = RunFolder::open(Arc::new(Faulty::default()), out).unwrap();
        assert_eq!(temporaries(out), [""; 0]);
        for name in names(&out.join("checkpoints")) {
            assert_eq!(names(&out.join("checkpoints").join(&name)).len(), 4, "{name} is not whole");
        }
        match run.latest().unwrap() {
            None => assert!(before.is_empty() && saved.is_err()),
            Some(found) => {
                assert!(found.notes.is_empty(), "{:?}", found.notes);
                let old = before.last().copied();
                let is_new = found.step == step && check_contents(&found) == mark;
                let is_old = Some(found.step) == old && check_contents(&found) == found.step as f32;
                assert!(is_new || (is_old && saved.is_err()), "step {} after {saved:?}", found.step);
            }
        }
        save(&run, 4).unwrap();
        let last = run.latest().unwrap().unwrap();
        assert_eq!((last.step, check_contents(&last)), (4, 4.0));
    });
}

#[test]
fn fault_38_after_a_failed_operation_training_goes_on() {
    at_every_operation(Fault::Fail, |out, run, _, saved, case| {
        let (before, step, _) = CASES[case];
        if let Err(error) = &saved {
            assert!(error.to_string().contains(": cannot "), "{error}");
        }
        if let Some(found) = run.latest().unwrap() {
            check_contents(&found);
            assert!(Some(&found.step) == before.last() || found.step == step);
        } else {
            assert!(before.is_empty());
        }
        if saved.is_err() {
            assert_eq!(temporaries(out), [""; 0]);
        }
        save_marked(&run, step, 30.0).unwrap();
        let last = run.latest().unwrap().unwrap();
        assert_eq!((last.step, check_contents(&last)), (step, 30.0));
        drop(run);
        RunFolder::open(Arc::new(Disk), out).unwrap();
        assert_eq!(temporaries(out), [""; 0]);
    });
}

#[test]
fn fault_38_a_full_disk_is_reported_and_left_clean() {
    at_every_operation(Fault::Full, |out, run, disk, saved, case| {
        let (before, step, _) = CASES[case];
        if saved.is_err() {
            // What is not temporary is the old checkpoint, where even a rename is refused.
            assert!(temporaries(out).iter().all(|name| name.starts_with(".replaced-")));
        }
        // The same again while the disk stays full.
        let error = save_marked(&run, step + 1, 9.0).unwrap_err();
        let wgrad::Error::Io { cause, .. } = &error else { panic!("{error}") };
        assert_eq!(cause.kind(), std::io::ErrorKind::StorageFull);
        if !before.is_empty() {
            check_contents(&run.latest().unwrap().unwrap());
        }
        disk.heal();
        save_marked(&run, step + 1, 9.0).unwrap();
        let last = run.latest().unwrap().unwrap();
        assert_eq!((last.step, check_contents(&last)), (step + 1, 9.0));
    });
}

/// Set in the process that is to be killed: where it saves.
const CHILD: &str = "WGRAD_TEST_SAVES_IN";

#[test]
fn fault_37_a_killed_process_leaves_a_checkpoint() {
    if let Some(out) = std::env::var_os(CHILD) {
        let run = RunFolder::open(Arc::new(Disk), out).unwrap();
        let first = run.latest().unwrap().map_or(0, |found| found.step);
        for step in first + 1..first + 20_000 {
            save(&run, step).unwrap();
        }
        return;
    }
    let out = tempfile::tempdir().unwrap();
    drop(RunFolder::create(Arc::new(Disk), out.path()).unwrap());
    let mut reached = 0;
    for kill in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "interrupted::fault_37_a_killed_process_leaves_a_checkpoint"])
            .env(CHILD, out.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let newest = || names(&out.path().join("checkpoints")).last().cloned().unwrap_or_default();
        let before = newest();
        let start = Instant::now();
        while newest() <= before || newest().starts_with('.') {
            assert!(start.elapsed() < Duration::from_secs(60), "the child saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        let refused = RunFolder::open(Arc::new(Disk), out.path()).unwrap_err().to_string();
        std::thread::sleep(Duration::from_micros(kill * 1700));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(refused.ends_with(&format!("found process {} using it", child.id())), "{refused}");

        let run = RunFolder::open(Arc::new(Disk), out.path()).unwrap();
        let found = run.latest().unwrap().unwrap();
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        assert_eq!(check_contents(&found), found.step as f32);
        assert!(found.step > reached);
        reached = found.step;
    }
}
