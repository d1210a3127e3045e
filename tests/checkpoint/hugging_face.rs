//! Folders of Hugging Face BERTs: every way to spell them, and every way to break them.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use wgrad::files::{ModelFolder, TensorSource};
use wgrad::models::Config;
use wgrad::store::Disk;

use crate::common::hugging_face::{
    Stored, folder, golden_folder, read_index, sharded, tensors, write, write_index,
};
use crate::common::pickle::hostile;

const POOLER: &str = "bert.pooler.dense.weight";

fn config(dir: &Path) -> Config {
    ModelFolder::load(dir).unwrap().config
}

/// Whether a folder has the golden weights, all of them or (`exact` off) to the precision of f16.
fn has_golden_weights(dir: &Path, exact: bool) {
    let (golden, found) = (ModelFolder::load(golden_folder()).unwrap(), ModelFolder::load(dir).unwrap());
    let specs = found.config.parameters();
    assert!(specs.len() >= 38, "{}", specs.len());
    for spec in specs {
        let (a, b) = (golden.weights.f32(&spec.name).unwrap(), found.weights.f32(&spec.name).unwrap());
        if exact {
            assert_eq!(a, b, "{}", spec.name);
        } else {
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 0.01 * a.abs() + 1e-6), "{}", spec.name);
        }
    }
}

fn same_config(_: &mut Value) {}

fn renamed(rename: impl Fn(&str) -> String) -> impl FnOnce(Vec<Stored>) -> Vec<Stored> {
    move |tensors| {
        tensors.into_iter().map(|(name, dtype, shape, data)| (rename(&name), dtype, shape, data)).collect()
    }
}

fn architecture(name: &'static str) -> impl FnOnce(&mut Value) {
    move |config| config["architectures"] = json!([name])
}

#[test]
fn a_folder_of_transformers_loads() {
    let folder = ModelFolder::load(golden_folder()).unwrap();
    let config = &folder.config;
    assert_eq!(config.architectures, ["BertForPreTraining"]);
    assert!(config.pooler && config.is_masked_lm() && config.tie_word_embeddings);
    assert_eq!((config.pad_token_id, config.cls_token_id, config.sep_token_id), (0, 2, 3));
    assert_eq!((config.mask_token_id, config.type_vocab_size, config.layer_norm_eps), (4, 2, 1e-12));
    assert_eq!((config.hidden_dropout_prob, config.attention_probs_dropout_prob), (0.1, 0.1));
    // 61·40 + 48·40 + 2·40 embeddings, norms of 80, and per layer four products of 40·40 and two of 40·96.
    let layer = 4 * (1600 + 40) + 2 * 80 + (3840 + 96) + (3840 + 40);
    let head = 1600 + 40 + 80 + 61;
    assert_eq!(config.parameter_count(), 4440 + 80 + 2 * layer + 1640 + head);
}

#[test]
fn all_spellings_are_the_same_model() {
    // Old files.
    let old = |name: &str| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    };
    has_golden_weights(folder(renamed(old), same_config).path(), true);
    // An encoder alone, without the prefix, with position numbers.
    let encoder = |mut tensors: Vec<Stored>| {
        tensors.retain(|(name, ..)| name.starts_with("bert."));
        tensors.push(("bert.embeddings.position_ids".into(), Dtype::I64, vec![1, 48], vec![0; 48 * 8]));
        renamed(|name| name.replacen("bert.", "", 1))(tensors)
    };
    let dir = folder(encoder, architecture("BertModel"));
    has_golden_weights(dir.path(), true);
    assert!(config(dir.path()).pooler && !config(dir.path()).is_masked_lm());
    // A head without a pooler, with copies of what is tied.
    let head = |mut tensors: Vec<Stored>| {
        tensors.retain(|(name, ..)| !name.contains("pooler") && !name.contains("seq_relationship"));
        let copy = |from: &str, to: &str, tensors: &mut Vec<Stored>| {
            let mut copy = tensors.iter().find(|(name, ..)| name == from).unwrap().clone();
            copy.0 = to.into();
            tensors.push(copy);
        };
        copy("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight", &mut tensors);
        copy("cls.predictions.bias", "cls.predictions.decoder.bias", &mut tensors);
        tensors
    };
    let dir = folder(head, architecture("BertForMaskedLM"));
    has_golden_weights(dir.path(), true);
    assert!(!config(dir.path()).pooler && config(dir.path()).is_masked_lm());
    let bias = |name: &str| name.replace("cls.predictions.bias", "cls.predictions.decoder.bias");
    has_golden_weights(folder(renamed(bias), same_config).path(), true);
}

#[test]
fn all_types_are_the_same_model() {
    for (dtype, exact) in [(Dtype::F16, false), (Dtype::BF16, false), (Dtype::F64, true)] {
        let converted = |tensors: Vec<Stored>| {
            let convert = |(name, _, shape, data): Stored| {
                let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                let data: Vec<u8> = match dtype {
                    Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
                    Dtype::BF16 => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
                    _ => values.flat_map(|v| f64::from(v).to_le_bytes()).collect(),
                };
                (name, dtype, shape, data)
            };
            tensors.into_iter().map(convert).collect()
        };
        has_golden_weights(folder(converted, same_config).path(), exact);
    }
}

#[test]
fn sharded_folders_are_the_same_model() {
    for files in [1, 3, 20] {
        has_golden_weights(sharded(files).path(), true);
    }
}

#[test]
fn a_saved_copy_is_exact() {
    let original = ModelFolder::load(golden_folder()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let save = |from: &ModelFolder, to: &Path| {
        let specs = from.config.parameters();
        let shapes = specs.into_iter().map(|spec| (spec.name, spec.shape)).collect();
        let source = TensorSource::new(shapes, |name| Ok(from.weights.f32(name)?.into()));
        ModelFolder::save(&Disk, to, &from.config, &fs::read(&from.tokenizer).unwrap(), source, "# copy\n")
            .unwrap();
    };
    save(&original, dir.path());
    has_golden_weights(dir.path(), true);
    let copy = ModelFolder::load(dir.path()).unwrap();
    assert_eq!(copy.config, original.config);
    // What transformers saved, but for the head that is left out.
    let mut expected = tensors(&golden_folder().join("model.safetensors"));
    expected.retain(|(name, ..)| !name.starts_with("cls.seq_relationship."));
    let mut found = tensors(&dir.path().join("model.safetensors"));
    expected.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    assert!(expected == found);
    // And once more, to the byte.
    let again = tempfile::tempdir().unwrap();
    save(&copy, again.path());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(fs::read(dir.path().join(file)).unwrap() == fs::read(again.path().join(file)).unwrap());
    }
}

/// Tokens whose part only the files beside the tokenizer know keep it in a folder that is saved.
#[test]
fn special_tokens_of_any_name_are_saved() {
    let dir = folder(|tensors| tensors, same_config);
    let path = dir.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap().replace("[MASK]", "{hidden}").replace("[PAD]", "{none}");
    fs::write(&path, text).unwrap();
    refused_tokenizer(dir.path());
    let map = json!({"mask_token": {"content": "{hidden}"}, "pad_token": "{none}"});
    fs::write(dir.path().join("special_tokens_map.json"), map.to_string()).unwrap();

    let original = ModelFolder::load(dir.path()).unwrap();
    assert_eq!((original.config.mask_token_id, original.config.pad_token_id), (4, 0));
    let shapes = original.config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let source = TensorSource::new(shapes, |name| Ok(original.weights.f32(name)?.into()));
    let (copy, tokenizer) = (tempfile::tempdir().unwrap(), original.tokenizer().unwrap());
    ModelFolder::save(&Disk, copy.path(), &original.config, &tokenizer, source, "# copy\n").unwrap();
    let copy = ModelFolder::load(copy.path()).unwrap();
    assert_eq!(copy.config, original.config);
    assert_eq!(copy.tokenizer().unwrap().special_tokens().mask.as_deref(), Some("{hidden}"));
}

fn refused_tokenizer(dir: &Path) {
    let folder = ModelFolder::load(dir);
    let told = folder.and_then(|folder| folder.tokenizer()).unwrap_err().to_string();
    assert!(told.contains("mask_token"), "{told}");
}

/// A file of several models is none, unless one of them goes by no prefix.
#[test]
fn of_several_models_in_a_file_none_is_taken() {
    let twice = |first: &'static str| {
        move |tensors: Vec<Stored>| -> Vec<Stored> {
            let named = |prefix: &str| {
                let renamed = tensors
                    .iter()
                    .map(|(name, a, b, c)| (format!("{prefix}{name}"), *a, b.clone(), c.clone()));
                renamed.collect::<Vec<_>>()
            };
            [named(first), named("second.")].concat()
        }
    };
    refused(
        folder(twice("first."), same_config),
        "the tensors of one model, found those of `first.` and of `second.`",
    );
    has_golden_weights(folder(twice(""), same_config).path(), true);
}

fn refusal(dir: &Path) -> String {
    let message = ModelFolder::load(dir).unwrap_err().to_string();
    assert!(message.starts_with(dir.to_str().unwrap()) && !message.contains('\n'), "{message}");
    message
}

fn refused(dir: tempfile::TempDir, because: &str) {
    let message = refusal(dir.path());
    assert!(message.contains(because), "{message:?} lacks {because:?}");
}

fn configured(key: &'static str, value: Value) -> tempfile::TempDir {
    folder(|tensors| tensors, move |config| config[key] = value)
}

/// The path of the first of three shards.
fn first(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join("model-00001-of-00003.safetensors")
}

#[test]
fn faults_1_to_5_in_one_of_several_files() {
    let broken = |change: fn(&mut Vec<u8>), because: &str| {
        let dir = sharded(3);
        let mut bytes = fs::read(first(&dir)).unwrap();
        change(&mut bytes);
        fs::write(first(&dir), bytes).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains("model-00001-of-00003.safetensors: "), "{message}");
        assert!(message.contains(because), "{message:?} lacks {because:?}");
    };
    broken(|bytes| bytes[..8].copy_from_slice(&90_000_000u64.to_le_bytes()), "a header of 90000000 bytes");
    broken(|bytes| bytes[..8].copy_from_slice(&200_000_000u64.to_le_bytes()), "at most 100000000 bytes");
    broken(|bytes| bytes[9] = 0xff, "header in UTF-8");
    broken(|bytes| bytes.push(0), "1 bytes more");
    broken(|bytes| bytes.truncate(bytes.len() - 1), "the file is cut short");
    // Fault 7.
    broken(|bytes| *bytes = b"<!DOCTYPE html><html>404</html>".to_vec(), "a web page");
    broken(|bytes| *bytes = b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "a Git LFS pointer");
    broken(|bytes| bytes.clear(), "an empty file");
}

#[test]
fn fault_6_duplicate_keys() {
    let dir = sharded(3);
    let index = r#"{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}"#;
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    refused(dir, "`a` comes twice");
    let dir = folder(|tensors| tensors, |_| {});
    let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let twice = text.replacen('{', "{\"hidden_size\": 40,", 1);
    fs::write(dir.path().join("config.json"), twice).unwrap();
    refused(dir, "duplicate field `hidden_size`");
}

#[test]
fn fault_7_an_index_that_is_something_else() {
    for (text, because) in [
        ("<html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("{\"weight_map\":", "a fault"),
        ("{}", "missing field `weight_map`"),
        ("{\"weight_map\":{}}", "at least one tensor"),
        ("{\"weight_map\":{\"a\":7}}", "a fault"),
    ] {
        let dir = sharded(3);
        fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        refused(dir, because);
    }
    let dir = sharded(3);
    let deep = format!("{{\"weight_map\":{}", "{\"a\":".repeat(100_000));
    fs::write(dir.path().join("model.safetensors.index.json"), deep).unwrap();
    refused(dir, "a fault");
}

#[test]
fn fault_8_types_that_hold_no_weights() {
    let integers = |mut tensors: Vec<Stored>| {
        let pooler = tensors.iter_mut().find(|(name, ..)| name == POOLER).unwrap();
        (pooler.1, pooler.3) = (Dtype::I32, vec![0; 6400]);
        tensors
    };
    let dir = folder(integers, same_config);
    let error = ModelFolder::load(dir.path()).unwrap().weights.f32(POOLER).unwrap_err().to_string();
    assert!(error.contains("as F32, F16, BF16 or F64, found I32"), "{error}");
}

#[test]
fn faults_9_to_11_tensors_that_do_not_fit() {
    refused(configured("intermediate_size", json!(104)), "[104, 40], as config.json says, found [96, 40]");
    refused(configured("num_hidden_layers", json!(3)), "missing `bert.encoder.layer.2.");
    refused(configured("num_hidden_layers", json!(1)), "unexpected `bert.encoder.layer.1.");
    let without = |mut tensors: Vec<Stored>| {
        tensors.retain(|(name, ..)| name != "bert.encoder.layer.1.output.dense.bias");
        tensors.push(("bert.extra".into(), Dtype::F32, vec![1], vec![0; 4]));
        tensors
    };
    refused(
        folder(without, same_config),
        "missing `bert.encoder.layer.1.output.dense.bias`; unexpected `bert.extra`",
    );
    let untied = configured("tie_word_embeddings", json!(false));
    refused(untied, "missing `cls.predictions.decoder.weight`");
    let half_a_pooler = |mut tensors: Vec<Stored>| {
        tensors.retain(|(name, ..)| name != "bert.pooler.dense.bias");
        tensors
    };
    refused(folder(half_a_pooler, same_config), "missing `bert.pooler.dense.bias`");
    let both = |mut tensors: Vec<Stored>| {
        let mut copy = tensors.iter().find(|(name, ..)| name == POOLER).unwrap().clone();
        copy.0 = POOLER.replacen("bert.", "", 1);
        tensors.push(copy);
        tensors
    };
    refused(folder(both, same_config), "both `bert.pooler.dense.weight` and `pooler.dense.weight`");
    let dir = sharded(3);
    let mut index = read_index(dir.path());
    index["weight_map"]["bert.nowhere"] = json!("model-00002-of-00003.safetensors");
    write_index(dir.path(), &index);
    refused(
        dir,
        "`bert.nowhere` in model-00002-of-00003.safetensors, as the index says, found no such tensor",
    );
    let dir = sharded(3);
    let mut index = read_index(dir.path());
    index["weight_map"].as_object_mut().unwrap().remove(POOLER);
    write_index(dir.path(), &index);
    refused(dir, "not in the index");

    let infinite = |mut tensors: Vec<Stored>| {
        let pooler = tensors.iter_mut().find(|(name, ..)| name == POOLER).unwrap();
        pooler.3[40..44].copy_from_slice(&f32::INFINITY.to_le_bytes());
        tensors
    };
    let dir = folder(infinite, same_config);
    let error = ModelFolder::load(dir.path()).unwrap().weights.f32(POOLER).unwrap_err().to_string();
    assert!(
        error.ends_with("finite weights in `bert.pooler.dense.weight`, found NaN or infinity at element 10")
    );
    let weights = ModelFolder::load(dir.path()).unwrap().weights.allow_non_finite(true);
    assert_eq!(weights.f32(POOLER).unwrap()[10], f32::INFINITY);
}

#[test]
fn faults_12_and_13_configurations() {
    for (key, value, because) in [
        ("hidden_size", json!(0), "`hidden_size` to be a number from"),
        ("num_attention_heads", json!(3), "a multiple of `num_attention_heads` (3)"),
        ("vocab_size", json!(1u64 << 31), "`vocab_size` to be a number from"),
        ("type_vocab_size", json!(0), "`type_vocab_size` to be at least 1"),
        ("layer_norm_eps", json!(0), "`layer_norm_eps` to be a number above 0"),
        ("hidden_dropout_prob", json!(1.0), "`hidden_dropout_prob` to be a number from 0 to below 1"),
        ("hidden_act", json!("mish"), "in `hidden_act`"),
        ("position_embedding_type", json!("relative_key_query"), "in `position_embedding_type`"),
        ("position_embedding_type", json!("relative_bucket"), "`position_embedding_type` to be absolute"),
        ("model_type", json!("deberta"), "`model_type` to be a family of encoders: `wgrad` or `bert` or "),
        ("is_decoder", json!(true), "an encoder, with `is_decoder` false"),
        ("add_cross_attention", json!(true), "an encoder, with `add_cross_attention` false"),
        ("vocab_size", json!(null), "in `vocab_size`"),
    ] {
        let dir = configured(key, value);
        let message = refusal(dir.path());
        assert!(message.contains("config.json: expected") && message.contains(because), "{message}");
    }
    // What other tools write there is nobody's business here.
    let dir = configured("quantization", json!({"any": ["thing"]}));
    ModelFolder::load(dir.path()).unwrap();
    // What transformers leaves out has its default.
    let short = folder(
        |tensors| tensors,
        |config| {
            let keys = config.as_object_mut().unwrap();
            for key in
                ["layer_norm_eps", "type_vocab_size", "tie_word_embeddings", "hidden_act", "pad_token_id"]
            {
                keys.remove(key);
            }
        },
    );
    assert_eq!(config(short.path()), config(&golden_folder()));
}

#[test]
fn fault_14_an_index_that_leads_out_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join("model.safetensors");
    write(&elsewhere, &tensors(&golden_folder().join("model.safetensors")));
    for name in
        ["../model.safetensors", elsewhere.to_str().unwrap(), "a/b.safetensors", "..", ".", "", "c:x", "a\\b"]
    {
        let dir = sharded(3);
        let mut index = read_index(dir.path());
        index["weight_map"][POOLER] = json!(name);
        write_index(dir.path(), &index);
        refused(dir, "expected the names of files in its folder");
    }
    let dir = sharded(3);
    let mut index = read_index(dir.path());
    index["weight_map"][POOLER] = json!("pytorch_model.bin");
    write_index(dir.path(), &index);
    fs::write(dir.path().join("pytorch_model.bin"), hostile()).unwrap();
    refused(dir, "a PyTorch pickle");
}

#[cfg(unix)]
#[test]
fn fault_14_links_may_lead_to_the_blobs_of_their_model_only() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    let linked = |to: &Path, folder: &Path| {
        let dir = sharded(3);
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            let place = if path.extension().unwrap() == "safetensors" { to } else { folder };
            fs::create_dir_all(place).unwrap();
            fs::create_dir_all(folder).unwrap();
            fs::copy(&path, place.join(name)).unwrap();
            if place != folder {
                symlink(place.join(name), folder.join(name)).unwrap();
            }
        }
    };
    let model = outside.path().join("models--a--b");
    linked(&model.join("blobs"), &model.join("snapshots/1234"));
    has_golden_weights(&model.join("snapshots/1234"), true);
    let bad = outside.path().join("c");
    linked(&outside.path().join("d"), &bad);
    assert!(refusal(&bad).contains("a link to "), "{}", refusal(&bad));
}

#[test]
fn faults_15_to_17_tokenizers_and_pickles() {
    let dir = folder(|tensors| tensors, |_| {});
    fs::write(dir.path().join("tokenizer.json"), b"{}").unwrap();
    ModelFolder::load(dir.path()).unwrap_err();
    let dir = folder(|tensors| tensors, |_| {});
    fs::write(dir.path().join("tokenizer.json"), "[".repeat(100_000)).unwrap();
    refused(dir, "tokenizer.json: expected a tokenizer.json, found EOF");
    // Fault 7 in the files beside the weights.
    for file in ["config.json", "tokenizer.json"] {
        for (text, because) in [
            ("<!DOCTYPE html>", "a web page"),
            ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            ("", "an empty file"),
        ] {
            let dir = folder(|tensors| tensors, |_| {});
            fs::write(dir.path().join(file), text).unwrap();
            refused(dir, because);
        }
    }
    let dir = folder(|tensors| tensors, |_| {});
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), hostile()).unwrap();
    refused(dir, "asks for `os.system`");
    let grown = |mut tensors: Vec<Stored>| {
        for tensor in &mut tensors {
            if tensor.2.first() == Some(&61) {
                let row = tensor.3.len() / 61;
                tensor.3.resize(62 * row, 0);
                tensor.2[0] = 62;
            }
        }
        tensors
    };
    // A table with more rows than the tokenizer has tokens is padded, one with fewer is another's.
    let larger = folder(grown, |config| config["vocab_size"] = json!(62));
    assert_eq!(ModelFolder::load(larger.path()).unwrap().config.vocab_size, 62);
    let more = folder(|tensors| tensors, same_config);
    let path = more.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["model"]["vocab"]["one more"] = json!(61);
    fs::write(path, json.to_string()).unwrap();
    refused(more, "expected at most 61 tokens, the `vocab_size`");
    let dir = folder(|tensors| tensors, |_| {});
    fs::rename(dir.path().join("tokenizer.json"), dir.path().join("vocab.txt")).unwrap();
    refused(dir, "vocab.txt: expected the special token `[UNK]`, found none");
}
