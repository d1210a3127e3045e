//! Cross-encoders against `sentence-transformers`, and `wgrad rerank`. `tests/golden/cross_encoders.py` makes the files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::program::{error, json, run, stderr, stdout};
use common::pytorch::Tensors;
use serde_json::{Value, json};
use wgrad::files::{ModelFolder, SentenceFolder};
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{Classifier, EmbedOptions, Embedder, Reranker, longest_in};
use wgrad::models::{Pooling, Poolings};
use wgrad::store::Disk;
use wgrad::tensor::DType;

/// The largest difference allowed between scores.
const SCORE: f64 = 1e-5;
const QUERIES: [&str; 2] = ["the cat crossed the old bridge", ""];
/// Repeated four times, a query of more than half of the tokens that the models see.
const LONG: &str = "who repaired a broken clock in the morning? ";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn folder(name: &str) -> PathBuf {
    golden("cross_encoders").join(name)
}

/// A copy of a golden folder with other keys in its configuration; null removes one.
fn changed(name: &str, keys: Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(name)).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fs::write(path, config.to_string()).unwrap();
    dir
}

fn texts() -> Vec<String> {
    let all: Vec<String> = serde_json::from_slice(&fs::read(golden("sentences.json")).unwrap()).unwrap();
    all.into_iter().step_by(8).collect()
}

fn expected(name: &str) -> Vec<f32> {
    Tensors::open(&golden("cross_encoders.safetensors")).f32(name)
}

/// The scores of all texts for all queries, and how many pairs were cut.
fn scores(gpu: &Gpu, dir: &Path, class: Option<&str>) -> (Vec<f64>, usize) {
    let folder = ModelFolder::load(dir).unwrap();
    let mut reranker = Reranker::open(gpu, &folder, DType::F32, class).unwrap();
    let texts = texts();
    let queries = QUERIES.iter().map(|query| (*query).to_owned()).chain([LONG.repeat(4)]);
    let mut found = Vec::new();
    for query in queries {
        found.extend(pollster::block_on(reranker.score(&query, &texts, &mut |_| ())).unwrap());
    }
    let truncated = found.iter().filter(|found| found.truncated > 0).count();
    (found.iter().map(|found| found.score).collect(), truncated)
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= SCORE, "{what}, {at}: {found} instead of {expected}");
    }
}

#[test]
fn scores_equal_sentence_transformers() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let wide = |name: &str| expected(name).into_iter().map(f64::from).collect::<Vec<_>>();
        for name in ["bert", "xlm_roberta"] {
            let (found, truncated) = scores(&gpu, &folder(name), None);
            close(&found, &wide(name), name);
            assert!(truncated >= texts().len() && truncated < found.len(), "{truncated} pairs were cut");
        }
        let keys = json!({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}});
        let identity = changed("bert", keys);
        close(&scores(&gpu, identity.path(), None).0, &wide("bert_identity"), "bert_identity");
        // The two outputs of a model with two classes are logits there and a probability here.
        let logits = expected("bert_two logits");
        let shares = |class: usize| {
            let share = |pair: &[f32]| 1.0 / (1.0 + f64::from(pair[1 - class] - pair[class]).exp());
            logits.chunks(2).map(share).collect::<Vec<f64>>()
        };
        close(&scores(&gpu, &folder("bert_two"), None).0, &shares(1), "bert_two");
        close(&scores(&gpu, &folder("bert_two"), Some("LABEL_0")).0, &shares(0), "bert_two, LABEL_0");
    }
}

#[test]
fn texts_are_sorted_by_the_program() {
    let Some(_) = common::gpu() else { return };
    let dir = folder("bert");
    let model = dir.to_str().unwrap();
    let texts: Vec<String> = texts().into_iter().map(|text| text.replace(['\n', '\r'], " ")).collect();
    let scores = &expected("bert")[..texts.len()];
    let mut order: Vec<usize> = (0..texts.len()).filter(|&at| !texts[at].trim().is_empty()).collect();
    assert!(order.len() < texts.len(), "a text is blank");
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));

    let command = ["rerank", "--model", model, QUERIES[0], "-", "--precision", "f32"];
    let output = run(&[&command[..], &["--json"]].concat(), texts.join("\n"));
    assert!(stderr(&output).contains("they were truncated"), "{}", stderr(&output));
    let first = json(&["rerank"], &output);
    assert_eq!(first["index"], order[0]);
    let found: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indices: Vec<usize> = found.iter().map(|row| row["index"].as_u64().unwrap() as usize).collect();
    assert_eq!(indices, order);
    for row in &found {
        let index = row["index"].as_u64().unwrap() as usize;
        assert_eq!(row["text"], texts[index]);
        assert!((row["score"].as_f64().unwrap() - f64::from(scores[index])).abs() <= SCORE);
    }

    // Of a table the column that was named.
    let place = tempfile::tempdir().unwrap();
    let table = place.path().join("found.jsonl");
    let rows = texts.iter().map(|text| json!({"id": 1, "passage": text}).to_string() + "\n");
    fs::write(&table, rows.collect::<String>()).unwrap();
    let command = ["rerank", "--model", model, QUERIES[0], table.to_str().unwrap(), "--top", "3"];
    let plain =
        stdout(&run(&[&command[..], &["--text-column", "passage", "--precision", "f32"]].concat(), ""));
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines.len(), 3);
    for (line, &index) in lines.iter().zip(&order) {
        let (score, text) = line.split_once('\t').unwrap();
        assert_eq!(score, format!("{:.4}", scores[index]));
        assert_eq!(text, texts[index].replace('\t', " "));
    }
    // Equal texts keep their order, and nothing at all is nothing.
    let command = ["rerank", "--model", model, "--json", "q", "-"];
    let output = stdout(&run(&command, "the cat\n\nthe cat\n"));
    let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
    assert_eq!(output.lines().map(index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(stdout(&run(&command, "\n \n")), "");

    let two = folder("bert_two");
    let output = run(&["rerank", "--model", two.to_str().unwrap(), "q", "-"], "the cat\n");
    assert!(stderr(&output).contains("the probability of `LABEL_1`"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let Some(_) = common::gpu() else { return };
    let refused = |dir: &Path, rest: &[&str], expected: &str| {
        let command = [&["rerank", "--model", dir.to_str().unwrap(), "q", "-"], rest].concat();
        let text = error(&run(&command, "a\n"), 1);
        assert!(text.contains(expected), "{text}");
    };
    refused(&golden("hugging_face"), &[], "a cross-encoder, such as");
    refused(
        &golden("families/xlm_roberta"),
        &[],
        "(--label), found none, and the classes `LABEL_0`, `LABEL_1`",
    );
    refused(&folder("bert_two"), &["--label", "yes"], "one of the model's classes, `LABEL_0`, `LABEL_1`");
    refused(&folder("bert"), &["--label", "LABEL_0"], "the model has one output");
    let keys = json!({"sentence_transformers": {"activation_fn": "mine.Own"}});
    let own = changed("bert", keys);
    refused(own.path(), &[], "`sentence_transformers.activation_fn` to name an activation");
    let keys = json!({"sbert_ce_default_activation_function": 3});
    refused(changed("bert", keys).path(), &[], "`sbert_ce_default_activation_function` to name");
}

/// The way of the page, where an embedder asks the head.
#[test]
fn an_embedder_that_asks_the_head_says_what_a_classifier_says() {
    let Some(gpu) = common::gpu() else { return };
    let dir = folder("bert_two");
    let (model, texts) = (ModelFolder::load(&dir).unwrap(), texts());
    let mut classifier = Classifier::open(&gpu, &model, DType::F32).unwrap();
    let encoded: Vec<_> = texts.iter().map(|text| classifier.encode(text, None).unwrap()).collect();
    let outputs = pollster::block_on(classifier.outputs(&encoded, &mut |_| ())).unwrap();
    let options = EmbedOptions {
        classify: true,
        max_tokens: longest_in(&Disk, &dir, &model.config).unwrap(),
        ..Poolings::from(Pooling::Mean).into()
    };
    let asked = SentenceFolder::load(&dir).unwrap();
    let mut embedder = Embedder::open(&gpu, &asked, options.clone()).unwrap();
    let found = pollster::block_on(embedder.embed(&texts, &mut |_| ())).unwrap();
    assert_eq!((found.width, embedder.width()), (2, 2));
    assert!(found.truncated > 0 && found.rows().eq(outputs.iter().map(Vec::as_slice)));
    let without = SentenceFolder::load(golden("sentence_transformers")).unwrap();
    let error = Embedder::open(&gpu, &without, EmbedOptions { max_tokens: 32, ..options }).unwrap_err();
    assert!(error.to_string().contains("a head that classifies texts"), "{error}");
}
