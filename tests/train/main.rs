//! Training runs around a trainer that needs no GPU: recipes, steps, files, faults, resuming.
#![allow(missing_docs, reason = "the names say it")]
#![allow(missing_debug_implementations, reason = "no other crate meets a test's types")]

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod device;
mod disk;
mod fit;
mod gpu;
#[cfg(unix)]
mod interrupt;
mod local_steps;
mod memory;
mod memory_saved;
mod outputs;
mod packing;
mod ranks;
mod resume;
mod settings;
mod skipping;
mod step_times;
mod toy;
mod tuning;
mod wire;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use wgrad::data::{Dataset, HeldOut, PrepareOptions, prepare};
use wgrad::text::{Tokenizer, TokenizerOptions};
use wgrad::train::metrics::Row;
use wgrad::train::{Event, RunOptions, Settings, Summary, TrainConfig, pretrain};
use wgrad::{Error, Result};

use toy::{Fault, Script};

/// Steps of the runs here: two and a half epochs.
pub const STEPS: u64 = 12;

/// A place with data in it.
pub struct Place {
    folder: TempDir,
    pub dataset: Arc<Dataset>,
}

impl Place {
    /// Data of `documents` sentences, `held_out` sequences of which are held out.
    pub fn with(documents: usize, held_out: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sentences: Vec<_> = (0..documents).map(sentence).collect();
        std::fs::write(folder.path().join("text.txt"), sentences.join("\n")).unwrap();
        let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
        let tokenizer = Tokenizer::train((0..200).map(|n| Ok(sentence(n))), &options).unwrap();
        tokenizer.save(folder.path().join("tok")).unwrap();
        let options = PrepareOptions {
            inputs: vec![folder.path().join("text.txt")],
            tokenizer: folder.path().join("tok"),
            out: folder.path().join("data"),
            seq_len: 16,
            held_out: HeldOut::Sequences(held_out),
            ..PrepareOptions::default()
        };
        prepare(&options, |_| {}).unwrap();
        let dataset = Arc::new(Dataset::open(&[folder.path().join("data")]).unwrap());
        Self { folder, dataset }
    }

    #[allow(clippy::new_without_default, reason = "a place on disk is no default")]
    pub fn new() -> Self {
        Self::with(44, 6)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A small recipe for the data.
    pub fn config(&self, changes: &[&str]) -> TrainConfig {
        let mut settings = Settings::preset("micro").unwrap();
        let small = [
            "model.hidden_size=16",
            "model.num_hidden_layers=1",
            "model.num_attention_heads=2",
            "model.intermediate_size=16",
            "model.initializer_range=0.3",
            "steps=12",
            "warmup_steps=2",
            "learning_rate=0.5",
            "batch_sequences=8",
            "micro_batch=4",
            "evaluate.every=5",
            "checkpoint.every=4",
            "checkpoint.minutes=0",
            "max_skipped=3",
        ];
        small.iter().chain(changes).for_each(|change| settings.set(change).unwrap());
        settings.for_data(&self.dataset).unwrap()
    }

    /// A new run in the folder `name`.
    pub fn options(&self, name: &str, changes: &[&str]) -> RunOptions {
        RunOptions {
            data: vec!["sentences".to_owned()],
            reopen_wait: Duration::ZERO,
            ..RunOptions::new(self.config(changes), self.dataset.clone(), self.path(name))
        }
    }
}

fn sentence(number: usize) -> String {
    const WORDS: [&str; 9] = ["the", "dog", "sees", "a", "small", "house", "and", "runs", "over"];
    // Mostly in this order, so that there is something to learn.
    let word = |at: usize| {
        let draw = wgrad::random::mix((number * 100 + at) as u64) as usize;
        WORDS[if draw.is_multiple_of(8) { draw / 8 } else { at + number } % WORDS.len()]
    };
    (0..10 + number % 4).map(word).collect::<Vec<_>>().join(" ")
}

/// What a run told.
#[derive(Default)]
pub struct Told {
    pub warnings: Vec<String>,
    pub steps: Vec<Row>,
    pub checkpoints: Vec<u64>,
    pub lost: u32,
    pub ready: Vec<u64>,
}

/// Runs with trainers that follow `script`, and stops when step `stop_after` was told of.
pub fn train_with(
    options: &RunOptions,
    script: &Rc<Script>,
    stop_after: Option<u64>,
) -> (Result<Summary>, Told) {
    let mut told = Told::default();
    let stop = AtomicBool::new(stop_after == Some(0));
    let mut watch = |event: Event<'_>| match event {
        Event::Ready { step, total_steps, device, .. } => {
            assert_eq!((total_steps, device), (options.config.plan().unwrap().total_steps(), "toy"));
            told.ready.push(step);
        }
        Event::Step(row) => {
            told.steps.push(*row);
            if stop_after == Some(row.step) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        Event::Checkpoint { step, path } => {
            assert!(options.store.exists(&path.join("model.safetensors")));
            told.checkpoints.push(step);
        }
        Event::Warning(text) => told.warnings.push(text),
        Event::DeviceLost { .. } => told.lost += 1,
        other => panic!("{other:?}"),
    };
    let open = async |config: &TrainConfig| Ok(script.open(config));
    let summary = pollster::block_on(pretrain(options, open, &mut watch, &stop));
    (summary, told)
}

/// Runs without a fault to the end.
pub fn train(options: &RunOptions) -> (Summary, Told) {
    let (summary, told) = train_with(options, &Script::new(|_, _| None), None);
    (summary.unwrap(), told)
}

/// Ends the process, as far as the files can tell, instead of `step`.
pub fn kill_at(options: &RunOptions, step: u64) -> Told {
    let script = Script::new(move |_, now| (now == step).then_some(Fault::Killed));
    let (ended, told) = train_with(options, &script, None);
    assert!(matches!(ended, Err(Error::Config { field, .. }) if field == "killed"));
    told
}

/// All that must not depend on interruptions: weights, optimizer, metrics without the columns of the clock.
#[derive(PartialEq)]
pub struct Outcome {
    files: Vec<(String, Vec<u8>)>,
    pub rows: Vec<String>,
    json_rows: Vec<String>,
}

pub fn result(out: &Path) -> Outcome {
    let checkpoint = out.join(format!("checkpoints/step-{STEPS:08}"));
    let files = [
        out.join("model.safetensors"),
        out.join("config.json"),
        out.join("tokenizer.json"),
        checkpoint.join("model.safetensors"),
        checkpoint.join("optimizer.safetensors"),
    ];
    let files = files.iter().map(|path| {
        let name = path.strip_prefix(out).unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    });
    let csv = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
    let rows = csv.lines().map(|line| line.rsplitn(3, ',').nth(2).unwrap().to_owned()).collect();
    let jsonl = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let json_rows = jsonl.lines().map(|line| {
        let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        row.retain(|key, _| !["seconds", "tokens_per_second"].contains(&key.as_str()));
        serde_json::to_string(&row).unwrap()
    });
    Outcome { files: files.collect(), rows, json_rows: json_rows.collect() }
}

/// Fails with the first thing that differs.
pub fn assert_same(one: &Outcome, other: &Outcome, what: &str) {
    assert_eq!(one.rows, other.rows, "{what}");
    assert_eq!(one.json_rows, other.json_rows, "{what}");
    for ((name, a), (_, b)) in one.files.iter().zip(&other.files) {
        assert!(a == b, "{name} differs: {what}");
    }
}
