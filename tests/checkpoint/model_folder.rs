//! Hugging Face model folders.

use std::fs;
use std::path::Path;

use half::f16;
use safetensors::tensor::Dtype;
use serde_json::json;
use wgrad::files::{ModelFolder, TensorSource, check_vocabulary, tokenizer_vocabulary};
use wgrad::models::Config;
use wgrad::nn::initial_values;
use wgrad::store::{Disk, Store, write_atomic};

use super::common::faulty::{Fault, Faulty};
use super::run_folder::names;

/// What a saved folder of the family `wgrad` holds.
const FILES: [&str; 7] = [
    "README.md",
    "checksums.json",
    "config.json",
    "model.safetensors",
    "modeling_wgrad.py",
    "tokenizer.json",
    "tokenizer_config.json",
];

fn config() -> Config {
    Config {
        vocab_size: 10,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        ..Config::preset("micro").unwrap()
    }
}

fn tokenizer(tokens: usize) -> Vec<u8> {
    let vocabulary: serde_json::Map<_, _> = (0..tokens).map(|id| (format!("t{id}"), json!(id))).collect();
    json!({"model": {"type": "BPE", "vocab": vocabulary}, "added_tokens": [{"id": 0, "content": "t0"}]})
        .to_string()
        .into_bytes()
}

fn tensors(config: &Config, seed: u64) -> TensorSource<'static> {
    let specs = config.parameters();
    let shapes = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    TensorSource::new(shapes, move |name| {
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        Ok(initial_values(spec, seed).into())
    })
}

fn save_on(fs: &dyn Store, dir: &Path, seed: u64) -> wgrad::Result<()> {
    let config = config();
    ModelFolder::save(fs, dir, &config, &tokenizer(10), tensors(&config, seed), &format!("# {seed}\n"))
}

/// The seed of the values a folder holds; every tensor must agree.
fn seed_of(dir: &Path) -> u64 {
    let folder = ModelFolder::load(dir).unwrap();
    let is = |seed| {
        let same = |spec| {
            folder.weights.f32(&wgrad::nn::ParameterSpec::clone(spec).name).unwrap()
                == initial_values(spec, seed)
        };
        folder.config.parameters().iter().all(same)
    };
    (1..=2).find(|&seed| is(seed)).expect("the values of one seed")
}

#[test]
fn saves_what_it_loads() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/model");
    let config = config();
    ModelFolder::save(&Disk, &dir, &config, &tokenizer(10), tensors(&config, 1), "# a card\n").unwrap();
    assert_eq!(names(&dir), FILES);
    let folder = ModelFolder::load(&dir).unwrap();
    assert_eq!(folder.config, config);
    assert_eq!(fs::read(&folder.tokenizer).unwrap(), tokenizer(10));
    assert_eq!(fs::read_to_string(dir.join("README.md")).unwrap(), "# a card\n");
    assert_eq!(folder.weights.metadata("format"), Some("pt"));
    let order: Vec<String> = config.parameters().into_iter().map(|spec| spec.name).collect();
    assert_eq!(folder.weights.names().filter(|name| *name == order[0]).count(), 1);
    assert_eq!(folder.weights.names().collect::<Vec<_>>(), order);
    assert_eq!(seed_of(&dir), 1);
    save_on(&Disk, &dir, 2).unwrap();
    assert_eq!(seed_of(&dir), 2);
}

#[test]
fn the_model_that_ships_with_the_page_loads_and_has_the_python_that_is_saved_today() {
    let dir = Path::new("web/model");
    let folder = ModelFolder::load(dir).unwrap();
    assert_eq!(folder.config.model_type.name(), "wgrad");
    for spec in folder.config.parameters() {
        assert!(
            folder.weights.f32(&spec.name).unwrap().iter().all(|value| value.is_finite()),
            "{}",
            spec.name
        );
    }
    let saved = fs::read_to_string("src/models/modeling_wgrad.py").unwrap();
    assert_eq!(fs::read_to_string(dir.join("modeling_wgrad.py")).unwrap(), saved);
}

/// A good folder after one change, and what loading it says.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    save_on(&Disk, dir.path(), 1).unwrap();
    // As a folder that others wrote, where only the files themselves can tell.
    fs::remove_file(dir.path().join("checksums.json")).unwrap();
    change(dir.path());
    let message = ModelFolder::load(dir.path()).unwrap_err().to_string();
    assert!(message.starts_with(dir.path().to_str().unwrap()) && !message.contains('\n'), "{message}");
    message
}

fn write_config(dir: &Path, config: &Config) {
    fs::write(dir.join("config.json"), config.to_json()).unwrap();
}

#[test]
fn fault_9_a_shape_that_contradicts_the_configuration() {
    // Names differ too, in the second layer: the shape is what is said.
    let other = Config { intermediate_size: 24, num_hidden_layers: 2, ..config() };
    let message = refusal(|dir| write_config(dir, &other));
    let expected = "model.safetensors: expected `bert.encoder.layer.0.intermediate.dense.weight` [24, 8], \
                    as config.json says, found [16, 8]";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn fault_10_missing_and_unexpected_tensors_are_both_listed() {
    let other = Config { num_hidden_layers: 2, tie_word_embeddings: true, ..config() };
    let message = refusal(|dir| write_config(dir, &other));
    assert!(message.contains("expected the 27 tensors config.json asks for, found missing "), "{message}");
    assert!(message.contains("`bert.encoder.layer.1.attention.LayerNorm.weight`"), "{message}");
    assert!(message.contains(" and 3 more; unexpected `cls.predictions.decoder.weight`"), "{message}");
}

#[test]
fn fault_17_tokenizer_and_configuration_disagree() {
    let message = refusal(|dir| fs::write(dir.join("tokenizer.json"), tokenizer(11)).unwrap());
    let expected = "tokenizer.json: expected at most 10 tokens, the `vocab_size` of config.json, found 11";
    assert!(message.ends_with(expected), "{message}");
    let config = config();
    let dir = tempfile::tempdir().unwrap();
    ModelFolder::save(&Disk, dir.path(), &config, &tokenizer(11), tensors(&config, 1), "").unwrap_err();
    assert_eq!(names(dir.path()), [""; 0]);
    check_vocabulary(&config, 10, "t").unwrap();
}

#[test]
fn vocabularies_are_counted_with_added_tokens() {
    let count = |text: &str| tokenizer_vocabulary(text.as_bytes(), "tokenizer.json");
    assert_eq!(count(r#"{"model":{"vocab":{"a":0,"b":1}},"added_tokens":[{"id":2},{"id":1}]}"#).unwrap(), 3);
    assert_eq!(count(r#"{"model":{"vocab":[["a",-1.0],["b",-2.0]]}}"#).unwrap(), 2);
    for broken in [
        "",
        "[]",
        "{}",
        r#"{"model":{"vocab":{}}}"#,
        r#"{"model":{"vocab":{"a":-1}}}"#,
        r#"{"model":{"vocab":{"a":1e30}}}"#,
        r#"{"model":{"vocab":{"a":18446744073709551615}}}"#,
        r#"{"model":{"vocab":{"a":0}},"added_tokens":[{"content":"b"}]}"#,
    ] {
        let error = count(broken).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: expected a tokenizer.json, found "), "{error}");
    }
    assert!(count(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn missing_files_and_other_formats_are_named() {
    let message = refusal(|dir| {
        fs::remove_file(dir.join("tokenizer.json")).unwrap();
        fs::remove_file(dir.join("model.safetensors")).unwrap();
    });
    assert!(message.ends_with("found no model.safetensors, no tokenizer.json"), "{message}");
    let message = refusal(|dir| {
        fs::remove_file(dir.join("model.safetensors")).unwrap();
        fs::write(dir.join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    });
    assert!(message.contains("a PyTorch pickle") && message.contains("cut short"), "{message}");
    let message = refusal(|dir| fs::remove_dir_all(dir).unwrap());
    assert!(message.ends_with("found nothing there"), "{message}");
    refusal(|dir| fs::write(dir.join("config.json"), b"{\"a\": \xff}").unwrap());
}

#[test]
fn weights_saved_as_f16_are_those_rounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = config();
    let save = |tensors| ModelFolder::save(&Disk, dir.path(), &config, &tokenizer(10), tensors, "");
    save(tensors(&config, 1).as_f16()).unwrap();
    let weights = ModelFolder::load(dir.path()).unwrap().weights;
    for spec in config.parameters() {
        let rounded: Vec<f16> = initial_values(&spec, 1).into_iter().map(f16::from_f32).collect();
        assert_eq!(weights.f16(&spec.name).unwrap(), rounded);
        assert_eq!(weights.dtype(&spec.name), Some(Dtype::F16));
    }
    let shapes = config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let specs = config.parameters();
    let large = TensorSource::new(shapes, move |name| {
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        Ok(vec![65520.0; spec.shape.iter().product()].into())
    });
    let error = save(large.as_f16()).unwrap_err().to_string();
    assert!(error.contains("finite values to save") && error.ends_with("65520 at element 0"), "{error}");
}

#[test]
fn parts_that_do_not_fit_are_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    save_on(&Disk, dir.path(), 1).unwrap();
    let other = Config { num_hidden_layers: 2, ..config() };
    ModelFolder::save(&Disk, dir.path(), &config(), &tokenizer(10), tensors(&other, 2), "").unwrap_err();
    let wrong = Config { hidden_size: 10, ..config() };
    ModelFolder::save(&Disk, dir.path(), &wrong, &tokenizer(10), tensors(&wrong, 2), "").unwrap_err();
    assert_eq!(seed_of(dir.path()), 1);
}

#[test]
fn fault_37_an_interrupted_save_leaves_a_whole_model() {
    for fault in [Fault::Fail, Fault::PowerCut, Fault::Full] {
        for operation in 0.. {
            let dir = tempfile::tempdir().unwrap();
            save_on(&Faulty::default(), dir.path(), 1).unwrap();
            let disk = Faulty::at(operation, fault);
            let saved = save_on(&disk, dir.path(), 2);
            if !disk.struck() {
                saved.unwrap();
                assert!(operation > 15);
                break;
            }
            let seed = seed_of(dir.path());
            assert!(seed == 2 || saved.is_err());
            if fault != Fault::PowerCut && saved.is_err() {
                // The list goes before the first file is replaced and comes back after the last.
                let found: Vec<String> = names(dir.path());
                let unlisted = |name: &&&str| **name != "checksums.json";
                let files: Vec<&str> = FILES.iter().filter(unlisted).copied().collect();
                assert!(found == FILES || found == files, "{found:?}");
            }
            save_on(&Faulty::default(), dir.path(), 2).unwrap();
            assert_eq!(seed_of(dir.path()), 2);
            assert_eq!(names(dir.path()), FILES);
        }
    }
}

#[test]
fn one_file_is_replaced_whole_or_not_at_all() {
    for fault in [Fault::Fail, Fault::PowerCut, Fault::Full] {
        for operation in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("metrics.csv");
            write_atomic(&Faulty::default(), &path, |sink| sink.put(b"old")).unwrap();
            let disk = Faulty::at(operation, fault);
            let written = write_atomic(&disk, &path, |sink| sink.put(b"new").and_then(|()| sink.put(b"er")));
            if !disk.struck() {
                let digest = written.unwrap();
                // The CRC-32 of `newer`, from another implementation.
                assert_eq!((digest.bytes, digest.crc32), (5, 0x1be7_c827));
                break;
            }
            let found = fs::read(&path).unwrap();
            assert!(written.is_err() && (found == b"old" || found == b"newer"));
            if fault != Fault::PowerCut {
                assert_eq!(names(dir.path()), ["metrics.csv"]);
            }
        }
    }
}
