//! The files a run leaves: kept whole over kills, resumes and numbers that are none.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod common;

use std::fs;
use std::path::Path;

use common::faulty::{Fault, Faulty};
use wgrad::store::Disk;
use wgrad::train::metrics::{CSV, Columns, JSONL, Metrics, Row, read};

fn row(step: u64) -> Row {
    Row {
        step,
        sequences: 32 * step,
        tokens: 2048 * step,
        loss: 10.0 / step as f64,
        eval_loss: step.is_multiple_of(2).then_some(9.5),
        lr: 1e-7 * step as f64,
        batch_sequences: 32,
        grad_norm: 0.25,
        ..Row::default()
    }
}

fn write(folder: &Path, steps: impl IntoIterator<Item = u64>) {
    let mut metrics = Metrics::create(&Disk, folder, Columns::Pretraining).unwrap();
    steps.into_iter().for_each(|step| metrics.append(&row(step)).unwrap());
}

fn both(folder: &Path) -> [String; 2] {
    [CSV, JSONL].map(|name| fs::read_to_string(folder.join(name)).unwrap())
}

#[test]
fn rows_come_back_and_both_files_agree() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..=5);
    let rows = read(folder.path()).unwrap();
    assert_eq!(rows, (1..=5).map(row).collect::<Vec<_>>());
    let [csv, jsonl] = both(folder.path());
    assert_eq!(
        csv.lines().next().unwrap(),
        "step,sequences,tokens,loss,accuracy,held_out_loss,held_out_accuracy,lr,batch_sequences,grad_norm,\
         skipped_steps,tokens_per_second,seconds"
    );
    assert_eq!(csv.lines().nth(2).unwrap(), "2,64,4096,5,,9.5,,0.0000002,32,0.25,0,0,0");
    let values: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 5);
    for (value, row) in values.iter().zip(&rows) {
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.join(","), csv.lines().next().unwrap());
        assert_eq!(value["step"], row.step);
        assert_eq!(value["loss"], row.loss);
        assert_eq!(value["held_out_loss"].as_f64(), row.eval_loss);
    }
}

#[test]
fn numbers_that_are_none_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = Metrics::create(&Disk, folder.path(), Columns::Pretraining).unwrap();
    let bad = Row {
        loss: f64::NAN,
        grad_norm: f64::INFINITY,
        accuracy: Some(f64::NAN),
        eval_loss: Some(f64::NEG_INFINITY),
        ..row(1)
    };
    metrics.append(&bad).unwrap();
    let [_, jsonl] = both(folder.path());
    let value: serde_json::Value = serde_json::from_str(jsonl.trim()).unwrap();
    for name in ["loss", "grad_norm", "accuracy", "held_out_loss"] {
        assert!(value[name].is_null(), "{name}");
    }
    let rows = read(folder.path()).unwrap();
    assert!(rows[0].loss.is_nan() && rows[0].accuracy.unwrap().is_nan());
    assert_eq!((rows[0].grad_norm, rows[0].eval_loss), (f64::INFINITY, Some(f64::NEG_INFINITY)));
}

#[test]
fn a_resumed_run_leaves_the_rows_of_one_never_stopped() {
    let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(whole.path(), 1..=9);
    write(resumed.path(), 1..=7);
    // The checkpoint was of step 4.
    let mut metrics = Metrics::resume(&Disk, resumed.path(), Columns::Pretraining, 4).unwrap();
    assert_eq!(metrics.unreadable(), 0);
    (5..=9).for_each(|step| metrics.append(&row(step)).unwrap());
    assert_eq!(both(whole.path()), both(resumed.path()));
    // From nothing at all, and from before the first row.
    let empty = tempfile::tempdir().unwrap();
    for step in [3, 0] {
        let mut metrics = Metrics::resume(&Disk, empty.path(), Columns::Pretraining, step).unwrap();
        (1..=9).for_each(|step| metrics.append(&row(step)).unwrap());
        drop(metrics);
        if step == 0 {
            assert_eq!(both(whole.path()), both(empty.path()));
        }
        fs::remove_file(empty.path().join(JSONL)).unwrap();
        fs::write(empty.path().join(JSONL), "").unwrap();
    }
}

#[test]
fn a_kill_at_any_byte_is_survived() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(whole.path(), 1..=4);
    let files = both(whole.path());
    for cut in 0..files[0].len().max(files[1].len()) {
        for (name, text) in [CSV, JSONL].iter().zip(&files) {
            fs::write(killed.path().join(name), &text.as_bytes()[..cut.min(text.len())]).unwrap();
        }
        if cut > 160 {
            // A reader in the meantime sees whole rows.
            let rows = read(killed.path()).unwrap();
            assert_eq!(rows, (1..=rows.len() as u64).map(row).collect::<Vec<_>>());
        }
        let mut metrics = Metrics::resume(&Disk, killed.path(), Columns::Pretraining, 0).unwrap();
        (1..=4).for_each(|step| metrics.append(&row(step)).unwrap());
        assert_eq!(both(killed.path()), files, "cut at {cut}");
    }
}

#[test]
fn damage_is_cut_off_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..=4);
    let [csv, _] = both(folder.path());
    fs::write(folder.path().join(CSV), csv.replace("3,96", "x,96")).unwrap();
    let error = read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("metrics.csv, line 4: expected 13 values"), "{error}");
    let metrics = Metrics::resume(&Disk, folder.path(), Columns::Pretraining, 4).unwrap();
    assert_eq!(metrics.unreadable(), 1);
    assert_eq!(read(folder.path()).unwrap().len(), 2);
    fs::write(folder.path().join(CSV), "a,b\n1,2\n").unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().contains("expected the columns step,"));
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        Metrics::create(&Disk, &folder.path().join("none"), Columns::Pretraining).unwrap_err().to_string();
    assert!(error.contains("none") && error.contains("cannot create"), "{error}");
    assert!(read(folder.path()).unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn a_full_disk_loses_no_row_and_leaves_no_half_line() {
    for fault in [Fault::Full, Fault::ReadOnly] {
        let (folder, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = Faulty::default();
        let mut metrics = Metrics::create(&disk, folder.path(), Columns::Pretraining).unwrap();
        metrics.append(&row(1)).unwrap();
        let before = both(folder.path());
        disk.strike_now(fault);
        let error = metrics.append(&row(2)).unwrap_err().to_string();
        assert!(error.contains("metrics.csv: cannot write"), "{error}");
        // Where nothing can be shortened either, half a line stays for now.
        assert_eq!(both(folder.path()) == before, fault == Fault::Full);
        assert!(metrics.append(&row(3)).is_err());
        disk.heal();
        (4..=5).for_each(|step| metrics.append(&row(step)).unwrap());
        write(whole.path(), 1..=5);
        assert_eq!(both(folder.path()), both(whole.path()));
    }
}
