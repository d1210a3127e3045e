//! Whole finetuning runs of a small model, from tables to folders and back.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod heads;
mod memory_saved;
mod ranks;
mod resume;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::golden::Golden;
use common::hugging_face::golden_folder;
use safetensors::tensor::Dtype;
use wgrad::data::task::{Columns, Table, Task};
use wgrad::files::{ModelFolder, SentenceFolder};
use wgrad::gpu::Gpu;
use wgrad::infer::{Classifier, EmbedOptions, Embedder, Verified, longest, verify};
use wgrad::models::Pooling;
use wgrad::store::Disk;
use wgrad::tensor::DType;
use wgrad::train::Event;
use wgrad::train::finetune::{
    FinetuneOptions, FinetuneReport, Metric, Rates, Recipe, RecipeName, columns, evaluate, finetune,
};

/// A folder with a small relative-position model, and tables beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        common::folder::folder(&place.path("model"), &Golden::open("relative_untied_mask"));
        // Texts with w7 are good, those with w8 bad; how many say how much.
        let row = |i: usize, label: bool| {
            let count = 1 + i % 3;
            let marks = vec![if label { "w7" } else { "w8" }; count].join(" ");
            let noise: Vec<_> = (0..i % 9).map(|k| format!("w{}", 10 + (i * 7 + k * 13) % 45)).collect();
            let signed = if label { count as i64 } else { -(count as i64) };
            (format!("{} {marks}", noise.join(" ")), signed)
        };
        for (name, rows) in [("train.csv", 0..160), ("dev.csv", 500..540)] {
            let mut text = String::from("text,label,score,partner\n");
            for i in rows {
                let (words, score) = row(i, i % 2 == 0);
                let partner = format!("w{} w{}", 10 + i % 45, 10 + i % 45);
                let label = if score > 0 { "good" } else { "bad" };
                text += &format!("w{} {words},{label},{score},{partner}\n", 10 + i % 45);
            }
            fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn table(&self, name: &str, columns: &Columns) -> Table {
        Table::read(&self.path(name), columns, &wgrad::data::FileOptions::default()).unwrap()
    }

    fn options(&self, task: Task, columns: &Columns, out: &str) -> FinetuneOptions {
        let recipe = Recipe {
            epochs: 3,
            rates: Rates::Cosine { peak: 3e-3, warmup: 0.1 },
            ..Recipe::new(RecipeName::Cramming, task)
        };
        FinetuneOptions {
            evals: vec![("dev".to_owned(), self.table("dev.csv", columns))],
            recipe,
            seeds: vec![3],
            ..FinetuneOptions::new(
                task,
                ModelFolder::load(self.path("model")).unwrap(),
                self.table("train.csv", columns),
                self.path(out),
            )
        }
    }
}

fn run(gpu: &Gpu, options: &FinetuneOptions) -> wgrad::Result<FinetuneReport> {
    let open = async || Ok(gpu.clone());
    pollster::block_on(finetune(options, open, &mut |_| (), &AtomicBool::new(false)))
}

fn score(report: &FinetuneReport, metric: Metric) -> f64 {
    let mut all = report.median.iter();
    all.find(|(_, name, _)| *name == metric.name()).and_then(|(_, _, value)| *value).unwrap()
}

/// Evaluates a finetuned folder.
fn measured(gpu: &Gpu, dir: &Path, task: Task, table: Table) -> Vec<(Metric, Option<f64>)> {
    let folder = ModelFolder::load(dir).unwrap();
    let sets = [("dev".to_owned(), table)];
    let mut found =
        pollster::block_on(evaluate(gpu, (&folder, DType::F32), task, &sets, &mut |_, _| ())).unwrap();
    found.remove(0).measured.scores
}

#[test]
fn classes_are_learned_saved_and_predicted() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", None, None);
    let options = FinetuneOptions { seeds: vec![1, 2, 3], ..place.options(Task::Classify, &by, "out") };
    let report = run(&gpu, &options).unwrap();
    assert!(report.saved && !report.interrupted);
    assert_eq!(report.seeds.len(), 3);
    assert_eq!(report.steps, 3 * 3 * 10);
    assert!(score(&report, Metric::Accuracy) >= 0.9, "{report:?}");
    let of = |seed: &wgrad::train::finetune::SeedReport| seed.scores[0].2.unwrap();
    assert!(report.seeds.is_sorted_by(|a, b| of(a) <= of(b)));
    assert_eq!(report.kept_seed, Some(report.seeds[1].seed));
    assert_eq!(score(&report, Metric::Accuracy), of(&report.seeds[1]));

    // What was saved gives the same scores.
    let out = place.path("out");
    let scores = measured(&gpu, &out, Task::Classify, place.table("dev.csv", &by));
    assert_eq!(scores[0], (Metric::Accuracy, report.seeds[1].scores[0].2));
    let folder = ModelFolder::load(&out).unwrap();
    assert_eq!(folder.config.labels, ["bad", "good"]);
    assert_eq!(folder.config.finetuning_task.as_deref(), Some("classify"));
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["label2id"], serde_json::json!({"bad": 0, "good": 1}));
    assert_eq!(config["architectures"][0], "WgradForSequenceClassification");
    assert_eq!(config["classifier_pooling"], "mean");

    let table = fs::read_to_string(out.join("predictions.tsv")).unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0], ["index", "prediction", "label", "probability"]);
    assert_eq!((lines.len(), lines[1][0], lines[40][0]), (41, "0", "39"));
    let right = lines[1..].iter().filter(|line| line[1] == line[2]).count();
    assert!((right as f64 / 40.0 - of(&report.seeds[1])).abs() < 1e-9);
    let mut model = Classifier::open(&gpu, &folder, DType::F32).unwrap();
    assert_eq!(model.longest(), 128);
    let texts = [("w7 w7 w20".to_owned(), None), ("w8".to_owned(), None), (String::new(), None)];
    let found = pollster::block_on(model.predict(&texts, &mut |_| ())).unwrap();
    assert_eq!(found[0].label.as_deref(), Some("good"));
    assert_eq!(found[1].label.as_deref(), Some("bad"));
    found.iter().for_each(|p| assert!((p.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9));

    let rows = fs::read_to_string(out.join("metrics.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + 90);
    assert!(rows.starts_with("seed,epoch,step,loss,lr,grad_norm,seconds,eval_loss,accuracy,f1,matthews"));
    assert_eq!(fs::read_to_string(out.join("metrics.jsonl")).unwrap().lines().count(), 90);
    assert!(fs::read_to_string(out.join("loss.svg")).unwrap().starts_with("<svg"));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for part in ["train.csv", "dev.csv", "classify (dev)", "accuracy, median of 3 seeds", "cramming"] {
        assert!(card.contains(part), "{part} is missing in {card}");
    }
    // A second run does not overwrite it.
    let error = run(&gpu, &options).unwrap_err().to_string();
    assert!(error.contains("choose another folder"), "{error}");

    // The head on the first token is another, and a finetuned model keeps its own.
    let first = FinetuneOptions {
        pooling: Some(Pooling::Cls),
        seeds: vec![1],
        ..place.options(Task::Classify, &by, "first")
    };
    assert!(score(&run(&gpu, &first).unwrap(), Metric::Accuracy) >= 0.9);
    let model = ModelFolder::load(place.path("first")).unwrap();
    assert_eq!(model.config.classifier_pooling, Pooling::Cls);
    let mut again = FinetuneOptions { model, seeds: vec![1], ..place.options(Task::Classify, &by, "again") };
    again.recipe.epochs = 1;
    run(&gpu, &again).unwrap();
    let model = ModelFolder::load(place.path("again")).unwrap();
    assert_eq!(model.config.classifier_pooling, Pooling::Cls);
}

#[test]
fn the_same_seed_is_the_same_model() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", None, None);
    let weights = |out: &str, seed: u64| {
        let mut options = place.options(Task::Classify, &by, out);
        (options.seeds, options.recipe.epochs) = (vec![seed], 1);
        run(&gpu, &options).unwrap();
        fs::read(place.path(out).join("model.safetensors")).unwrap()
    };
    let first = weights("a", 1);
    assert_eq!(first, weights("b", 1));
    assert_ne!(first, weights("c", 2));
}

#[test]
fn numbers_are_learned() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Regress, "text", None, Some("score"));
    let report = run(&gpu, &place.options(Task::Regress, &by, "out")).unwrap();
    assert!(score(&report, Metric::Pearson) > 0.8, "{report:?}");
    let scores = measured(&gpu, &place.path("out"), Task::Regress, place.table("dev.csv", &by));
    assert_eq!(scores[0], (Metric::Pearson, report.median[0].2));
    // It has no classes.
    let folder = ModelFolder::load(place.path("out")).unwrap();
    let sets = [("dev".to_owned(), place.table("dev.csv", &columns(Task::Classify, "text", None, None)))];
    let error =
        pollster::block_on(evaluate(&gpu, (&folder, DType::F32), Task::Classify, &sets, &mut |_, _| ()));
    assert!(error.err().unwrap().to_string().contains("one with 1 outputs"));
}

#[test]
fn pairs_longer_than_in_pretraining_are_learned_and_python_joins_them_alike() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", Some("partner"), None);
    let mut options = place.options(Task::Classify, &by, "out");
    (options.recipe.max_length, options.recipe.epochs) = (200, 1);
    let long = vec!["w9"; 150].join(" ");
    options.train.examples.iter_mut().for_each(|example| example.text = format!("{} {long}", example.text));
    run(&gpu, &options).unwrap();
    let out = place.path("out");
    // [CLS] a [SEP] b, without a last [SEP].
    let tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("tokenizer.json")).unwrap()).unwrap();
    assert_eq!(tokenizer["post_processor"]["pair"].as_array().unwrap().len(), 4);
    let folder = ModelFolder::load(&out).unwrap();
    assert_eq!(longest(&out, &folder.config).unwrap(), 200);
    let model = Classifier::open(&gpu, &folder, DType::F32).unwrap();
    assert_eq!(model.encode("w7 w8", Some("w9")).unwrap().ids, [0, 7, 8, 2, 9]);
}

/// The folder has reference vectors, and the device that trained it computes them again.
fn right(gpu: &Gpu, out: &Path) {
    let folder = SentenceFolder::load(out).unwrap();
    let mut embedder = Embedder::open(gpu, &folder, EmbedOptions::from(&folder)).unwrap();
    let found = pollster::block_on(verify(&Disk, &folder, &mut embedder)).unwrap();
    assert!(matches!(&found, Verified::Right(found) if found.difference < 1e-5), "{found:?}");
}

#[test]
fn embeddings_are_learned_from_pairs_and_from_texts_alone() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Contrastive, "text", Some("partner"), None);
    let mut options = place.options(Task::Contrastive, &by, "out");
    options.recipe.batch = 16;
    let report = run(&gpu, &options).unwrap();
    let learned = score(&report, Metric::Recall);
    assert!(learned > 0.2, "{report:?}");
    let out = place.path("out");
    let scores = measured(&gpu, &out, Task::Contrastive, place.table("dev.csv", &by));
    assert_eq!(scores, [(Metric::Recall, Some(learned))]);
    let before = measured(&gpu, &place.path("model"), Task::Contrastive, place.table("dev.csv", &by));
    assert!(before[0].1.unwrap() < learned, "{before:?} before, {learned} after");
    for file in ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"] {
        assert!(out.join(file).exists(), "{file}");
    }
    right(&gpu, &out);

    // SimCSE: texts are their own partners, and dropout tells them apart.
    let alone = columns(Task::Contrastive, "text", None, None);
    options.train = place.table("train.csv", &alone);
    options.out = place.path("alone");
    options.saved_as = DType::F16;
    let report = run(&gpu, &options).unwrap();
    assert!(report.saved);
    let halves = ModelFolder::load(&options.out).unwrap().weights;
    assert!(halves.names().all(|name| halves.dtype(name) == Some(Dtype::F16)));
    // Those of the weights that were saved, not of those that were trained.
    right(&gpu, &options.out);
    // Rounding may give a text or two another neighbour.
    let learned = score(&report, Metric::Recall);
    let found = measured(&gpu, &options.out, Task::Contrastive, place.table("dev.csv", &by));
    assert!((found[0].1.unwrap() - learned).abs() < 0.1, "{found:?} of f16, {learned} of f32");
    options.recipe.dropout = 0.0;
    options.out = place.path("nothing");
    assert!(run(&gpu, &options).unwrap_err().to_string().starts_with("dropout"));
}

#[test]
fn a_run_stopped_keeps_what_it_measured() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", None, None);
    let stopped = |out: &str, at: u64| {
        let stop = AtomicBool::new(false);
        let options = place.options(Task::Classify, &by, out);
        let mut watch = |event: Event<'_>| match event {
            Event::Step(row) if row.step == at => stop.store(true, Ordering::Relaxed),
            _ => {}
        };
        pollster::block_on(finetune(&options, async || Ok(gpu.clone()), &mut watch, &stop)).unwrap()
    };
    let early = stopped("early", 4);
    // The next step may have been under way.
    assert!(early.interrupted && !early.saved && (4..=5).contains(&early.steps));
    assert!(!place.path("early").join("model.safetensors").exists());
    let late = stopped("late", 14);
    assert!(late.interrupted && late.saved);
    assert_eq!(late.seeds[0].epoch, 1);
    ModelFolder::load(place.path("late")).unwrap();
    assert!(fs::read_to_string(place.path("late/README.md")).unwrap().contains("stopped before its end"));
}

#[test]
fn a_hugging_face_model_keeps_its_names_and_its_bounds() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", Some("partner"), None);
    let model = || ModelFolder::load(golden_folder()).unwrap();
    let mut options = FinetuneOptions { model: model(), ..place.options(Task::Classify, &by, "out") };
    let error = run(&gpu, &options).unwrap_err().to_string();
    assert!(error.contains("at most 48"), "{error}");
    (options.recipe.max_length, options.recipe.epochs) = (48, 1);
    // Its head in `transformers` reads the first token, whatever one would like.
    options.pooling = Some(Pooling::Mean);
    let error = run(&gpu, &options).unwrap_err().to_string();
    assert!(error.starts_with("pooling: expected cls"), "{error}");
    options.pooling = None;
    run(&gpu, &options).unwrap();
    let folder = ModelFolder::load(place.path("out")).unwrap();
    let names: Vec<&str> = folder.weights.names().collect();
    for name in ["bert.pooler.dense.weight", "classifier.weight", "classifier.bias"] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(!names.iter().any(|name| name.starts_with("cls.")));
    let text = fs::read_to_string(place.path("out/config.json")).unwrap();
    assert!(text.contains("BertForSequenceClassification") && text.contains("\"id2label\""), "{text}");
    // Pairs end in [SEP], and the second text is of type 1.
    let settings = fs::read_to_string(place.path("out/tokenizer_config.json")).unwrap();
    assert!(
        settings.contains("\"token_type_ids\"") && settings.contains("\"model_max_length\": 48"),
        "{settings}"
    );
    let encoded = Classifier::open(&gpu, &folder, DType::F32).unwrap().encode("w7", Some("w8 w9")).unwrap();
    assert_eq!(encoded.types, [0, 0, 0, 1, 1, 1]);
}

#[test]
fn the_notebooks_recipe_leaves_long_texts_out() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", None, None);
    let mut options = place.options(Task::Classify, &by, "out");
    options.recipe = Recipe { epochs: 1, max_length: 9, ..Recipe::new(RecipeName::Notebook, Task::Classify) };
    let mut warnings = Vec::new();
    let mut watch = |event: Event<'_>| {
        if let Event::Warning(text) = event {
            warnings.push(text);
        }
    };
    let open = async || Ok(gpu.clone());
    let report = pollster::block_on(finetune(&options, open, &mut watch, &AtomicBool::new(false))).unwrap();
    assert!(report.left_out > 0 && report.texts + report.left_out == 160, "{report:?}");
    assert!(warnings[0].contains("left out") && warnings[1].contains("are truncated"), "{warnings:?}");
    let folder = ModelFolder::load(place.path("out")).unwrap();
    assert!(!folder.weights.names().any(|name| name.contains("pooler")));
    assert_eq!(folder.config.classifier_pooling, Pooling::Cls);
}

#[test]
fn faults_are_told_before_anything_is_written() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let by = columns(Task::Classify, "text", None, None);
    let mut options = place.options(Task::Classify, &by, "out");
    options.evals[0].1.examples[3].label = Some("fine".to_owned());
    let error = run(&gpu, &options).unwrap_err().to_string();
    assert!(
        error.contains("dev.csv, line 5: expected one of the labels `bad`, `good`, found `fine`"),
        "{error}"
    );
    assert!(!place.path("out").exists());
    // A model that was not finetuned predicts nothing.
    let error = Classifier::open(&gpu, &options.model, DType::F32).err().unwrap().to_string();
    assert!(error.contains("a head that classifies texts"), "{error}");
}
