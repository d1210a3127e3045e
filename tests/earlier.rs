//! What earlier versions left keeps opening. The version before optimizers had rules and runs had jobs wrote
//! `tests/golden/earlier`: a folder of data, a run stopped after half of its steps with the weights that it ended with
//! there, and a finetuned model with its predictions.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::golden::relative;
use common::program::{run, stdout};
use serde_json::Value;
use wgrad::files::Weights;
use wgrad::train::metrics;

fn earlier(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/earlier").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, to).unwrap()),
        }
    }
}

#[test]
fn a_run_of_an_earlier_version_goes_on_to_its_weights() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    copy(&earlier("run"), &out);
    let (data, folder) = (earlier("data"), out.to_str().unwrap());
    let told = stdout(&run(
        &["pretrain", "--resume", "--data", data.to_str().unwrap(), "--out", folder, "--json"],
        "",
    ));
    let summary: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&summary["steps"], &summary["skipped_steps"]), (&12.into(), &0.into()));
    let steps: Vec<u64> = metrics::read(&out).unwrap().iter().map(|row| row.step).collect();
    assert_eq!(steps, (0..=12).collect::<Vec<_>>());
    let [expected, found] = [earlier("run_after.safetensors"), out.join("model.safetensors")]
        .map(|path| Weights::open(path).unwrap());
    for name in expected.names() {
        let apart = relative(&found.f32(name).unwrap(), &expected.f32(name).unwrap());
        // The device may round otherwise than the one that wrote it.
        assert!(apart < 1e-4, "{name}: {apart:e}");
    }
}

#[test]
fn a_model_that_an_earlier_version_finetuned_says_what_it_said() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (model, table) = (earlier("finetuned"), earlier("labelled.csv"));
    let predictions = dir.path().join("predictions.tsv");
    let [model, table, to] = [&model, &table, &predictions].map(|path| path.to_str().unwrap());
    stdout(&run(
        &[
            "evaluate",
            "--model",
            model,
            "--task",
            "classify",
            "--eval",
            table,
            "--predictions",
            to,
            "--precision",
            "f32",
        ],
        "",
    ));
    let read = |path: &Path| -> Vec<(String, f64)> {
        let text = fs::read_to_string(path).unwrap();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            (cells[..3].join(" "), cells[3].parse().unwrap())
        };
        text.lines().skip(1).map(row).collect()
    };
    let (found, expected) = (read(&predictions), read(&earlier("finetuned/predictions.tsv")));
    assert_eq!((found.len(), expected.len()), (48, 48));
    for ((label, probability), (wanted, share)) in found.iter().zip(&expected) {
        assert!(
            label == wanted && (probability - share).abs() < 1e-4,
            "{label} {probability}, was {wanted} {share}"
        );
    }
}
