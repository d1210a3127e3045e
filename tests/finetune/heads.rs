//! Finetuning to label words, to several labels of a text, and with classes that count differently.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad::data::FileOptions;
use wgrad::data::task::{Table, Task, WordColumns};
use wgrad::files::ModelFolder;
use wgrad::infer::{Classifier, TokenClassifier};
use wgrad::models::Head;
use wgrad::tensor::DType;
use wgrad::train::Event;
use wgrad::train::finetune::{ClassWeights, FinetuneOptions, Metric, columns, finetune};

use crate::resume::assert_same;
use crate::{Place, common, measured, run, score};

/// Adds a table of words, where w7 w6 and w8 w9 are entities, and one of several labels.
fn place() -> Place {
    let place = Place::new();
    for (name, rows) in [("train", 0..160), ("dev", 500..540)] {
        let (mut words, mut topics) = (String::new(), String::from("text,label\n"));
        for i in rows {
            let (noise, other) = (10 + i % 45, 10 + (i * 13) % 45);
            let (first, second, tag) = if i % 3 == 0 { (8, 9, "B-LOC") } else { (7, 6, "B-PER") };
            words += &format!("w{noise} O\nw{first} {tag}\nw{second} I{}\nw{other} O\n\n", &tag[1..]);
            let marks = ["w7", "w8", "w7 w8", "w9"][i % 4];
            topics += &format!("w{noise} {marks} w{other},\"{}\"\n", ["x", "y", "x,y", ""][i % 4]);
        }
        fs::write(place.path(&format!("{name}.conll")), words).unwrap();
        fs::write(place.path(&format!("{name}-topics.csv")), topics).unwrap();
    }
    place
}

fn words(place: &Place, name: &str) -> Table {
    Table::read_words(&place.path(name), &WordColumns::default(), &FileOptions::default()).unwrap()
}

fn options(place: &Place, task: Task, out: &str) -> FinetuneOptions {
    let by = columns(Task::Classify, "text", None, None);
    let base = place.options(Task::Classify, &by, out);
    let (train, dev) = match task {
        Task::Tokens => (words(place, "train.conll"), words(place, "dev.conll")),
        _ => {
            let by = columns(task, "text", None, None);
            let read = |name| Table::read(&place.path(name), &by, &FileOptions::default()).unwrap();
            (read("train-topics.csv"), read("dev-topics.csv"))
        }
    };
    FinetuneOptions { task, train, evals: vec![("dev".to_owned(), dev)], ..base }
}

#[test]
fn labels_of_words_are_learned_saved_and_gone_on_with() {
    let Some(gpu) = common::gpu() else { return };
    let place = place();
    let mut learned = options(&place, Task::Tokens, "out");
    learned.recipe.epochs = 6;
    let report = run(&gpu, &learned).unwrap();
    assert!(score(&report, Metric::F1) > 0.9, "{report:?}");
    let folder = ModelFolder::load(place.path("out")).unwrap();
    assert_eq!(folder.config.head(), Some(Head::TokenClassifier));
    assert_eq!(folder.config.architectures, ["WgradForTokenClassification"]);
    assert_eq!(folder.config.labels, ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]);
    let scores = measured(&gpu, &place.path("out"), Task::Tokens, words(&place, "dev.conll"));
    assert_eq!(scores[0], (Metric::F1, report.median[0].2));
    let names: Vec<_> = scores.iter().map(|(metric, _)| metric.name()).collect();
    assert_eq!(names, ["f1", "precision", "recall", "accuracy"]);
    let mut model = TokenClassifier::open(&gpu, &folder, DType::F32).unwrap();
    let found = pollster::block_on(model.predict(&["w20 w7 w6 w30", ""], &mut |_| ())).unwrap();
    let spans: Vec<_> =
        found[0].entities.iter().map(|span| (span.label.as_str(), span.start, span.end)).collect();
    assert_eq!(spans, [("PER", 4, 9)]);
    assert!(found[1].entities.is_empty());
    let error = Classifier::open(&gpu, &folder, DType::F32).unwrap_err().to_string();
    assert!(error.contains("a head that classifies texts"), "{error}");
    let card = fs::read_to_string(place.path("out").join("README.md")).unwrap();
    assert!(card.contains("pipeline_tag: token-classification"), "{card}");

    // A model that labels words already keeps its labels and its head: at a rate that changes nothing it knows as much.
    let mut again = options(&place, Task::Tokens, "again");
    again.model = folder;
    again.train.examples.retain(|example| !example.labels().contains(&"B-LOC".to_owned()));
    again.recipe.rates = wgrad::train::finetune::Rates::PerEpoch(vec![1e-12]);
    again.recipe.epochs = 1;
    let kept = run(&gpu, &again).unwrap();
    assert_eq!(score(&kept, Metric::F1), score(&report, Metric::F1));
    // To labels of texts it begins anew.
    let other = FinetuneOptions { model: again.model, ..options(&place, Task::MultiLabel, "other") };
    run(&gpu, &other).unwrap();
    // What no tag of training says is refused where it stands.
    let mut unknown = options(&place, Task::Tokens, "unknown");
    unknown.evals[0].1.examples[3].label = Some("[\"O\",\"B-ORG\",\"O\",\"O\"]".to_owned());
    let error = run(&gpu, &unknown).unwrap_err().to_string();
    assert!(error.contains("`B-ORG`") && error.contains("line 16"), "{error}");
    let mut pooled = options(&place, Task::Tokens, "pooled");
    pooled.pooling = Some(wgrad::models::Pooling::Mean);
    assert!(run(&gpu, &pooled).unwrap_err().to_string().contains("the head reads every token"));
}

#[test]
fn several_labels_are_learned() {
    let Some(gpu) = common::gpu() else { return };
    let place = place();
    let mut options = options(&place, Task::MultiLabel, "out");
    options.recipe.epochs = 5;
    let report = run(&gpu, &options).unwrap();
    assert!(score(&report, Metric::MicroF1) > 0.9 && score(&report, Metric::ExactMatch) > 0.8, "{report:?}");
    let folder = ModelFolder::load(place.path("out")).unwrap();
    let mut model = Classifier::open(&gpu, &folder, DType::F32).unwrap();
    let texts = ["w20 w7 w8 w21", "w20 w9 w21", "w7"].map(|text| (text.to_owned(), None));
    let found = pollster::block_on(model.predict(&texts, &mut |_| ())).unwrap();
    let labels: Vec<_> = found.iter().map(|found| found.labels.clone().unwrap()).collect();
    assert_eq!(labels, [vec!["x", "y"], vec![], vec!["x"]]);
    let mut progress = |_, _| ();
    let asked = (&folder, DType::F32);
    let error = wgrad::train::finetune::evaluate(&gpu, asked, Task::Classify, &options.evals, &mut progress);
    let error = pollster::block_on(error).unwrap_err().to_string();
    assert!(error.contains("one that gives several labels"), "{error}");
}

#[test]
fn a_stopped_run_of_each_new_objective_goes_on_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = place();
    let classes = |out: &str| {
        let by = columns(Task::Classify, "text", None, None);
        let mut options = place.options(Task::Classify, &by, out);
        options.recipe.class_weights = ClassWeights::Given(vec![("good".to_owned(), 3.0)]);
        options
    };
    let balanced = |out: &str| {
        let mut options = options(&place, Task::Tokens, out);
        options.recipe.class_weights = ClassWeights::Balanced;
        options
    };
    let several = |out: &str| options(&place, Task::MultiLabel, out);
    for name in ["classes", "words", "labels"] {
        let of = |out: String| {
            let mut options = match name {
                "classes" => classes(&out),
                "words" => balanced(&out),
                _ => several(&out),
            };
            (options.recipe.epochs, options.recipe.micro_batch) = (2, 5);
            options
        };
        let whole = of(format!("whole-{name}"));
        run(&gpu, &whole).unwrap();
        let mut stopped = of(format!("stopped-{name}"));
        for at in [4, 13] {
            let stop = AtomicBool::new(false);
            let mut watch = |event: Event<'_>| match event {
                Event::Step(row) if row.step == at => stop.store(true, Ordering::Relaxed),
                _ => {}
            };
            let open = async || Ok(gpu.clone());
            let report = pollster::block_on(finetune(&stopped, open, &mut watch, &stop)).unwrap();
            assert!(report.interrupted && (at..=at + 1).contains(&report.steps), "{name}");
            stopped.resume = true;
        }
        run(&gpu, &stopped).unwrap();
        assert_same(&stopped.out, &whole.out, name);
    }
}
