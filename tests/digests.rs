//! Fault 55: what this crate wrote is compared with its checksums whenever it is opened.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use wgrad::data::{Dataset, HeldOut, PrepareOptions, prepare};
use wgrad::files::{ModelFolder, SentenceFolder, TensorSource};
use wgrad::models::Config;
use wgrad::nn::initial_values;
use wgrad::random::mix;
use wgrad::store::{Disk, checksums};
use wgrad::text::{Tokenizer, TokenizerOptions};

fn sentence(number: usize) -> String {
    let word = |at: usize| format!("word{}", mix((number * 100 + at) as u64) % 50);
    (0..8 + number % 4).map(word).collect::<Vec<_>>().join(" ")
}

fn tokenizer() -> Tokenizer {
    let options = TokenizerOptions { vocab_size: 300, ..TokenizerOptions::default() };
    Tokenizer::train((0..200).map(|n| Ok(sentence(n))), &options).unwrap()
}

fn model(dir: &Path, tokenizer: &Tokenizer) {
    let specials = *tokenizer.specials();
    let config = Config {
        vocab_size: tokenizer.vocab_size(),
        pad_token_id: specials.pad,
        cls_token_id: specials.cls,
        sep_token_id: specials.sep,
        mask_token_id: specials.mask,
        ..Config::preset("micro").unwrap()
    };
    let specs = config.parameters();
    let shapes = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    let values = TensorSource::new(shapes, |name| {
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        Ok(initial_values(spec, 0).into())
    });
    ModelFolder::save(&Disk, dir, &config, tokenizer, values, "# A model\n").unwrap();
}

/// A model's, a tokenizer's and a data folder.
fn folders(place: &Path) -> [PathBuf; 3] {
    let [model_dir, tok, data] = ["model", "tok", "data"].map(|name| place.join(name));
    let tokenizer = tokenizer();
    tokenizer.save(&tok).unwrap();
    model(&model_dir, &tokenizer);
    let text = place.join("text.txt");
    fs::write(&text, (0..80).map(sentence).collect::<Vec<_>>().join("\n")).unwrap();
    let options = PrepareOptions {
        inputs: vec![text],
        tokenizer: tok.clone(),
        out: data.clone(),
        seq_len: 16,
        held_out: HeldOut::Sequences(6),
        pack: true,
        ..PrepareOptions::default()
    };
    prepare(&options, |_| ()).unwrap();
    [model_dir, tok, data]
}

/// Opens what lies in a folder as every command does.
fn open(folder: &Path) -> wgrad::Result<()> {
    match folder.file_name().unwrap().to_str().unwrap() {
        "model" => SentenceFolder::load(folder).map(drop),
        "tok" => Tokenizer::load(folder).map(drop),
        _ => Dataset::open(&[folder.to_path_buf()]).map(drop),
    }
}

#[test]
fn fault_55_any_bit_that_changes_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let folders = folders(place.path());
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in &folders {
        open(folder).unwrap();
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(names.filter(|path| !path.ends_with("README.md") && !path.ends_with("checksums.json")));
    }
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    let (mut noticed, flips) = (0, 300);
    for flip in 0..flips {
        let path = &files[flip % files.len()];
        let good = fs::read(path).unwrap();
        let at = mix(flip as u64) as usize % (8 * good.len());
        let mut bad = good.clone();
        bad[at / 8] ^= 1 << (at % 8);
        fs::write(path, &bad).unwrap();
        let told = open(path.parent().unwrap()).expect_err(&format!("bit {at} of {}", path.display()));
        fs::write(path, &good).unwrap();
        let named = path.to_str().unwrap();
        assert!(told.to_string().starts_with(named), "bit {at} of {named}: {told}");
        noticed += 1;
    }
    assert_eq!(noticed, flips);
    folders.iter().for_each(|folder| open(folder).unwrap());
}

#[test]
fn fault_55_what_was_changed_on_purpose_is_told_with_the_way_to_go_on() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("model");
    model(&dir, &tokenizer());
    // Another tokenizer, put there by hand.
    let mut json = fs::read(dir.join("tokenizer.json")).unwrap();
    json.push(b'\n');
    fs::write(dir.join("tokenizer.json"), json).unwrap();
    let told = ModelFolder::load(&dir).unwrap_err().to_string();
    for part in ["tokenizer.json: expected checksum", "if that was meant to be, remove", "--no-verify"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    ModelFolder::load_with(&Disk, &dir, false).unwrap();
    fs::remove_file(dir.join("checksums.json")).unwrap();
    ModelFolder::load(&dir).unwrap();
    // Saved again it is whole, and so is a file that the list knows and the model does not need.
    model(&dir, &tokenizer());
    fs::write(dir.join("special_tokens_map.json"), "{}").unwrap();
    checksums::enlist(&Disk, &dir, &["special_tokens_map.json"]).unwrap();
    model(&dir, &tokenizer());
    ModelFolder::load(&dir).unwrap();
    fs::remove_file(dir.join("special_tokens_map.json")).unwrap();
    let told = ModelFolder::load(&dir).unwrap_err().to_string();
    assert!(told.contains("special_tokens_map.json: expected the file that checksums.json lists"), "{told}");
}

#[test]
fn fault_55_a_card_may_change() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("model");
    model(&dir, &tokenizer());
    assert_eq!(ModelFolder::load(&dir).unwrap().note(), None);
    fs::write(dir.join("README.md"), "# Mine\n").unwrap();
    let note = ModelFolder::load(&dir).unwrap().note().unwrap();
    assert!(note.contains("README.md has changed since it was saved"), "{note}");
    fs::remove_file(dir.join("README.md")).unwrap();
    assert_eq!(ModelFolder::load(&dir).unwrap().note(), None);
}

#[test]
fn fault_55_a_list_leads_nowhere_else() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("model");
    model(&dir, &tokenizer());
    fs::write(place.path().join("secret"), "theirs").unwrap();
    let list = dir.join("checksums.json");
    let good = fs::read_to_string(&list).unwrap();
    for name in ["../secret", "/etc/hostname"] {
        let entry = format!(r#""files":{{"{name}":{{"bytes":6,"crc32":"00000000"}},"#);
        let json = good.replace(r#""files":{"#, &entry);
        fs::write(&list, json).unwrap();
        let told = ModelFolder::load(&dir).unwrap_err().to_string();
        assert!(told.contains("expected files inside of its folder") && told.contains("remove it"), "{told}");
    }
    // A name that is spoiled hides no file.
    model(&dir, &tokenizer());
    let json = fs::read_to_string(&list).unwrap();
    fs::write(&list, json.replace("model.safetensors", "modeling_wgrad.py\\u0020")).unwrap();
    let told = ModelFolder::load(&dir).unwrap_err().to_string();
    assert!(told.contains("expected the checksum of model.safetensors, found none"), "{told}");
    fs::write(&list, r#"{"format":2,"files":{},"more":1}"#).unwrap();
    assert!(matches!(ModelFolder::load(&dir), Err(wgrad::Error::Newer { .. })));
}

/// A process that is killed while it replaces a model leaves one that loads, or says what is missing.
#[test]
fn fault_55_a_model_that_is_being_replaced_has_no_list() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("model");
    model(&dir, &tokenizer());
    let stopped: wgrad::Result<()> = checksums::replacing::<&str>(&Disk, &dir, || {
        assert!(!dir.join("checksums.json").exists());
        Err(wgrad::Error::config("killed", "to live", "death"))
    });
    stopped.unwrap_err();
    ModelFolder::load(&dir).unwrap();
}

#[test]
fn parts_hashed_on_all_cores_make_the_hash_of_the_whole() {
    let bytes: Vec<u8> = (0..(40_u32 << 20) + 7).map(|at| (at ^ (at >> 9)) as u8).collect();
    assert_eq!(checksums::crc32(&bytes), crc32fast::hash(&bytes));
    assert_eq!(checksums::crc32(&[]), crc32fast::hash(&[]));
}
