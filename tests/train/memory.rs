//! A run over files in memory, as in a page: the same bytes as on a disk, and from one to the other.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use wgrad::data::{Dataset, HeldOut, PrepareOptions, prepare_in};
use wgrad::store::Memory;
use wgrad::text::Tokenizer;
use wgrad::train::{Precision, RunOptions, Settings, TrainConfig};

use crate::toy::Script;
use crate::{Place, train, train_with};

/// The files below a folder on the disk.
fn files(folder: &Path, below: &Path, into: &Memory) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = below.join(path.file_name().unwrap());
        if path.is_dir() { files(&path, &name, into) } else { into.insert(name, fs::read(&path).unwrap()) }
    }
}

/// The same run as `options`, in memory.
fn in_memory(options: &RunOptions, memory: &Memory) -> RunOptions {
    let dataset = Dataset::open_on(memory, &["data"]).unwrap();
    let store = Arc::new(memory.clone());
    RunOptions { out: "run".into(), dataset: Arc::new(dataset), store, ..options.clone() }
}

fn memory_of(place: &Place) -> Memory {
    let memory = Memory::default();
    files(&place.path("data"), Path::new("data"), &memory);
    memory
}

/// All that depends on no clock: weights, optimizer, recipe.
fn lasting(memory: &Memory) -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<_> = memory.paths().into_iter().filter(|path| path.starts_with("run")).collect();
    list.retain(|path| path.ends_with("train.json") || path.extension().is_some_and(|e| e == "safetensors"));
    list.into_iter().map(|path| (path.display().to_string(), memory.get(path).unwrap().to_vec())).collect()
}

#[test]
fn data_is_the_same_in_memory() {
    let place = Place::new();
    let on_disk = memory_of(&place);
    let memory = Memory::default();
    memory.insert("text.txt", fs::read(place.path("text.txt")).unwrap());
    let options = PrepareOptions {
        inputs: vec!["text.txt".into()],
        out: "data".into(),
        seq_len: 16,
        held_out: HeldOut::Sequences(6),
        ..PrepareOptions::default()
    };
    let tokenizer = Tokenizer::load(place.path("tok")).unwrap();
    prepare_in(&memory, &tokenizer, &options, |_| {}).unwrap();
    memory.remove("text.txt");
    assert_eq!(memory.paths(), on_disk.paths());
    for path in memory.paths() {
        assert_eq!(memory.get(&path), on_disk.get(&path), "{}", path.display());
    }
    assert_eq!(
        Dataset::open_on(&memory, &["data"]).unwrap().fingerprint(),
        place.dataset.fingerprint(),
        "a run may go on with data made elsewhere"
    );

    memory.edit("data/train-00000.bin", |bytes| bytes[3] ^= 1);
    let error = Dataset::open_on(&memory, &["data"]).unwrap_err().to_string();
    assert!(error.contains("train-00000.bin: expected the checksum"), "{error}");
    let error = Dataset::open_on(&Memory::default(), &["data"]).unwrap_err().to_string();
    assert!(error.contains("dataset.json"), "{error}");
}

#[test]
fn a_run_in_memory_leaves_what_one_on_a_disk_leaves() {
    let place = Place::new();
    let options = place.options("run", &[]);
    train(&options);
    let on_disk = Memory::default();
    files(&options.out, Path::new("run"), &on_disk);

    let memory = memory_of(&place);
    let (summary, told) = train(&in_memory(&options, &memory));
    assert_eq!((summary.steps, told.checkpoints), (12, vec![4, 8, 12]));
    assert_eq!(lasting(&memory), lasting(&on_disk));
    let names = |memory: &Memory| {
        let all = memory.paths().into_iter().filter(|path| path.starts_with("run"));
        all.filter(|path| !path.ends_with("lock")).collect::<Vec<_>>()
    };
    assert_eq!(names(&memory), names(&on_disk));
    // A second run must not overwrite the first.
    assert!(train_with(&in_memory(&options, &memory), &Script::new(|_, _| None), None).0.is_err());
}

#[test]
fn a_run_goes_from_the_disk_to_memory_and_back() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    let (expected, found) = (Memory::default(), Memory::default());
    files(&whole.out, Path::new("run"), &expected);

    let mut options = place.options("moved", &[]);
    let done = train_with(&options, &Script::new(|_, _| None), Some(3)).0.unwrap().steps;
    options.resume = true;
    let memory = memory_of(&place);
    files(&options.out, Path::new("run"), &memory);
    let told = train_with(&in_memory(&options, &memory), &Script::new(|_, _| None), Some(7)).1;
    assert_eq!((told.ready, told.steps[0].step), (vec![done], done + 1));
    // The recipe travels with the run, and says what computed where nobody had decided.
    let recipe = String::from_utf8(memory.get("run/train.json").unwrap().to_vec()).unwrap();
    let settings = Settings::json(&recipe, Path::new("run/train.json")).unwrap();
    let stored = TrainConfig { precision: Precision::F32, ..options.config.clone() };
    assert_eq!(settings.for_data(&place.dataset).unwrap(), stored);

    fs::remove_dir_all(&options.out).unwrap();
    for path in memory.paths().iter().filter(|path| path.starts_with("run")) {
        let target = options.out.join(path.strip_prefix("run").unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, memory.get(path).unwrap().as_slice()).unwrap();
    }
    train(&options);
    files(&options.out, Path::new("run"), &found);
    assert_eq!(lasting(&found), lasting(&expected));
}
