//! `wgrad tokenizer train` and `wgrad data prepare`, as a person runs them.

use std::fs;
use std::path::Path;
use std::process::Output;

use wgrad::data::{Dataset, Split};
use wgrad::store::FolderLock;
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
    assert!(
        error(&wgrad(path, "tokenizer train crlf.txt --vocab-size 10 --out t"))
            .contains("expected 256 to 1048576")
    );
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

#[test]
fn pieces_are_shown_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    super::tokenizer(folder.path());
    let text = "The d\u{f3}g\nruns";
    let show = |more: &[&str]| {
        let arguments = [&["tokenizer", "show", "--tokenizer", "tok", text], more].concat();
        program::command(&arguments).current_dir(folder.path()).output().unwrap()
    };
    let json = program::json(&["tokenizer", "show"], &show(&["--json"]));
    let tokenizer = Tokenizer::load(folder.path().join("tok")).unwrap();
    let pieces = json["pieces"].as_array().unwrap();
    let ids: Vec<u64> = pieces.iter().map(|piece| piece["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, tokenizer.encode(text).unwrap().into_iter().map(u64::from).collect::<Vec<_>>());
    let parts: Vec<&str> = pieces.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
    assert_eq!(parts.concat(), text.replace(' ', ""));
    let told = stdout(&show(&[]));
    assert!(told.lines().any(|line| line.contains("\\n") && line.contains("8..9")), "{told}");
}

#[test]
fn info_says_what_any_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::tokenizer(path);
    fs::write(path.join("a.txt"), sentences(200).join("\n")).unwrap();
    fs::write(path.join("a.csv"), "body,label\nx,1\n").unwrap();
    fs::write(path.join("rows.json"), "[{\"body\": \"x\", \"n\": 1}]").unwrap();
    fs::write(path.join("a.bin"), [0; 64]).unwrap();
    fs::create_dir(path.join("texts")).unwrap();
    fs::write(path.join("texts/a.txt"), "x").unwrap();
    fs::write(path.join("texts/a.doc"), "x").unwrap();
    stdout(&wgrad(path, "data prepare a.txt --tokenizer tok --seq-len 32 --out data"));
    let info = |name: &str| program::json(&["info"], &wgrad(path, &format!("info {name} --json")));
    assert_eq!(info("tok")["kind"], "tokenizer");
    assert_eq!(info("tok/tokenizer.json")["vocab_size"], info("data")["vocab_size"]);
    let data = info("data/train-00000.bin");
    assert_eq!((&data["kind"], &data["seq_len"]), (&"data folder".into(), &32.into()));
    assert_eq!(
        data["train"]["sequences"].as_u64().unwrap() + data["held_out"]["sequences"].as_u64().unwrap(),
        200
    );
    assert_eq!(info("a.csv")["columns"], serde_json::json!(["body", "label"]));
    assert_eq!(info("rows.json")["columns"], serde_json::json!(["body", "n"]));
    assert_eq!(info("a.txt")["kind"], "plain text");
    assert_eq!(info("texts")["passed_over"][0], "texts/a.doc (of no known kind)");
    let told = stdout(&wgrad(path, "info a.csv"));
    assert!(told.contains("values separated by commas") && told.contains("body, label"), "{told}");
    // What is no file of this program, or gives what it has once, is told and never waited on.
    assert!(error(&wgrad(path, "info a.bin")).contains("no dataset.json beside it"));
    #[cfg(unix)]
    assert!(error(&wgrad(path, "info /dev/null")).contains("a pipe or device"));
}

/// `-` is the standard output of every command that writes an output.
#[test]
fn batches_go_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::tokenizer(path);
    fs::write(path.join("a.txt"), sentences(300).join("\n")).unwrap();
    stdout(&wgrad(path, "data prepare a.txt --tokenizer tok --seq-len 32 --out data"));
    let batches = "pretrain --preset micro --data data --steps 3 --set batch_sequences=8 --set warmup_steps=1 \
                   --set model.hidden_size=32 --set model.num_attention_heads=2 --init-only --out run --dump-batches";
    let output = wgrad(path, &format!("{batches} -"));
    assert!(output.status.success(), "{}", program::stderr(&output));
    let again = wgrad(path, &format!("{batches} file").replace("--out run", "--out other"));
    assert!(again.status.success(), "{}", program::stderr(&again));
    assert!(!path.join("-").exists());
    let file = fs::read(path.join("file")).unwrap();
    assert!(output.stdout.starts_with(&file) && file.len() > 1000);
}

#[test]
fn fault_52_a_tokenizer_takes_no_models_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.txt"), sentences(50).join("\n")).unwrap();
    fs::create_dir(path.join("model")).unwrap();
    for name in ["tokenizer.json", "model.safetensors"] {
        fs::write(path.join("model").join(name), "good").unwrap();
    }
    let train = "tokenizer train a.txt --vocab-size 300 --out";
    let told = error(&wgrad(path, &format!("{train} model")));
    assert!(told.contains("found one with `model.safetensors`, `tokenizer.json`"), "{told}");
    assert_eq!(fs::read(path.join("model/tokenizer.json")).unwrap(), b"good");
    stdout(&wgrad(path, &format!("{train} model --force")));
    assert_ne!(fs::read(path.join("model/tokenizer.json")).unwrap(), b"good");
    assert_eq!(fs::read(path.join("model/model.safetensors")).unwrap(), b"good");
    // Its own is replaced.
    stdout(&wgrad(path, &format!("{train} tok")));
    stdout(&wgrad(path, &format!("{train} tok")));
    // As a kill leaves it: before its list was written, and in the middle of the file itself.
    let whole = fs::read(path.join("tok/tokenizer.json")).unwrap();
    for left in ["tokenizer.json", ".tokenizer.json.0123456789abcdef.wgrad-partial"] {
        fs::remove_dir_all(path.join("tok")).unwrap();
        fs::create_dir(path.join("tok")).unwrap();
        fs::write(path.join("tok").join(left), &whole[..100]).unwrap();
        fs::write(path.join("tok/lock"), "12 wgrad\n").unwrap();
        stdout(&wgrad(path, &format!("{train} tok")));
        assert_eq!(fs::read(path.join("tok/tokenizer.json")).unwrap(), whole);
        let mut names: Vec<_> =
            fs::read_dir(path.join("tok")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["checksums.json", "tokenizer.json"]);
    }
}

#[test]
fn training_on_texts_says_how_they_are_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("wiki.txt"), "a\n").unwrap();
    let told =
        error(&wgrad(path, "pretrain --preset micro --out run --data hf:wikimedia/wikipedia:20231101.pt"));
    assert!(told.contains("tokenizer train hf:wikimedia/wikipedia:20231101.pt --out tok && "), "{told}");
    assert!(told.contains("--tokenizer tok --out data/20231101.pt, then --data data/20231101.pt"), "{told}");
    let told = error(&wgrad(path, "pretrain --from some/model --out run --data wiki.txt"));
    assert!(told.contains("data prepare wiki.txt --tokenizer some/model --out data/wiki, then"), "{told}");
}

#[test]
fn a_folder_for_a_vocabulary_is_taken_before_the_texts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tok");
    let train = "tokenizer train missing.txt --vocab-size 300 --out tok";
    fs::create_dir(&out).unwrap();
    let held = FolderLock::acquire(&out).unwrap();
    let told = error(&wgrad(folder.path(), train));
    assert!(told.contains("using it"), "{told}");
    held.remove(&out);
    fs::remove_dir(&out).unwrap();
    // Nothing is left of one that came to nothing.
    let told = error(&wgrad(folder.path(), train));
    assert!(told.contains("missing.txt") && !out.exists(), "{told}");
}

#[test]
fn a_preparation_that_fails_says_what_becomes_of_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // More than is read at once with so little memory.
    let text = |count: usize| (sentences(count).join("\n") + "\n").repeat(60);
    fs::write(path.join("text.txt"), text(1500)).unwrap();
    fs::write(path.join("bad.parquet"), "no Parquet").unwrap();
    stdout(&wgrad(path, "tokenizer train text.txt --vocab-size 300 --out tok"));
    let prepare = "--tokenizer tok --seq-len 32 --save-every 0 --memory 70MB --out out";
    let failed = wgrad(path, &format!("data prepare text.txt bad.parquet {prepare}"));
    let told = program::stderr(&failed);
    assert!(!failed.status.success() && told.contains("the same command goes on from it"), "{told}");
    let told = program::stderr(&wgrad(path, &format!("data prepare text.txt {prepare}")));
    assert!(told.contains("goes on from ") && !told.contains("anew"), "{told}");
    // With other texts nobody is told of what is not taken over.
    let failed = wgrad(path, &format!("data prepare text.txt bad.parquet --seed 1 {prepare}2"));
    assert!(!failed.status.success());
    fs::write(path.join("text.txt"), text(1400)).unwrap();
    let told = program::stderr(&wgrad(path, &format!("data prepare text.txt --seed 1 {prepare}2")));
    assert!(told.contains("anew") && told.contains("the texts have changed"), "{told}");
    assert!(!told.contains("goes on from"), "{told}");
}
