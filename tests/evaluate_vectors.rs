//! `wgrad evaluate --task similarity` against scipy, and `--task retrieval` against a ranking that is computed here from the
//! vectors of `sentence-transformers`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::program::{error, json, run, stderr, stdout};
use common::pytorch::Tensors;
use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

/// Runs `wgrad evaluate` with the small random embedder.
fn evaluate(model: &Path, rest: &[&str]) -> std::process::Output {
    let command = ["evaluate", "--precision", "f32", "--model", model.to_str().unwrap()];
    run(&[&command[..], rest].concat(), "")
}

fn scores(model: &Path, rest: &[&str]) -> HashMap<String, f64> {
    let found = json(&["evaluate"], &evaluate(model, &[rest, &["--json"]].concat()));
    let scores = found["sets"][0]["scores"].as_object().unwrap();
    scores.iter().map(|(name, value)| (name.clone(), value.as_f64().unwrap())).collect()
}

#[test]
fn correlations_equal_those_of_scipy() {
    let Some(_) = common::gpu() else { return };
    let model = golden("sentence_transformers");
    let expected = golden_json("similarity.json");
    let dir = tempfile::tempdir().unwrap();
    for names in [["text1", "text2", "score"], ["sentence1", "sentence2", "score"]] {
        let mut table = names.join("\t") + "\n";
        for row in expected["rows"].as_array().unwrap() {
            let [a, b] = [0, 1].map(|at| row[at].as_str().unwrap());
            table += &format!("{a}\t{b}\t{}\n", row[2]);
        }
        let path = dir.path().join("sts.tsv");
        fs::write(&path, table).unwrap();
        let found = scores(&model, &["--task", "similarity", "--eval", path.to_str().unwrap()]);
        for name in ["spearman", "pearson"] {
            let (found, expected) = (found[name], expected[name].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-6, "{name}: {found} instead of {expected}");
        }
    }
    let path = dir.path().join("other.tsv");
    fs::write(&path, "a\tb\nx\ty\n").unwrap();
    let output = evaluate(&model, &["--task", "similarity", "--eval", path.to_str().unwrap()]);
    assert!(error(&output, 1).contains("`text1`"), "{}", stderr(&output));
}

const QUERIES: usize = 30;
const DOCUMENTS: usize = 120;

/// What is relevant for a query, with its gain.
fn relevant(query: usize) -> Vec<(usize, f64)> {
    (0..query % 4).map(|at| ((query * 17 + at * 29) % DOCUMENTS, 1.0 + (at % 2) as f64)).collect()
}

/// The measures by an order that is really sorted.
fn by_sorting(vectors: &[Vec<f64>]) -> HashMap<String, f64> {
    let (queries, documents) = vectors.split_at(QUERIES);
    let mut sums: HashMap<String, f64> = HashMap::new();
    let judged: Vec<usize> = (0..QUERIES).filter(|query| !relevant(*query).is_empty()).collect();
    for &query in &judged {
        let cosine =
            |document: &Vec<f64>| -> f64 { queries[query].iter().zip(document).map(|(a, b)| a * b).sum() };
        let mut order: Vec<usize> = (0..DOCUMENTS).collect();
        order.sort_by(|&a, &b| cosine(&documents[b]).total_cmp(&cosine(&documents[a])));
        let relevant: HashMap<usize, f64> = relevant(query).into_iter().collect();
        let gains: Vec<f64> = order.iter().map(|at| relevant.get(at).copied().unwrap_or(0.0)).collect();
        let discounted = |gains: &[f64]| -> f64 {
            gains.iter().take(10).enumerate().map(|(at, gain)| gain / (at as f64 + 2.0).log2()).sum()
        };
        let mut best = gains.clone();
        best.sort_by(|a, b| b.total_cmp(a));
        let first = 1 + gains.iter().position(|gain| *gain > 0.0).unwrap();
        let mut add = |name: &str, value: f64| *sums.entry(name.to_owned()).or_default() += value;
        for k in [1, 5, 10, 100] {
            let found = gains[..k].iter().filter(|gain| **gain > 0.0).count();
            add(&format!("recall@{k}"), found as f64 / relevant.len() as f64);
        }
        add("mrr", 1.0 / first as f64);
        add("mrr@10", if first <= 10 { 1.0 / first as f64 } else { 0.0 });
        add("ndcg@10", discounted(&gains) / discounted(&best));
    }
    sums.into_iter().map(|(name, sum)| (name, sum / judged.len() as f64)).collect()
}

#[track_caller]
fn same(found: &HashMap<String, f64>, expected: &HashMap<String, f64>) {
    assert_eq!(found.len(), 7);
    for (name, expected) in expected {
        assert!((found[name] - expected).abs() < 1e-12, "{name}: {} instead of {expected}", found[name]);
    }
}

/// A folder as BEIR has them of the golden texts; `before` stands in front of the queries and of the documents.
fn beir(dir: &Path, texts: &[String], before: [&str; 2]) {
    fs::create_dir_all(dir.join("qrels")).unwrap();
    let (queries, documents) = texts.split_at(QUERIES);
    let lines = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let document = |(at, text): (usize, &String)| json!({"_id": format!("d{at}"), "title": "", "text": format!("{}{text}", before[1])});
    let query = |(at, text): (usize, &String)| json!({"_id": format!("q{at}"), "text": format!("{}{text}", before[0])});
    let documents = documents[..DOCUMENTS].iter().enumerate().map(document).collect();
    fs::write(dir.join("corpus.jsonl"), lines(documents)).unwrap();
    fs::write(dir.join("queries.jsonl"), lines(queries.iter().enumerate().map(query).collect())).unwrap();
    let mut qrels = String::from("query-id\tcorpus-id\tscore\n");
    for query in 0..QUERIES {
        for (document, gain) in relevant(query) {
            qrels += &format!("q{query}\td{document}\t{gain}\n");
        }
        qrels += &format!("q{query}\td{}\t0\n", (query * 17 + 5) % DOCUMENTS);
    }
    fs::write(dir.join("qrels/test.tsv"), qrels).unwrap();
}

/// Texts that are trimmed already, none twice, and their vectors.
fn texts() -> (Vec<String>, Vec<Vec<f64>>) {
    let all: Vec<String> = serde_json::from_value(golden_json("sentences.json")).unwrap();
    let values = Tensors::open(&golden("sentence_transformers.safetensors")).f32("normalized");
    let vectors = values.chunks(values.len() / all.len());
    let mut texts: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for (text, vector) in all.into_iter().zip(vectors) {
        if text.len() > 30 && text.trim() == text && !texts.contains(&text) {
            texts.push(text);
            found.push(vector.iter().map(|&x| f64::from(x)).collect());
        }
    }
    assert!(texts.len() >= QUERIES + DOCUMENTS, "{}", texts.len());
    (texts, found)
}

#[test]
fn a_search_is_measured_as_by_sorting() {
    let Some(_) = common::gpu() else { return };
    let model = golden("sentence_transformers");
    let (texts, vectors) = texts();
    let dir = tempfile::tempdir().unwrap();
    beir(&dir.path().join("plain"), &texts, ["", ""]);
    let plain = dir.path().join("plain");
    let task = ["--task", "retrieval", "--data", plain.to_str().unwrap()];
    let expected = by_sorting(&vectors[..QUERIES + DOCUMENTS]);
    let found = scores(&model, &task);
    same(&found, &expected);
    assert!(found["recall@100"] > found["recall@10"] && found["mrr"] > found["mrr@10"], "{found:?}");
    let told = stdout(&evaluate(&model, &task));
    assert!(told.ends_with("(22 queries, 120 documents)\n"), "{told}");
    let report =
        json(&["evaluate"], &evaluate(&model, &[&task[..], &["--recall-at", "3", "--json"]].concat()));
    assert_eq!((&report["task"], &report["sets"][0]["unjudged"]), (&json!("retrieval"), &json!(8)));
    assert!(report["sets"][0]["scores"]["recall@3"].is_number());

    // Prompts, by their texts and by the names in the folder, stand before what they are for.
    let [query, document] = ["query: ", "a passage on the bridge: "];
    beir(&dir.path().join("prompted"), &texts, [query, document]);
    let prompted = dir.path().join("prompted");
    let expected = scores(&model, &["--task", "retrieval", "--data", prompted.to_str().unwrap()]);
    assert!(expected.iter().any(|(name, value)| (found[name] - value).abs() > 1e-6));
    let given = ["--query-prompt", query, "--document-prompt", document];
    same(&scores(&model, &[&task[..], &given].concat()), &expected);
    let named = dir.path().join("named");
    fs::create_dir_all(named.join("1_Pooling")).unwrap();
    fs::create_dir_all(named.join("2_Normalize")).unwrap();
    for entry in fs::read_dir(&model).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), named.join(entry.file_name())).unwrap();
    }
    fs::copy(model.join("1_Pooling/config.json"), named.join("1_Pooling/config.json")).unwrap();
    let prompts = json!({"prompts": {"query": query, "passage": document, "none": ""}});
    fs::write(named.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    let output = evaluate(&named, &task);
    assert!(stderr(&output).contains("`query: ` stands before queries"), "{}", stderr(&output));
    same(&scores(&named, &task), &expected);
    let none = ["--query-prompt-name", "none", "--document-prompt-name", "none"];
    same(&scores(&named, &[&task[..], &none].concat()), &found);
}

#[test]
fn a_search_is_measured_on_a_table() {
    let Some(_) = common::gpu() else { return };
    let model = golden("sentence_transformers");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("faq.jsonl");
    // Each finds itself, and one of the two its copy.
    let rows = [["the cat", "the cat"], ["nobody", "nobody"], ["nobody", "the winter"]];
    let rows = rows.map(|[query, answer]| json!({"question": query, "document": answer}).to_string() + "\n");
    fs::write(&path, rows.concat()).unwrap();
    let task = ["--task", "retrieval", "--eval", path.to_str().unwrap(), "--text-column", "question"];
    let found = scores(&model, &[&task[..], &["--recall-at", "1,3"]].concat());
    let expected = [("recall@1", 0.75), ("recall@3", 1.0), ("mrr", 1.0), ("mrr@10", 1.0)];
    expected.iter().for_each(|(name, value)| assert_eq!(found[*name], *value, "{name}"));

    for (rest, expected) in [
        (vec!["--task", "retrieval"], "--data DIR or --eval FILE"),
        (vec!["--task", "retrieval", "--data", dir.path().to_str().unwrap()], "no corpus"),
        (vec!["--task", "retrieval", "--eval", path.to_str().unwrap()], "`query`"),
        ([&task[..], &["--recall-at", "0"]].concat(), "recall-at: expected 1 or more"),
        ([&task[..], &["--query-prompt-name", "title"]].concat(), "prompt-name: expected"),
        ([&task[..], &["--predictions", "-"]].concat(), "predictions: expected none"),
    ] {
        let text = error(&evaluate(&model, &rest), 1);
        assert!(text.contains(expected), "{text}");
    }
    let output = evaluate(&model, &["--task", "search"]);
    assert!(stderr(&output).contains("`retrieval`, `similarity`"), "{}", stderr(&output));
}
