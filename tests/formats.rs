//! Every format says its version: a newer one is refused by name, and one without is the first.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use wgrad::Result;
use wgrad::data::Dataset;
use wgrad::files::{CheckpointState, ReferenceVectors, RunFolder, SentenceFolder, TensorSource};
use wgrad::store::Disk;
use wgrad::train::{Settings, TrainConfig};

/// A format, in a folder that holds it.
struct Format {
    what: &'static str,
    /// The files that say the version.
    files: &'static [&'static str],
    /// Under which key.
    key: &'static str,
    newest: u64,
    /// Whether the first version said none.
    unsaid: bool,
    make: fn(&Path),
    open: fn(&Path) -> Result<()>,
}

const FORMATS: [Format; 4] = [
    Format {
        what: "a checkpoint",
        files: &["checkpoints/step-00000003/state.json", "checkpoints/step-00000003/checksums.json"],
        key: "format",
        newest: 1,
        unsaid: false,
        make: checkpoint,
        open: |dir| RunFolder::open(Arc::new(Disk), dir)?.latest().map(drop),
    },
    Format {
        what: "a recipe",
        files: &["train.json"],
        key: "format",
        newest: 1,
        unsaid: true,
        make: |dir| {
            let mut recipe = serde_json::to_value(TrainConfig::preset("micro").unwrap()).unwrap();
            recipe["format"] = json!(1);
            fs::write(dir.join("train.json"), recipe.to_string()).unwrap();
        },
        open: |dir| Settings::file(&dir.join("train.json")).map(drop),
    },
    Format {
        what: "a data folder",
        files: &["dataset.json"],
        key: "version",
        newest: 3,
        unsaid: false,
        make: |dir| copy(Path::new("tests/golden/earlier/data"), dir),
        open: |dir| Dataset::open(&[dir.to_path_buf()]).map(drop),
    },
    Format {
        what: "reference vectors",
        files: &["reference_vectors.json"],
        key: "format",
        newest: 1,
        unsaid: false,
        make: |dir| copy(Path::new("web/model"), dir),
        open: |dir| ReferenceVectors::load(&Disk, &SentenceFolder::load(dir)?).map(drop),
    },
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to) } else { fs::copy(path, to).map(drop).unwrap() }
    }
}

fn checkpoint(dir: &Path) {
    let run = RunFolder::create(Arc::new(Disk), dir).unwrap();
    let tensors = || TensorSource::from_slices([("w", vec![1], &[1.0f32][..])]);
    let state = CheckpointState { step: 3, sequence: 9, fingerprint: Map::new(), extra: Value::Null };
    run.save(&state, tensors(), tensors()).unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(json.as_object_mut().unwrap());
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_newer_version_is_refused_by_name() {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        (format.make)(dir.path());
        (format.open)(dir.path()).unwrap();
        let newer = format.newest + 1;
        for file in format.files {
            change(&dir.path().join(file), |json| {
                assert!(json.contains_key(format.key), "{file} says no version");
                json[format.key] = json!(newer);
            });
        }
        let error = (format.open)(dir.path()).unwrap_err().to_string();
        let expected = format!(
            "made by a newer wgrad: {} of format {newer}, this one reads up to {}; update wgrad",
            format.what, format.newest
        );
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn a_file_that_says_no_version_is_of_the_first() {
    for format in FORMATS.iter().filter(|format| format.unsaid) {
        let dir = tempfile::tempdir().unwrap();
        (format.make)(dir.path());
        for file in format.files {
            change(&dir.path().join(file), |json| drop(json.remove(format.key)));
        }
        (format.open)(dir.path()).unwrap();
    }
}
