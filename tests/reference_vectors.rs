//! `reference_vectors.json`: written, read, tied to its model, and what a device that computes wrong is told.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wgrad::files::{REFERENCE_FILE, ReferenceVectors, SentenceFolder};
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{EmbedOptions, Embedder, Verified, save_reference, verify};
use wgrad::store::Memory;
use wgrad::tensor::DType;
use wgrad::{Error, Result};

/// The golden folder of sentence-transformers, in memory.
fn files() -> Memory {
    fn add(from: &Path, to: &Path, files: &Memory) {
        for entry in fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                add(&entry.path(), &to, files);
            } else {
                files.insert(to, fs::read(entry.path()).unwrap());
            }
        }
    }
    let files = Memory::default();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentence_transformers");
    add(&golden, Path::new("model"), &files);
    files
}

fn reference(files: &Memory) -> Value {
    serde_json::from_slice(&files.get(Path::new("model").join(REFERENCE_FILE)).unwrap()).unwrap()
}

/// The same files, one of them JSON that is changed.
fn changed(files: &Memory, name: &str, change: impl FnOnce(&mut Value)) -> Memory {
    let copy = Memory::default();
    for path in files.paths() {
        copy.insert(&path, files.get(&path).unwrap().to_vec());
    }
    let path = Path::new("model").join(name);
    let mut value = serde_json::from_slice(&files.get(&path).unwrap()).unwrap();
    change(&mut value);
    copy.insert(path, value.to_string().into_bytes());
    copy
}

fn verified(gpu: &Gpu, files: &Memory, storage: DType) -> Result<Verified> {
    let folder = SentenceFolder::load_on(files, "model")?;
    let options = EmbedOptions { storage, ..EmbedOptions::from(&folder) };
    pollster::block_on(verify(files, &folder, &mut Embedder::open(gpu, &folder, options)?))
}

/// A folder whose reference vectors this device has just computed.
fn saved(gpu: &Gpu) -> Memory {
    let files = files();
    assert_eq!(pollster::block_on(save_reference(gpu, &files, "model")).unwrap(), path());
    files
}

fn path() -> PathBuf {
    Path::new("model").join(REFERENCE_FILE)
}

#[test]
fn a_device_that_computes_right_is_found_right() {
    let Some(gpu) = common::gpu() else { return };
    assert_eq!(verified(&gpu, &files(), DType::F32).unwrap(), Verified::Absent);
    let files = saved(&gpu);
    let found = reference(&files);
    assert_eq!((found["format"].as_u64(), found["texts"].as_array().unwrap().len()), (Some(1), 10));
    assert_eq!(found["embedding"]["max_tokens"], 32);
    // Read and written again it is the same to the byte: no digit of a vector is lost.
    let folder = SentenceFolder::load_on(&files, "model").unwrap();
    let read = ReferenceVectors::load(&files, &folder).unwrap().unwrap();
    read.save(&files, Path::new("again.json")).unwrap();
    assert_eq!(files.get("again.json"), files.get(path()));
    // The long text at least is longer than this model sees.
    let mut embedder = Embedder::open(&gpu, &folder, EmbedOptions::from(&folder)).unwrap();
    assert!(pollster::block_on(embedder.embed(&read.texts, &mut |_| {})).unwrap().truncated >= 1);

    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let Verified::Right(found) = verified(&gpu, &files, DType::F32).unwrap() else {
            panic!("not compared")
        };
        eprintln!("{kind:?}, f32: cosine {}, difference {:.1e}", found.cosine, found.difference);
        assert_eq!((found.texts, found.precision), (10, DType::F32));
    }
    if !common::has_f16(&gpu) {
        return;
    }
    let Verified::Right(found) = verified(&gpu, &files, DType::F16).unwrap() else { panic!("not compared") };
    eprintln!("f16: cosine {}, difference {:.1e}", found.cosine, found.difference);
    assert!(found.difference > 0.0 && found.precision == DType::F16);
}

#[test]
fn a_device_that_computes_wrong_is_named() {
    let Some(gpu) = common::gpu() else { return };
    let files = saved(&gpu);
    let wrong = |change: &dyn Fn(&mut Value)| {
        let files = changed(&files, REFERENCE_FILE, |reference| change(&mut reference["vectors"][4]));
        verified(&gpu, &files, DType::F32).unwrap_err()
    };
    let error = wrong(&|vector| {
        for value in vector.as_array_mut().unwrap() {
            *value = json!(-value.as_f64().unwrap());
        }
    });
    assert!(matches!(error, Error::WrongResult { .. }), "{error}");
    let said = error.to_string();
    for part in [&gpu.capabilities().name, "computes wrong", "a cosine of -1.0", "`Größere Äpfel", "driver"]
    {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // A single element that no cosine shows.
    let error = wrong(&|vector| vector[3] = json!(vector[3].as_f64().unwrap() + 2e-3));
    assert!(error.to_string().contains("a cosine of 0.99999"), "{error}");
}

#[test]
fn vectors_of_another_model_blame_no_device() {
    let Some(gpu) = common::gpu() else { return };
    let files = saved(&gpu);
    let stale = |files: &Memory, because: &str| {
        let found = verified(&gpu, files, DType::F32).unwrap();
        assert!(matches!(&found, Verified::Stale(why) if why.contains(because)), "{found:?}");
    };
    stale(
        &changed(&files, "1_Pooling/config.json", |pooling| pooling["pooling_mode"] = json!("cls")),
        "cut and pool",
    );
    stale(&changed(&files, "tokenizer_config.json", |it| it["model_max_length"] = json!(16)), "cut and pool");
    stale(&changed(&files, "config.json", |config| config["layer_norm_eps"] = json!(1e-5)), "config.json");
    files.edit("model/model.safetensors", |bytes| *bytes.last_mut().unwrap() ^= 1);
    stale(&files, "model.safetensors has changed");
}

#[test]
fn a_broken_file_is_told_of_by_name() {
    let files = files();
    let folder = SentenceFolder::load_on(&files, "model").unwrap();
    let texts = vec!["a".to_owned(), "b".to_owned()];
    let vectors = vec![vec![1.0; 40]; 2];
    ReferenceVectors::new(&files, &folder, "none", texts, vectors).unwrap().save(&files, &path()).unwrap();
    let refused = |change: &dyn Fn(&mut Value), because: &str| {
        let files = changed(&files, REFERENCE_FILE, |reference| change(reference));
        let said = ReferenceVectors::load(&files, &folder).unwrap_err().to_string();
        assert!(said.contains(REFERENCE_FILE) && said.contains(because), "{said}");
    };
    let newer = |reference: &mut Value| *reference = json!({"format": 2, "tokens": []});
    refused(
        &newer,
        "made by a newer wgrad: reference vectors of format 2, this one reads up to 1; update wgrad",
    );
    refused(&|reference| reference["more"] = json!(1), "unknown field `more`");
    refused(&|reference| reference["texts"] = json!(["a"]), "1 texts and 2 vectors");
    refused(&|reference| reference["vectors"][1] = json!([1.0]), "vectors of 40 numbers");
    refused(&|reference| reference["vectors"][1][0] = json!(null), "invalid type: null");
    refused(&|reference| *reference = json!([]), "expected reference vectors");
}
