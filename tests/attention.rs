//! Attention probabilities against PyTorch, and what the command makes of good and bad input.
//! `tests/golden/attention.py` makes the files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::path::{Path, PathBuf};

use common::golden::{Golden, close};
use common::hugging_face::golden_folder;
use common::program::command;
use safetensors::SafeTensors;
use serde_json::Value;
use wgrad::Error;
use wgrad::files::ModelFolder;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::attention::{AttentionReader, Probabilities};
use wgrad::models::Model;
use wgrad::text::Tokenizer;

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];
/// The largest difference allowed between probabilities.
const CLOSE: f32 = 1e-5;
const TOKENS: usize = 40;
const LENGTHS: [usize; 3] = [TOKENS, 23, 1];

/// A tensor of a golden file, as 32-bit words.
fn tensor<T: bytemuck::Pod>(file: &str, name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data())
}

/// Rows of the first `length` tokens sum to 1; everything else is exactly 0.
fn check_sums(found: &Probabilities, length: usize, what: &str) {
    for (at, row) in found.values.chunks(found.tokens).enumerate() {
        let (seen, padding) = row.split_at(length);
        assert!(padding.iter().all(|&p| p == 0.0), "{what}: row {at} looks at padding");
        let sum: f32 = seen.iter().sum();
        match at % found.tokens < length {
            true => assert!((sum - 1.0).abs() < 1e-5, "{what}: row {at} sums to {sum}"),
            false => assert!(seen.iter().all(|&p| p == 0.0), "{what}: padding {at} looks at something"),
        }
    }
}

/// The three golden sequences with their padding.
fn check_batch(reader: &mut AttentionReader, ids: &[u32], types: &[u32], prefix: &str) {
    let expected: Vec<f32> = tensor("attention.safetensors", &format!("{prefix}/probabilities"));
    let maps = expected.len() / 3;
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let what = format!("{prefix}, sequence {index}");
        let rows = index * TOKENS..(index + 1) * TOKENS;
        let types = if types.is_empty() { &[][..] } else { &types[rows.clone()] };
        let ids = &ids[rows];
        let found = pollster::block_on(reader.probabilities(ids, types, length)).unwrap();
        assert_eq!((found.layers, found.heads, found.tokens), (2, 2, TOKENS));
        close(&found.values, &expected[index * maps..][..maps], CLOSE, &what);
        check_sums(&found, length, &what);
        // Without the padding the rest is the same.
        let short = types.get(..length).unwrap_or_default();
        let alone = pollster::block_on(reader.probabilities(&ids[..length], short, length)).unwrap();
        let row = |at: usize| alone.values[at * length..][..length].to_vec();
        for (at, rows) in found.values.chunks(TOKENS * TOKENS).enumerate() {
            for (i, whole) in rows.chunks(TOKENS).take(length).enumerate() {
                close(&row(at * length + i), &whole[..length], CLOSE, &what);
            }
        }
        if prefix.starts_with("relative") {
            let expected: Vec<f32> = tensor("attention.safetensors", &format!("{prefix}/by_distance"));
            let count = expected.len() / 3;
            close(found.by_distance.as_ref().unwrap(), &expected[index * count..][..count], CLOSE, &what);
        } else {
            assert_eq!(found.by_distance, None);
        }
    }
}

#[test]
fn probabilities_of_a_hugging_face_bert_equal_pytorch() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let folder = ModelFolder::load(golden_folder()).unwrap();
        let mut reader = AttentionReader::open(&gpu, &folder).unwrap();
        let ids: Vec<u32> = tensor("hugging_face.safetensors", "input_ids");
        let types: Vec<u32> = tensor("hugging_face.safetensors", "token_type_ids");
        check_batch(&mut reader, &ids, &types, "bert");
    }
}

fn own(gpu: &Gpu, case: &str) -> AttentionReader {
    let golden = Golden::open(case);
    let model = Model::new(gpu, golden.config.clone(), false).unwrap();
    model.load(|name| Ok(golden.f32(&format!("weights/{name}")))).unwrap();
    AttentionReader::new(gpu, model, Tokenizer::from_bytes(common::folder::tokenizer(60)).unwrap()).unwrap()
}

#[test]
fn probabilities_of_own_models_equal_pytorch() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in ["relative_untied_mask", "absolute_untied_mask"] {
            let ids = Golden::open(case).u32("input_ids");
            check_batch(&mut own(&gpu, case), &ids, &[], case);
        }
    }
}

#[test]
fn probabilities_of_all_minilm_equal_transformers() {
    let Some(path) = common::minilm() else { return };
    let Some(gpu) = common::gpu() else { return };
    let mut reader = AttentionReader::open(&gpu, &ModelFolder::load(path).unwrap()).unwrap();
    let texts = [
        ("The quick brown fox jumps over the lazy dog.", None),
        ("How do I reset my password?", Some("Click on the link that we sent you.")),
    ];
    for (index, (first, second)) in texts.into_iter().enumerate() {
        let golden = |name: &str| format!("{index}/{name}");
        let found = pollster::block_on(reader.read(first, second)).unwrap();
        let ids: Vec<u32> = tensor("attention_minilm.safetensors", &golden("input_ids"));
        let types: Vec<u32> = tensor("attention_minilm.safetensors", &golden("token_type_ids"));
        assert_eq!(found.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), ids);
        assert_eq!(found.tokens.iter().map(|token| token.part as u32).collect::<Vec<_>>(), types);
        let expected: Vec<f32> = tensor("attention_minilm.safetensors", &golden("probabilities"));
        close(&found.probabilities.values, &expected, CLOSE, first);
        check_sums(&found.probabilities, ids.len(), first);
        // The text can be put together again from its tokens.
        let mut parts = [String::new(), String::new()];
        for token in found.tokens.iter().filter(|token| !token.special) {
            parts[token.part].push_str(if token.space_before { " " } else { "" });
            parts[token.part].push_str(&token.text);
        }
        assert_eq!(parts, [first, second.unwrap_or_default()]);
    }
}

#[test]
fn long_texts_are_cut_and_said_to_be() {
    let Some(gpu) = common::gpu() else { return };
    let words = |count: usize| vec!["w7"; count].join(" ");
    // 48 positions.
    let mut reader = own(&gpu, "absolute_untied_mask");
    let alone = pollster::block_on(reader.read(&words(100), None)).unwrap();
    assert_eq!((alone.tokens.len(), alone.truncated), (48, 54));
    let pair = pollster::block_on(reader.read(&words(5), Some(&words(100)))).unwrap();
    assert_eq!((pair.tokens.len(), pair.truncated), (48, 60));
    assert_eq!(pair.tokens.iter().filter(|token| token.part == 0).count(), 7);
    check_sums(&pair.probabilities, 48, "a pair");
    // Relative positions have no end, but pictures do.
    let mut reader = own(&gpu, "relative_untied_mask");
    assert_eq!(reader.longest(), 1024);
    let long = pollster::block_on(reader.read(&words(90), None)).unwrap();
    assert_eq!((long.tokens.len(), long.truncated), (92, 0));
    assert_eq!(long.probabilities.by_distance.unwrap().len(), 2 * 2 * 32);
    for (ids, length) in [(vec![], 0), (vec![5; 3], 0), (vec![5; 3], 4), (vec![5; 1025], 1025), (vec![60], 1)]
    {
        let found = pollster::block_on(reader.probabilities(&ids, &[], length));
        assert!(matches!(found, Err(Error::Shape { .. })), "{} ids, {length}: {found:?}", ids.len());
    }
}

/// Runs the program on the small BERT.
fn attention(arguments: &[&str], out: &Path) -> assert_cmd::assert::Assert {
    command(&["attention", "--model"]).arg(golden_folder()).args(arguments).arg("--out").arg(out).assert()
}

#[test]
fn bad_input_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name);
    std::fs::create_dir(out("folder.png")).unwrap();
    let cases: [(&[&str], PathBuf, &str); 8] = [
        (&["w7", "--layer", "2"], out("a.png"), "layer: expected 0 to 1, found 2"),
        (&["w7", "--head", "9"], out("a.png"), "head: expected 0 to 1, found 9"),
        (&["w7"], out("a.gif"), "ends in .png, .svg, .html or .json, found .gif"),
        (&["w7"], out("picture"), "found no ending"),
        (&["w7"], out("nowhere/a.png"), "found none: make it first"),
        (&["w7"], out("folder.png"), "a file to write, found a folder"),
        (&[""], out("a.png"), "text: expected at least one token, found an empty text"),
        (&["w7", " \n"], out("a.png"), "second text: expected at least one token"),
    ];
    if common::gpu().is_none() {
        return;
    }
    for (arguments, out, says) in cases {
        let told = attention(arguments, &out).code(1);
        let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        assert!(told.contains(says) && told.lines().count() == 1, "{arguments:?}: {told}");
    }
    let told = attention(&["w7", "--scale", "1000"], &out("a.png")).code(1);
    assert!(String::from_utf8_lossy(&told.get_output().stderr).contains("scale: expected at most"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn every_kind_of_file_is_written() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, begins) in [
        ("a.png", "\u{89}PNG"),
        ("a.svg", "<svg "),
        ("a.html", "<!doctype html>"),
        ("a.json", "{\"model\":\"hugging_face\""),
    ] {
        let out = dir.path().join(name);
        attention(&["w7 w8 w9", "w10", "--view", "rollout", "--theme", "dark"], &out).success();
        let bytes = std::fs::read(&out).unwrap();
        let start: String = bytes.iter().take(40).map(|&byte| char::from(byte)).collect();
        assert!(start.starts_with(begins), "{name}: {start}");
    }
    let json: Value = serde_json::from_slice(&std::fs::read(dir.path().join("a.json")).unwrap()).unwrap();
    let labels: Vec<&str> =
        json["tokens"].as_array().unwrap().iter().map(|token| token["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["[CLS]", "w7", "w8", "w9", "[SEP]", "w10", "[SEP]"]);
    let row = |value: &Value| value.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum::<f64>();
    assert!((row(&json["probabilities"][1][1][6]) - 1.0).abs() < 1e-5);
    assert!((row(&json["relevance"]) - 1.0).abs() < 1e-5);
    // One head without special tokens: what is left of it.
    let out = dir.path().join("b.json");
    attention(&["w7 w8", "--no-special", "--layer", "1", "--head", "0"], &out).success();
    let part: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(part["layers"], serde_json::json!([1]));
    assert_eq!(part["probabilities"][0][0].as_array().unwrap().len(), 2);
}
