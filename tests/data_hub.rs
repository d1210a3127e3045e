//! Data sets by name, from a hub on this machine; every command of the guide's journeys that asks a hub.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use common::hub_server::{COMMIT, CONVERTED, Elsewhere, HubServer, Manner, PROPOSED, Repositories, hash};
use common::hugging_face::golden_folder;
use common::program::{error, json as said, stderr, stdout};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use tempfile::TempDir;

/// A file with columns of texts, and labels where some are given.
fn table(columns: &[(&str, Vec<String>)], labels: Option<Vec<i64>>) -> Vec<u8> {
    let mut schema = String::from("message table {\n");
    columns.iter().for_each(|(name, _)| schema += &format!("required binary {name} (UTF8);\n"));
    if labels.is_some() {
        schema += "required int64 label;\n";
    }
    let schema = Arc::new(parse_message_type(&(schema + "}")).unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::builder().build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, texts) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
    }
    if let Some(labels) = labels {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn sentence(number: usize) -> String {
    const WORDS: [&str; 9] = ["o", "cão", "vê", "uma", "casa", "pequena", "e", "corre", "depressa"];
    let word = |at: usize| WORDS[(number * (at + 2) + at * at) % 9];
    (0..6 + number % 5).map(word).collect::<Vec<_>>().join(" ")
}

fn sentences(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(sentence).collect()
}

/// The columns of a task on the hub.
fn columns(task: &str) -> &'static [&'static str] {
    match task {
        "cola" | "sst2" => &["sentence"],
        "mnli" => &["premise", "hypothesis"],
        "qnli" => &["question", "sentence"],
        "qqp" => &["question1", "question2"],
        _ => &["sentence1", "sentence2"],
    }
}

const TASKS: [&str; 9] = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"];

/// The repositories of the guide's two journeys, and one that the hub converted.
fn repositories() -> Repositories {
    let wiki = |from| table(&[("title", sentences(from, 40)), ("text", sentences(from, 40))], None);
    let mut wikipedia = HashMap::from([("README.md".to_owned(), b"wiki".to_vec())]);
    for language in ["pt", "de"] {
        for number in 0..2 {
            let name = format!("20231101.{language}/train-{number:05}-of-00002.parquet");
            wikipedia.insert(name, wiki(number * 40 + language.len()));
        }
    }
    let mut glue = HashMap::new();
    for task in TASKS {
        let labels =
            |count: usize| (0..count).map(|n| (n % if task == "mnli" { 3 } else { 2 }) as i64).collect();
        let part = |from: usize, count: usize| {
            let texts =
                columns(task).iter().zip(0..).map(|(name, i)| (*name, sentences(from + 7 * i, count)));
            table(&texts.collect::<Vec<_>>(), Some(labels(count)))
        };
        let mut put = |split: &str, from, count| {
            glue.insert(format!("{task}/{split}-00000-of-00001.parquet"), part(from, count));
        };
        put("train", 0, 24);
        put("test", 100, 5);
        match task {
            "mnli" => ["validation_matched", "validation_mismatched"].map(|split| put(split, 50, 6)),
            _ => [put("validation", 50, 6), ()],
        };
    }
    let converted = HashMap::from([
        ("default/train/0000.parquet".to_owned(), wiki(0)),
        ("default/partial-test/0000.parquet".to_owned(), wiki(9)),
    ]);
    let proposed = HashMap::from([("20231101.pt/train-00000-of-00001.parquet".to_owned(), wiki(500))]);
    let own = |files| HashMap::from([(COMMIT.to_owned(), files)]);
    let mut wikipedia = own(wikipedia);
    wikipedia.insert(PROPOSED.to_owned(), proposed);
    let mut csv = own(HashMap::from([("train.csv".to_owned(), b"text\na\n".to_vec())]));
    csv.insert(CONVERTED.to_owned(), converted);
    HashMap::from([
        ("datasets/wikimedia/wikipedia".to_owned(), wikipedia),
        ("datasets/nyu-mll/glue".to_owned(), own(glue)),
        ("datasets/someone/table".to_owned(), csv),
    ])
}

struct Place {
    hub: HubServer,
    folder: TempDir,
}

impl Place {
    fn new(manner: Manner) -> Self {
        Place { hub: HubServer::start(repositories(), manner), folder: tempfile::tempdir().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.hub.command(self.folder.path(), arguments);
        command.env("HF_HUB_DOWNLOAD_TIMEOUT", "2").output().unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Files asked for, without the lists.
    fn asked(&self) -> usize {
        self.hub.requests().iter().filter(|(path, ..)| path.contains("/resolve/")).count()
    }
}

const WIKIPEDIA: [&str; 7] =
    ["data", "fetch", "hf:wikimedia/wikipedia", "--config", "20231101.pt", "--out", "wiki"];

#[test]
fn a_set_is_fetched_once() {
    let place = Place::new(Manner::default());
    let answer = said(&["data", "fetch"], &place.run(&[&WIKIPEDIA[..], &["--json"]].concat()));
    let names: Vec<_> = answer["files"].as_array().unwrap().iter().map(|file| file["name"].clone()).collect();
    assert_eq!(names, ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]);
    assert_eq!((&answer["commit"], &answer["config"]), (&json!(COMMIT), &json!("20231101.pt")));
    let bytes =
        &repositories()["datasets/wikimedia/wikipedia"][COMMIT]["20231101.pt/train-00001-of-00002.parquet"];
    assert_eq!(&fs::read(place.path().join("wiki/train-00001-of-00002.parquet")).unwrap(), bytes);
    assert_eq!(fs::read_dir(place.path().join("wiki")).unwrap().count(), 2);
    assert_eq!(place.asked(), 2);
    // What is there and right stays; what is wrong is a person's own.
    stdout(&place.run(&WIKIPEDIA));
    assert_eq!(place.asked(), 2);
    fs::write(place.path().join("wiki/train-00000-of-00002.parquet"), "mine").unwrap();
    let told = place.run(&WIKIPEDIA);
    assert!(stderr(&told).contains("found another file") && !told.status.success(), "{}", stderr(&told));
    assert_eq!(fs::read(place.path().join("wiki/train-00000-of-00002.parquet")).unwrap(), b"mine");
}

#[test]
fn lines_that_break_and_fall_silent_are_taken_up() {
    let manner = || Manner {
        breaks: vec![1000, 10],
        stalls: vec![500],
        redirect: Some(Elsewhere::Port),
        token: Some("hf_secret".into()),
        ..Manner::default()
    };
    let place = Place::new(manner());
    let mut command = place.hub.command(place.path(), &WIKIPEDIA);
    let output = command.env("HF_HUB_DOWNLOAD_TIMEOUT", "2").env("HF_TOKEN", "hf_secret").output().unwrap();
    stdout(&output);
    let bytes =
        &repositories()["datasets/wikimedia/wikipedia"][COMMIT]["20231101.pt/train-00000-of-00002.parquet"];
    assert_eq!(&fs::read(place.path().join("wiki/train-00000-of-00002.parquet")).unwrap(), bytes);
    let asked = place.hub.requests();
    assert!(
        asked
            .iter()
            .any(|(path, range, _)| path.starts_with("/storage/") && range.as_deref() == Some("bytes=500-"))
    );
    assert!(asked.iter().all(|(path, _, token)| *token != path.starts_with("/storage/")), "{asked:?}");
    // Killed in the middle: a part of this very version is gone on with.
    let place = Place::new(Manner::default());
    let part = format!(".train-00000-of-00002.parquet.{}.incomplete", &hash("a.parquet", bytes)[..16]);
    fs::create_dir(place.path().join("wiki")).unwrap();
    fs::write(place.path().join("wiki").join(part), &bytes[..700]).unwrap();
    stdout(&place.run(&WIKIPEDIA));
    assert!(place.hub.requests().iter().any(|(_, range, _)| range.as_deref() == Some("bytes=700-")));
    assert_eq!(&fs::read(place.path().join("wiki/train-00000-of-00002.parquet")).unwrap(), bytes);
    assert_eq!(fs::read_dir(place.path().join("wiki")).unwrap().count(), 2);
}

#[test]
fn what_cannot_be_fetched_is_told() {
    let place = Place::new(Manner::default());
    let fetch = |arguments: &[&str]| {
        let output = place.run(&[&["data", "fetch"], arguments, &["--out", "x"]].concat());
        let said = stderr(&output);
        assert!(!output.status.success() && said.trim_end().lines().count() == 1, "{said}");
        said
    };
    let told = fetch(&["hf:wikimedia/wikipedia"]);
    assert!(told.contains("--config with one of 20231101.de, 20231101.pt"), "{told}");
    let told = fetch(&["hf:wikimedia/wikipedia", "--config", "20231101.xx"]);
    assert!(told.contains("--config with one of 20231101.de, 20231101.pt"), "{told}");
    let told = fetch(&["hf:wikimedia/wikipedia", "--config", "20231101.pt", "--split", "dev"]);
    assert!(told.contains("one of the splits train"), "{told}");
    let told = fetch(&["hf:nobody/nothing"]);
    assert!(told.contains("404") && told.contains("no such data set"), "{told}");
    assert!(fetch(&["wikimedia/wikipedia"]).contains("hf:wikimedia/wikipedia:20231101.pt"));
    let place = Place::new(Manner { token: Some("x".into()), ..Manner::default() });
    let told = error(&place.run(&WIKIPEDIA), 1);
    assert!(
        told.contains("401") && told.contains("the data set does not exist, or is not for everybody"),
        "{told}"
    );
}

#[test]
fn sets_of_other_formats_are_taken_as_the_hub_converts_them() {
    let place = Place::new(Manner::default());
    stdout(&place.run(&["data", "fetch", "hf:someone/table", "--out", "table"]));
    let files = ["train.parquet", "test.parquet"].map(|name| fs::read(place.path().join("table").join(name)));
    let converted = &repositories()["datasets/someone/table"][CONVERTED];
    assert_eq!(files[0].as_ref().unwrap(), &converted["default/train/0000.parquet"]);
    assert_eq!(files[1].as_ref().unwrap(), &converted["default/partial-test/0000.parquet"]);
    stdout(&place.run(&["data", "fetch", "hf:someone/table", "--split", "test", "--out", "part"]));
    assert_eq!(fs::read_dir(place.path().join("part")).unwrap().count(), 1);
}

#[test]
fn commands_take_sets_by_name() {
    let place = Place::new(Manner::default());
    let wiki = "hf:wikimedia/wikipedia:20231101.pt";
    stdout(&place.run(&[
        "tokenizer",
        "train",
        wiki,
        "--vocab-size",
        "300",
        "--keep-accents",
        "--out",
        "tok",
    ]));
    let prepare = ["data", "prepare", wiki, "--tokenizer", "tok", "--seq-len", "16", "--out", "data"];
    let read = said(&["data", "prepare"], &place.run(&[&prepare[..], &["--json"]].concat()))["read"].clone();
    assert_eq!((&read["files"], &read["documents"]), (&json!(2), &json!(80)));
    // Both were fetched by the first command.
    assert_eq!(place.asked(), 2);
    let told = error(&place.run(&["data", "prepare", "hf:a/b:c:d:e", "--tokenizer", "tok", "--out", "y"]), 1);
    assert!(told.contains("expected a data set such as"), "{told}");
}

#[test]
fn revisions_have_slashes() {
    let place = Place::new(Manner::default());
    let proposed = "hf:wikimedia/wikipedia@refs/pr/4";
    let fetch = ["data", "fetch", proposed, "--config", "20231101.pt", "--out", "wiki", "--json"];
    let answer = said(&["data", "fetch"], &place.run(&fetch));
    assert_eq!((&answer["commit"], answer["files"].as_array().unwrap().len()), (&json!(PROPOSED), 1));
    // Each revision has a folder of its own in the cache.
    for (revision, documents) in [("@refs/pr/4", 40), ("", 80), ("@refs/pr/4", 40)] {
        let texts = format!("hf:wikimedia/wikipedia{revision}:20231101.pt");
        let golden = golden_folder();
        let prepare = ["data", "prepare", &texts, "--tokenizer", golden.to_str().unwrap()];
        let prepare = [&prepare[..], &["--seq-len", "16", "--out", "data", "--json"]].concat();
        let answer = said(&["data", "prepare"], &place.run(&prepare));
        assert_eq!(answer["read"]["documents"], json!(documents), "{answer}");
        fs::remove_dir_all(place.path().join("data")).unwrap();
    }
    let folder = place.path().join("wgrad/datasets/wikimedia--wikipedia/refs%2Fpr%2F4/20231101.pt");
    assert!(folder.join("train.parquet").is_file());
    assert_eq!(place.asked(), 1 + 1 + 2);
    let told = error(&place.run(&["data", "fetch", "hf:wikimedia/wikipedia@../x", "--out", "x"]), 1);
    assert!(told.contains("expected a data set such as"), "{told}");
}

/// The journey from Wikipedia, with the model made small.
#[test]
fn the_journey_from_wikipedia_runs() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new(Manner::default());
    stdout(&place.run(&WIKIPEDIA));
    stdout(&place.run(&[
        "tokenizer",
        "train",
        "wiki/",
        "--vocab-size",
        "300",
        "--keep-accents",
        "--out",
        "tok",
    ]));
    stdout(&place.run(&[
        "data",
        "prepare",
        "wiki/",
        "--tokenizer",
        "tok",
        "--seq-len",
        "16",
        "--pack",
        "--out",
        "d",
    ]));
    let small = [
        "--set",
        "model.hidden_size=32",
        "--set",
        "model.num_hidden_layers=1",
        "--set",
        "model.num_attention_heads=2",
        "--set",
        "model.intermediate_size=32",
        "--set",
        "batch_sequences=8",
    ];
    let train =
        ["pretrain", "--preset", "notebook", "--data", "d", "--micro-batch", "auto", "--memory", "22GB"];
    let short = ["--steps", "3", "--set", "ramp=constant"];
    stdout(&place.run(&[&train[..], &short, &small, &["--dry-run"]].concat()));
    stdout(&place.run(&[&train[..], &short, &small, &["--out", "run"]].concat()));
    assert!(stdout(&place.run(&["fill-mask", "--model", "run", "o cão [MASK] casa"])).contains("casa"));
}

/// A split that is named need not be one of those that are looked for where none is.
#[test]
fn any_split_can_be_named() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new(Manner::default());
    let model = golden_folder();
    let own = ["finetune", "--task", "classify", "--model", model.to_str().unwrap(), "--epochs", "1"];
    let files = ["--train", "hf:nyu-mll/glue:sst2:validation", "--eval", "hf:nyu-mll/glue:sst2:train"];
    let rest = ["--text-column", "sentence", "--max-length", "16", "--out", "own"];
    stdout(&place.run(&[&own[..], &files, &rest].concat()));
}

/// GLUE's nine tasks from nothing.
#[test]
fn glues_nine_tasks_run() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new(Manner::default());
    let model = golden_folder();
    let model = model.to_str().unwrap();
    for task in TASKS {
        let out = format!("runs/{task}");
        let arguments =
            ["finetune", "--task", task, "--model", model, "--data", "hf:nyu-mll/glue", "--out", &out];
        let output = place.run(&[&arguments[..], &["--epochs", "1", "--max-length", "16"]].concat());
        stdout(&output);
    }
    // Test sets, whose labels are secret, are left where they are.
    assert!(!place.hub.requests().iter().any(|(path, ..)| path.contains("test-00000")));
    let eval = ["evaluate", "--task", "mrpc", "--model", "runs/mrpc"];
    stdout(&place.run(&[&eval[..], &["--data", "hf:nyu-mll/glue"]].concat()));
    let one = ["--eval", "hf:nyu-mll/glue:mrpc"];
    let answer = said(&["evaluate"], &place.run(&[&eval[..], &one, &["--json"]].concat()));
    assert_eq!(answer["sets"][0]["texts"], 6);
    let own = ["finetune", "--task", "classify", "--model", model, "--out", "own", "--epochs", "1"];
    let files = ["--train", "hf:nyu-mll/glue:sst2", "--eval", "hf:nyu-mll/glue:sst2:validation"];
    stdout(&place.run(&[&own[..], &files, &["--text-column", "sentence", "--max-length", "16"]].concat()));
    fs::write(place.path().join("reviews.txt"), "o cão vê uma casa\n").unwrap();
    stdout(&place.run(&["predict", "--model", "runs/sst2", "--input", "reviews.txt"]));
    stdout(&place.run(&["data", "fetch", "hf:nyu-mll/glue", "--config", "mrpc", "--out", "glue/mrpc"]));
    stdout(&place.run(&[&eval[..], &["--data", "glue/mrpc"]].concat()));
}
