//! `wgrad embed`, `wgrad similarity` and `wgrad info`, as a person runs them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::hugging_face::golden_folder;
use common::program::{self, run, stderr, stdout};
use serde_json::{Value, json};

fn model() -> String {
    golden_folder().with_file_name("sentence_transformers").to_str().unwrap().to_string()
}

fn embed(rest: &[&str], input: &[u8]) -> Output {
    run(&[&["embed", "--model", &model()], rest].concat(), input)
}

/// The bytes that it wrote, which it did with success.
fn bytes(output: &Output) -> &[u8] {
    assert!(output.status.success(), "{}", stderr(output));
    &output.stdout
}

/// The vectors of a jsonl answer; checks the rest of it.
fn vectors(output: &Output, texts: &[&str]) -> Vec<Vec<f32>> {
    let text = stdout(output);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), texts.len());
    let parse = |(index, (line, text)): (usize, (&Value, &&str))| {
        assert_eq!((&line["index"], &line["text"]), (&json!(index), &json!(text)));
        // Each number has the digits of an f32, which nine always are.
        for number in line["embedding"].as_array().unwrap() {
            let digits = number.to_string().split('e').next().unwrap().replace(['-', '.'], "");
            assert!(digits.trim_start_matches('0').len() <= 9, "{number}");
        }
        serde_json::from_value(line["embedding"].clone()).unwrap()
    };
    lines.iter().zip(texts).enumerate().map(parse).collect()
}

/// Rows, columns and values of an `.npy` file.
fn matrix(bytes: &[u8]) -> (usize, usize, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = String::from_utf8(bytes[10..128].to_vec()).unwrap();
    assert!(header.contains("'descr': '<f4', 'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let sizes: Vec<usize> = shape.split(", ").map(|size| size.parse().unwrap()).collect();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[128..]);
    assert_eq!(values.len(), sizes[0] * sizes[1]);
    (sizes[0], sizes[1], values)
}

#[test]
fn texts_become_vectors_in_every_way() {
    if common::gpu().is_none() {
        return;
    }
    let texts = ["the cat watched", "", "São Paulo é incrível"];
    let given = vectors(&embed(&texts, b""), &texts);
    assert!(given.iter().all(|vector| vector.len() == 40));
    let lines = texts.join("\n");
    assert_eq!(vectors(&embed(&[], lines.as_bytes()), &texts), given);
    assert_eq!(vectors(&embed(&["--input", "-"], lines.as_bytes()), &texts), given);

    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    fs::write(place("texts.txt"), &lines).unwrap();
    let table = "id,sentence\n1,the cat watched\n2,\n3,São Paulo é incrível\n";
    fs::write(place("texts.csv"), table).unwrap();
    assert_eq!(vectors(&embed(&["--input", &place("texts.txt")], b""), &texts), given);
    let column = ["--input", &place("texts.csv"), "--text-column", "sentence"];
    assert_eq!(vectors(&embed(&column, b""), &texts), given);

    let flat = given.concat();
    let held = embed(&["--format", "npy"], lines.as_bytes());
    assert_eq!(matrix(bytes(&held)), (3, 40, flat.clone()));
    let file = place("vectors.npy");
    let written = embed(&["--output", &file], lines.as_bytes());
    assert!(stdout(&written).is_empty());
    assert_eq!(matrix(&fs::read(&file).unwrap()), (3, 40, flat));
    let file = place("vectors.jsonl");
    let written = embed(&["--output", &file], lines.as_bytes());
    assert!(stdout(&written).is_empty());
    assert_eq!(fs::read(&file).unwrap(), bytes(&embed(&[], lines.as_bytes())));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);

    // Nothing in, nothing out.
    assert!(stdout(&embed(&[], b"")).is_empty());
    assert_eq!(matrix(bytes(&embed(&["--format", "npy"], b""))), (0, 40, vec![]));

    let raw = vectors(&embed(&["--no-normalize", texts[0]], b""), &texts[..1]);
    let first = vectors(&embed(&["--pooling", "cls", texts[0]], b""), &texts[..1]);
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((norm(&given[0]) - 1.0).abs() < 1e-5 && (norm(&raw[0]) - 1.0).abs() > 0.1);
    assert!(raw[0].iter().zip(&given[0]).all(|(a, b)| (a / norm(&raw[0]) - b).abs() < 1e-5));
    assert!(first != given[..1]);
}

/// The golden folder in one that is called as a model is, with prompts of its own.
fn prompted(dir: &Path) -> String {
    let place = dir.join("e5-small-golden");
    let from = golden_folder().with_file_name("sentence_transformers");
    for folder in ["", "1_Pooling", "2_Normalize"] {
        fs::create_dir_all(place.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap().flatten().filter(|entry| entry.path().is_file())
        {
            fs::copy(entry.path(), place.join(folder).join(entry.file_name())).unwrap();
        }
    }
    let prompts =
        json!({"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": null});
    fs::write(place.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    place.to_str().unwrap().to_owned()
}

#[test]
fn prompts_and_lengths_are_asked_for() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let model = prompted(dir.path());
    let run = |more: &[&str]| run(&[&["embed", "--model", &model], more].concat(), "");
    let text = ["the cat watched"];
    let silent = |output: &Output| assert_eq!(stderr(output), "");
    let vector = |output: &Output, text: &[&str]| vectors(output, text);
    let written = run(&["query: the cat watched"]);
    silent(&written);
    let written = vector(&written, &["query: the cat watched"]);
    for asked in [["--prompt-name", "query"], ["--prompt", "query: "]] {
        let output = run(&[&asked[..], &text].concat());
        silent(&output);
        assert_eq!(vector(&output, &text), written);
    }
    let plain = run(&text);
    assert!(vector(&plain, &text) != written);
    let note = "note: E5 models were trained with `query: ` before queries and `passage: ` before documents; \
        these texts have neither: see --prompt-name query\n";
    assert_eq!(stderr(&plain), note);
    silent(&run(&["--prompt", "", "the cat watched"]));
    let unknown = run(&["--prompt-name", "title", "the cat watched"]);
    let because = "prompt-name: expected one of the model's prompts, `passage`, `query`, found `title`";
    assert!(!unknown.status.success() && stderr(&unknown).contains(because), "{}", stderr(&unknown));
    let info = stdout(&program::run(&["info", "--model", &model], ""));
    assert!(info.contains("passage: \"passage: \", query: \"query: \""), "{info}");

    let cut = &vector(&run(&[&["--dimensions", "16", "--prompt", ""], &text[..]].concat()), &text)[0];
    let whole = &vector(&plain, &text)[0];
    let norm = whole[..16].iter().map(|x| x * x).sum::<f32>().sqrt();
    assert_eq!(cut.len(), 16);
    assert!(cut.iter().zip(whole).all(|(a, b)| (a - b / norm).abs() < 1e-6));
    let long = run(&["--dimensions", "41", "the cat watched"]);
    assert!(
        !long.status.success() && stderr(&long).contains("dimensions: expected 1 to 40"),
        "{}",
        stderr(&long)
    );
    for pooling in ["max", "mean-sqrt-len", "weighted-mean", "last-token"] {
        let other = vector(&run(&[&["--pooling", pooling], &text[..]].concat()), &text);
        assert!(other[0].len() == 40 && other[0] != *whole, "{pooling}");
    }
}

#[test]
fn what_is_cut_or_put_right_is_said_once() {
    if common::gpu().is_none() {
        return;
    }
    let long = "cat ".repeat(200);
    let output = embed(&[], format!("{long}\nshort\n{long}\n").as_bytes());
    stdout(&output);
    let said = "note: 2 of 3 texts are longer than the 32 tokens that are seen; their ends were cut off\n";
    assert_eq!(stderr(&output), said);
    let output = embed(&["--max-tokens", "48"], b"a\xff\r\nb\n");
    stdout(&output);
    assert_eq!(
        stderr(&output),
        "note: 1 pieces of invalid UTF-8 replaced, 1 carriage returns made line ends\n"
    );
    let refused = embed(&["--strict"], b"a\xff\nb\n");
    assert!(!refused.status.success() && stderr(&refused).contains("--strict"), "{}", stderr(&refused));
}

#[test]
fn what_cannot_be_embedded_leaves_nothing_behind() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    fs::write(place("broken.jsonl"), "{\"text\": \"a\"}\n{\"other\": 1}\n").unwrap();
    let output = embed(&["--input", &place("broken.jsonl"), "--output", &place("out.npy")], b"");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("broken.jsonl, line 2: expected a field called `text`"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    for (arguments, says) in [
        (vec!["--input", "/nowhere/texts.txt"], "/nowhere/texts.txt: cannot read"),
        (vec!["--max-tokens", "49", "a"], "max-tokens: expected 3 to 48, found 49"),
        (
            vec!["--output", "/nowhere/out.npy", "a"],
            "/nowhere: expected a folder to write to, found none: make it first",
        ),
    ] {
        let output = embed(&arguments, b"");
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[test]
fn a_reference_is_made_and_this_device_is_held_against_it() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(golden_folder().join(name), dir.path().join(name)).unwrap();
    }
    let model = dir.path().to_str().unwrap();
    let embed = |rest: &[&str]| run(&[&["embed", "--model", model], rest].concat(), b"");
    let refused = |rest: &[&str], because: &str| {
        let said = stderr(&embed(rest));
        assert!(said.contains(because), "{said}");
    };
    refused(&["--verify"], "expected reference_vectors.json, found none; `wgrad embed --reference`");
    let made = program::json(&["embed"], &embed(&["--reference", "--json"]));
    let file = dir.path().join("reference_vectors.json");
    assert_eq!((&made["file"], &made["texts"], &made["width"]), (&json!(file), &json!(10), &json!(40)));
    let said = stdout(&embed(&["--verify"]));
    assert!(said.contains(" computes right: 10 texts"), "{said}");
    let found = program::json(&["embed"], &embed(&["--verify", "--json"]));
    assert_eq!((&found["precision"], &found["device"]), (&json!("f32"), &found["reference_device"]));
    // Every key stands in the help.
    let help = stdout(&run(&["embed", "--help"], b""));
    for key in [&made, &found].into_iter().flat_map(|answer| answer.as_object().unwrap().keys()) {
        assert!(help.contains(key), "no {key} in the help");
    }

    let text = fs::read_to_string(&file).unwrap();
    let other = text.replacen("\"vectors\":[[0.", "\"vectors\":[[9.", 1).replacen("[[-0.", "[[9.", 1);
    assert_ne!(other, text);
    fs::write(&file, other).unwrap();
    refused(&["--verify"], "computes wrong: expected the vectors of reference_vectors.json");
    refused(&["--verify", "a text"], "cannot be used with");
    refused(&["--reference", "--pooling", "cls"], "cannot be used with");
    refused(&["--verify", "--memory", "1GB"], "cannot be used with");
    refused(&["--json", "a text"], "--json goes with --reference or --verify");
}

#[test]
fn similar_texts_are_found_similar() {
    if common::gpu().is_none() {
        return;
    }
    let texts = ["the cat watched the garden", "the cat watched the garden", "[SEP] 日本語"];
    let model = model();
    let arguments = [&["similarity", "--model", &model, "--json"], &texts[..]].concat();
    let answer = program::json(&["similarity"], &run(&arguments, b""));
    let cosine = |a: usize, b: usize| answer["cosine"][a][b].as_f64().unwrap();
    assert_eq!(answer["texts"], json!(texts));
    assert!((cosine(0, 1) - 1.0).abs() < 1e-6 && (cosine(2, 2) - 1.0).abs() < 1e-6);
    assert!(cosine(0, 2) < 0.99 && cosine(0, 2) == cosine(2, 0));
    let arguments = [&["similarity", "--model", &model], &texts[..]].concat();
    let table = stdout(&run(&arguments, b""));
    assert!(table.lines().count() == 4 && table.contains("1  the cat watched the garden  1.000  1.000"));
}

#[test]
fn a_model_is_described_without_a_gpu() {
    let info =
        |model: &str| -> Value { program::json(&["info"], &run(&["info", "--model", model, "--json"], b"")) };
    let answer = info(&model());
    assert_eq!(answer["architecture"], "BertModel");
    assert_eq!(
        (&answer["family"], &answer["width"], &answer["head"]),
        (&json!("bert"), &json!(40), &json!("none"))
    );
    let prompts = ["document", "query"].map(|name| json!({"name": name, "prompt": ""}));
    let embedding = json!({"pooling": "mean", "normalize": true, "max_tokens": 32, "described": true, "width": 40,
        "layers": [], "dimensions": null, "include_prompt": true, "prompts": prompts, "default_prompt": null});
    assert_eq!(answer["embedding"], embedding);
    assert_eq!(answer["tokenizer"]["cls"], 2);
    let answer = info(golden_folder().to_str().unwrap());
    assert_eq!(
        (&answer["head"], &answer["pooler"], &answer["context"]),
        (&json!("tied"), &json!(true), &json!(48))
    );
    assert_eq!(answer["parameters"], 37013);
    let table = run(&["info", "--model", golden_folder().to_str().unwrap()], b"");
    let table = stdout(&table);
    assert!(table.contains("parameters    37,013\n"), "{table}");
    assert!(table.contains("architecture  BertForPreTraining (bert)\n"), "{table}");
    let missing = run(&["info", "--model", "/nowhere"], b"");
    assert!(!missing.status.success() && stderr(&missing).contains("/nowhere"));
}
