//! `wgrad tokenizer train` and `wgrad data prepare`, as a person runs them.

use std::fs;
use std::path::Path;
use std::process::Output;

use wgrad::data::{Dataset, Split};
use wgrad::text::Tokenizer;

use super::common::program;
use super::sentences;

fn wgrad(folder: &Path, arguments: &str) -> Output {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    program::command(&arguments).current_dir(folder).output().unwrap()
}

/// What it wrote, without a word on standard error.
fn stdout(output: &Output) -> String {
    assert_eq!(program::stderr(output), "");
    program::stdout(output)
}

fn error(output: &Output) -> String {
    program::error(output, 1)
}

#[test]
fn from_text_to_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let rows: Vec<_> = sentences(300).into_iter().map(|text| format!("\"{text}\",1")).collect();
    fs::write(path.join("a.csv"), format!("body,label\r\n{}\r\n", rows.join("\r\n"))).unwrap();

    let told = stdout(&wgrad(path, "tokenizer train a.csv --text-column body --vocab-size 300 --out tok"));
    assert!(told.contains("300 documents") && told.contains("301 carriage returns"), "{told}");
    let tokenizer = Tokenizer::load(path.join("tok")).unwrap();
    let output = wgrad(
        path,
        "tokenizer train a.csv --text-column body --vocab-size 300 --out tok2 --kind wordpiece --keep-case --json",
    );
    let json = program::json(&["tokenizer", "train"], &output);
    assert_eq!(json["read"]["documents"], 300);
    assert_ne!(Tokenizer::load(path.join("tok2")).unwrap().json(), tokenizer.json());

    let prepare = "data prepare a.csv --text-column body --tokenizer tok --seq-len 32 --held-out 10";
    let told = stdout(&wgrad(path, &format!("{prepare} --out out --join")));
    assert!(told.contains("unigram entropy") && told.contains("train "), "{told}");
    let output = wgrad(path, &format!("{prepare} --out out2 --seed 5 --json"));
    let json = program::json(&["data", "prepare"], &output);
    let dataset = Dataset::open(&[path.join("out2")]).unwrap();
    assert_eq!(json["train"]["sequences"], dataset.len(Split::Train));
    assert_eq!(json["unigram_entropy"].as_f64(), dataset.unigram_entropy());
    assert_eq!(json["read"]["carriage_returns"], 301);

    let told = stdout(&wgrad(path, &format!("{prepare} --out out3 --pack")));
    assert!(told.contains("segments packed") && told.contains("tokens of padding avoided"), "{told}");
    let output = wgrad(path, &format!("{prepare} --out out4 --pack --json"));
    let json = program::json(&["data", "prepare"], &output);
    let train = &json["train"];
    let [segments, sequences, avoided] =
        ["segments", "sequences", "padding_avoided"].map(|key| train[key].as_u64().unwrap());
    assert_eq!(avoided, (segments - sequences) * 32);
    let room = (sequences * 32) as f64;
    assert_eq!(train["fill"].as_f64().unwrap(), train["tokens"].as_u64().unwrap() as f64 / room);
    let both = wgrad(path, &format!("{prepare} --out out5 --pack --join"));
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn standard_input_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(200).join("\n\n");
    let arguments =
        ["tokenizer", "train", "-", "--documents", "blank-line", "--vocab-size", "300", "--out", "tok"];
    let output = program::command(&arguments).current_dir(folder.path()).write_stdin(text).output().unwrap();
    assert!(stdout(&output).contains("200 documents"));
}

#[test]
fn what_goes_wrong_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::tokenizer(path);
    fs::write(path.join("a.csv"), "text,label\na,1\nb\n").unwrap();
    fs::write(path.join("crlf.txt"), "a dog\r\na house\r\n").unwrap();
    let prepare = |rest: &str| wgrad(path, &format!("data prepare --tokenizer tok --out out {rest}"));
    assert!(error(&prepare("a.csv")).contains("a.csv, line 3: expected 2 columns, found 1"));
    assert!(error(&prepare("crlf.txt --strict")).contains("crlf.txt, line 1"));
    assert!(error(&prepare("missing.txt")).contains("missing.txt"));
    assert!(error(&prepare("crlf.txt --seq-len 3")).contains("seq-len"));
    assert!(error(&wgrad(path, "data prepare crlf.txt --tokenizer nowhere --out out")).contains("nowhere"));
    assert!(error(&wgrad(path, "tokenizer train crlf.txt --vocab-size 10 --out t")).contains("at least 256"));
    let names = || fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names().any(|name| name.contains("out")), "{:?}", names().collect::<Vec<_>>());
    for usage in
        ["data prepare", "data prepare crlf.txt --tokenizer tok --out out --held-out 1.5", "nonsense"]
    {
        assert_eq!(wgrad(path, usage).status.code(), Some(2), "{usage}");
    }
    for help in ["tokenizer train --help", "data prepare --help"] {
        assert!(stdout(&wgrad(path, help)).contains("Examples:"));
    }
}
