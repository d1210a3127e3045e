//! Finetuning that is stopped, killed or loses its device ends with the bits that it would have had without.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad::data::FileOptions;
use wgrad::data::task::{Table, Task};
use wgrad::gpu::Gpu;
use wgrad::tensor::DType;
use wgrad::train::Event;
use wgrad::train::finetune::{FinetuneOptions, FinetuneReport, columns, finetune};

use crate::{Place, common, run};

/// Two seeds of two epochs of ten steps.
pub(crate) fn options(place: &Place, storage: DType, out: &str) -> FinetuneOptions {
    let by = columns(Task::Classify, "text", None, None);
    let mut options = place.options(Task::Classify, &by, out);
    options.recipe.epochs = 2;
    FinetuneOptions { seeds: vec![1, 2], storage, ..options }
}

/// Runs until after step `stop_at` of the run, and resumes where that is asked for.
fn until(gpu: &Gpu, options: &FinetuneOptions, stop_at: u64) -> FinetuneReport {
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) if row.step == stop_at => stop.store(true, Ordering::Relaxed),
        _ => {}
    };
    pollster::block_on(finetune(options, async || Ok(gpu.clone()), &mut watch, &stop)).unwrap()
}

/// What a run left, without what depends on the clock.
pub(crate) fn left(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // An embedder has its pooling in a folder of its own, and an empty one for its normalisation.
        if name == "lock" || name == "2_Normalize" {
            continue;
        }
        let path = if name == "1_Pooling" { path.join("config.json") } else { path };
        let bytes = fs::read(&path).unwrap_or_else(|_| panic!("{name} is a folder: it was to be removed"));
        files.insert(name, bytes);
    }
    let table = String::from_utf8(files.remove("metrics.csv").unwrap()).unwrap();
    files.remove("metrics.jsonl").unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let timed = |index: usize| ["seconds", "tokens_per_second"].contains(&header[index]);
    let row = |line: &str| -> String {
        let cells = line.split(',').enumerate().filter(|(index, _)| !timed(*index));
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    files.insert("metrics".to_owned(), table.lines().map(row).collect::<Vec<_>>().join("\n").into_bytes());
    // So do the checksums of what depends on it. What comes after the model is listed when it is there.
    let listed: serde_json::Value =
        serde_json::from_slice(&files.remove("checksums.json").unwrap_or(b"{}".to_vec())).unwrap();
    let lasting = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    files.insert(
        "checksums".to_owned(),
        lasting.map(|name| listed["files"][name].to_string()).concat().into(),
    );
    // The card bears the folder's name.
    let card = String::from_utf8(files.remove("README.md").unwrap()).unwrap();
    let name = out.file_name().unwrap().to_str().unwrap();
    files.insert("card".to_owned(), card.replace(name, "NAME").into_bytes());
    files
}

pub(crate) fn assert_same(found: &Path, expected: &Path, what: &str) {
    let (found, expected) = (left(found), left(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in &found {
        assert!(bytes == &expected[name], "{what}: {name} differs");
    }
}

fn storages(gpu: &Gpu) -> Vec<DType> {
    if common::has_f16(gpu) { vec![DType::F32, DType::F16] } else { vec![DType::F32] }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    for storage in storages(&gpu) {
        let whole = options(&place, storage, &format!("whole-{storage:?}"));
        let report = run(&gpu, &whole).unwrap();
        assert_eq!((report.steps, report.seeds.len(), report.interrupted), (40, 2, false));
        // Within an epoch, at the end of one, at the end of a seed, within the last, and after the last step.
        for stops in [vec![4], vec![10], vec![20], vec![7, 13, 20, 31], vec![40]] {
            let out = format!("stopped-{storage:?}-{stops:?}");
            let mut stopped = options(&place, storage, &out);
            for &stop in &stops {
                let report = until(&gpu, &stopped, stop);
                // The next step may have been under way.
                assert!((stop..=stop + 1).contains(&report.steps), "{} of {stop}", report.steps);
                stopped.resume = true;
            }
            // The last step was taken, so that there was nothing to stop.
            if stops != [40] {
                until(&gpu, &stopped, u64::MAX);
            }
            assert_same(&stopped.out, &whole.out, &format!("{storage:?}, stopped after {stops:?}"));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// A copy of the folder in the middle of a run is what a kill leaves there.
#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    for storage in storages(&gpu) {
        let whole = options(&place, storage, &format!("whole-{storage:?}"));
        let killed = |step: u64| place.path(&format!("killed-{storage:?}-{step}"));
        let steps = [3, 10, 15, 20, 24, 37];
        let mut watch = |event: Event<'_>| match event {
            Event::Step(row) if steps.contains(&row.step) => copy(&whole.out, &killed(row.step)),
            _ => {}
        };
        let open = async || Ok(gpu.clone());
        pollster::block_on(finetune(&whole, open, &mut watch, &AtomicBool::new(false))).unwrap();
        for step in steps {
            let options = FinetuneOptions { resume: true, out: killed(step), ..options(&place, storage, "") };
            run(&gpu, &options).unwrap();
            assert_same(&options.out, &whole.out, &format!("{storage:?}, killed after step {step}"));
        }
    }
}

#[test]
fn a_lost_device_is_opened_again() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let whole = options(&place, DType::F32, "whole");
    run(&gpu, &whole).unwrap();
    let lost = options(&place, DType::F32, "lost");
    let device: RefCell<Option<Gpu>> = RefCell::new(None);
    let (mut ready, mut losses) = (Vec::new(), vec![33, 14]);
    let mut watch = |event: Event<'_>| match event {
        Event::Ready { step, .. } => ready.push(step),
        Event::Step(row) if losses.last() == Some(&row.step) => {
            losses.pop();
            device.take().unwrap().destroy();
        }
        _ => {}
    };
    let open = async || {
        let gpu = common::gpu().unwrap();
        device.replace(Some(gpu.clone()));
        Ok(gpu)
    };
    let report = pollster::block_on(finetune(&lost, open, &mut watch, &AtomicBool::new(false))).unwrap();
    assert_eq!((report.device_losses, ready), (2, vec![0, 10, 30]));
    assert_same(&lost.out, &whole.out, "with a device lost twice");
}

#[test]
fn a_folder_belongs_to_one_run_of_one_recipe() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let first = options(&place, DType::F32, "out");
    let error = run(&gpu, &FinetuneOptions { resume: true, ..options(&place, DType::F32, "none") });
    assert!(error.unwrap_err().to_string().contains("the folder of a run"));
    let mut second: Option<wgrad::Error> = None;
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event<'_>| {
        if let Event::Step(row) = event {
            if row.step == 2 {
                let again = FinetuneOptions { resume: true, ..options(&place, DType::F32, "out") };
                second = run(&gpu, &again).err();
            }
            stop.store(row.step >= 12, Ordering::Relaxed);
        }
    };
    let open = async || Ok(gpu.clone());
    pollster::block_on(finetune(&first, open, &mut watch, &stop)).unwrap();
    assert!(second.unwrap().to_string().contains("a run folder no process is using"));

    // Another recipe, other texts, another precision: refused by name, and allowed on demand.
    type Change = fn(&mut FinetuneOptions);
    let changed = |change: Change| {
        let mut options = FinetuneOptions { resume: true, ..options(&place, DType::F32, "out") };
        change(&mut options);
        options
    };
    let changes: [(Change, &str); 3] = [
        (|options| options.recipe.dropout = 0.2, "`recipe.dropout`"),
        (|options| options.train.examples[5].text.push_str(" w9"), "`train`"),
        (|options| options.seeds.push(9), "`seeds`"),
    ];
    for (change, named) in changes {
        let error = run(&gpu, &changed(change)).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let report = run(
        &gpu,
        &changed(|options| {
            options.recipe.dropout = 0.2;
            options.allow_changes = true;
        }),
    );
    assert_eq!(report.unwrap().steps, 40);
    // It is done: nothing of it is left to go on with, not even where removing was cut short.
    let done: PathBuf = place.path("out");
    assert!(!done.join("checkpoints").exists() && !done.join("best").exists());
    for _ in 0..2 {
        let error = run(&gpu, &changed(|_| ())).unwrap_err().to_string();
        assert!(error.contains("is done"), "{error}");
        fs::create_dir_all(done.join("checkpoints")).unwrap();
    }
}

/// What says which seed and epoch a step is of cannot change, whatever is allowed; seeds may follow.
#[test]
fn a_run_keeps_its_seeds_and_epochs() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    until(&gpu, &options(&place, DType::F32, "out"), 25);
    type Change = fn(&mut FinetuneOptions);
    let changed = |change: Change| {
        let out = options(&place, DType::F32, "out");
        let mut options = FinetuneOptions { resume: true, allow_changes: true, ..out };
        change(&mut options);
        options
    };
    let changes: [Change; 4] = [
        |options| options.recipe.epochs = 4,
        |options| options.recipe.batch = 32,
        |options| options.seeds = vec![7, 2],
        |options| options.evals[0].1.examples[0].text.push_str(" w9"),
    ];
    for change in changes {
        let error = run(&gpu, &changed(change)).unwrap_err().to_string();
        assert!(error.contains("start a new run"), "{error}");
    }
    // A best epoch that somebody removed is missed at once, and not at the end.
    let best = place.path("out/best");
    fs::rename(&best, place.path("away")).unwrap();
    let error = run(&gpu, &changed(|_| ())).unwrap_err().to_string();
    assert!(error.contains("the best epoch of a seed"), "{error}");
    fs::rename(place.path("away"), &best).unwrap();
    let report = run(&gpu, &changed(|options| options.seeds.push(9))).unwrap();
    assert_eq!((report.steps, report.seeds.len()), (60, 3));
}

/// A run that learns from pairs with hard negatives, some of the batch at once.
#[test]
fn a_run_with_hard_negatives_goes_on_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Contrastive, "text", Some("partner"), None);
    let names = ["negative", "other"].map(str::to_owned);
    let read = |shift: usize| {
        let word = |i: usize| format!("w{}", 10 + i % 45);
        let row = |i: usize| {
            let [a, b, c, d] = [i, i * 7 + 3, i + 1 + shift, i * 3].map(word);
            format!("{a} {b},{a} {a},{c} {b},{d} {c} {b}\n")
        };
        let rows: String = (0..80).map(row).collect();
        // A row that lacks a negative is left out.
        let rows = format!("text,partner,negative,other\n{rows}w20,w20,,w21\n");
        fs::write(place.path("negatives.csv"), rows).unwrap();
        let options = FileOptions { lenient: true, ..FileOptions::default() };
        let table = Table::read_with_negatives(&place.path("negatives.csv"), &by, &names, &options).unwrap();
        assert_eq!((table.examples.len(), table.lost.rows), (80, 1));
        assert_eq!(table.negatives[1][2], format!("w16 w{} w27", 13 + shift));
        table
    };
    let options = |out: &str| {
        let mut options = place.options(Task::Contrastive, &by, out);
        options.train = read(0);
        (options.recipe.batch, options.recipe.micro_batch, options.recipe.epochs) = (16, 5, 2);
        options
    };
    let whole = options("whole");
    let report = run(&gpu, &whole).unwrap();
    assert_eq!((report.steps, report.interrupted), (10, false));
    let card = fs::read_to_string(whole.out.join("README.md")).unwrap();
    assert!(card.contains("2 for each pair, beside those in the batch"), "{card}");
    let mut stopped = options("stopped");
    assert!((3..=4).contains(&until(&gpu, &stopped, 3).steps));
    stopped.resume = true;
    // Other negatives are another run.
    stopped.train = read(1);
    let error = run(&gpu, &stopped).unwrap_err().to_string();
    assert!(error.contains("train"), "{error}");
    stopped.train = read(0);
    until(&gpu, &stopped, u64::MAX);
    assert_same(&stopped.out, &whole.out, "hard negatives");
    // Without them it learns something else.
    let mut without = options("without");
    without.train.negatives.clear();
    run(&gpu, &without).unwrap();
    let weights = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
    assert_ne!(weights(&without.out), weights(&whole.out));
    let alone = columns(Task::Contrastive, "text", None, None);
    let error =
        Table::read_with_negatives(&place.path("negatives.csv"), &alone, &names, &FileOptions::default());
    assert!(error.unwrap_err().to_string().starts_with("pair-column"));
}
