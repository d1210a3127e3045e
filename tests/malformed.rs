//! Folders of every family with something wrong in them: an error that names what, never a panic, and nothing that is loaded
//! as something else.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::hugging_face::{Stored, golden_folder, tensors};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use wgrad::files::ModelFolder;
use wgrad::models::Head;
use wgrad::store::Memory;

/// The folders of all families.
fn folders() -> Vec<PathBuf> {
    let all = golden_folder().with_file_name("families");
    let entries = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.push(golden_folder());
    folders
}

/// A folder in memory.
fn copied(folder: &Path) -> Memory {
    let store = Memory::default();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        store.insert(Path::new("m").join(entry.file_name()), fs::read(entry.path()).unwrap());
    }
    store
}

fn keys(folder: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// What loading says of these keys; weights are read too.
fn outcome(store: &Memory, keys: &Map<String, Value>) -> Result<(), String> {
    store.insert("m/config.json", serde_json::to_vec(keys).unwrap());
    load(store)
}

fn load(store: &Memory) -> Result<(), String> {
    let folder = ModelFolder::load_on(store, "m").map_err(|error| error.to_string())?;
    let names: Vec<String> = folder.weights.names().map(str::to_owned).collect();
    names.iter().try_for_each(|name| folder.weights.f32(name).map(drop)).map_err(|error| error.to_string())
}

/// Whether a message says which tensors a configuration asks for, as one does that took a default for a key.
fn is_of_tensors(told: &str) -> bool {
    told.contains("as config.json says") || told.contains("config.json asks for")
}

/// Whether a message names a key, or a part of it: that of nomic's code on the hub perhaps as `transformers` calls it, and
/// the number of layers perhaps as that of their kinds.
fn is_named(told: &str, key: &str) -> bool {
    let other = match key {
        "n_embd" => "hidden_size",
        "n_inner" => "intermediate_size",
        "n_layer" => "num_hidden_layers",
        "n_head" => "num_attention_heads",
        "n_positions" => "max_position_embeddings",
        "layer_norm_epsilon" => "layer_norm_eps",
        "activation_function" => "hidden_act",
        "resid_pdrop" => "hidden_dropout_prob",
        "attn_pdrop" => "attention_probs_dropout_prob",
        "num_hidden_layers" => "layer_types",
        "rotary_emb_base" | "global_rope_theta" | "local_rope_theta" => "rope_theta",
        key => key,
    };
    [key, other].iter().any(|key| told.contains(&format!("`{key}`")) || told.contains(&format!("`{key}.")))
}

/// Keys of which nothing depends: those that other programs write for themselves.
const IGNORED: [&str; 23] = [
    "add_cross_attention",
    "is_decoder",
    "bos_token_id",
    "eos_token_id",
    "classifier_dropout",
    "embedding_dropout",
    "dtype",
    "torch_dtype",
    "gradient_checkpointing",
    "initializer_cutoff_factor",
    "head_dim",
    "transformers_version",
    "use_cache",
    "output_past",
    "sinusoidal_pos_embds",
    "summary_activation",
    "summary_last_dropout",
    "summary_type",
    "summary_use_proj",
    "deterministic_flash_attn",
    "sparse_pred_ignore_index",
    "sparse_prediction",
    "reference_compile",
];

#[test]
fn every_field_that_is_wrong_is_named() {
    let wrong = [
        json!("wide"),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!([]),
        json!([null, {"a": []}]),
        json!({}),
        json!({"full_attention": 3, "rope_type": []}),
        json!(true),
        json!(0),
    ];
    let (mut refused, mut loaded) = (0, 0);
    for folder in folders() {
        let (store, whole) = (copied(&folder), keys(&folder));
        let name = folder.file_name().unwrap().to_string_lossy();
        outcome(&store, &whole).unwrap();
        for key in whole.keys().filter(|key| !IGNORED.contains(&key.as_str())) {
            for value in &wrong {
                let mut keys = whole.clone();
                keys[key] = value.clone();
                match outcome(&store, &keys) {
                    Ok(()) => loaded += 1,
                    Err(told) => {
                        refused += 1;
                        assert!(!told.contains('\n') && told.len() < 1000, "{name}: {told}");
                        // A sound number of another model is refused by the tensors that do not have it.
                        assert!(
                            is_named(&told, key) || is_of_tensors(&told),
                            "{name}, {key}: {value}: {told}"
                        );
                    }
                }
            }
        }
    }
    assert!(refused > 8 * loaded / 10, "{refused} refused, {loaded} loaded");
}

#[test]
fn every_field_that_is_missing_is_named_or_has_its_default() {
    for folder in folders() {
        let (store, whole) = (copied(&folder), keys(&folder));
        let name = folder.file_name().unwrap().to_string_lossy();
        for key in whole.keys() {
            for empty in [None, Some(Value::Null)] {
                let mut keys = whole.clone();
                keys.remove(key);
                keys.extend(empty.clone().map(|value| (key.clone(), value)));
                if let Err(told) = outcome(&store, &keys) {
                    assert!(is_named(&told, key) || is_of_tensors(&told), "{name}, {key} {empty:?}: {told}");
                }
            }
        }
        // None of these can be guessed.
        for key in
            ["vocab_size", "num_hidden_layers", "n_layer", "n_layers", "num_attention_heads", "n_heads"]
        {
            let mut keys = whole.clone();
            if keys.remove(key).is_some() {
                outcome(&store, &keys).unwrap_err();
            }
        }
    }
}

fn serialized(tensors: &[Stored]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn every_tensor_that_is_missing_or_of_another_shape_is_named() {
    for folder in folders() {
        let (store, all) = (copied(&folder), tensors(&folder.join("model.safetensors")));
        let folder = folder.file_name().unwrap().to_string_lossy();
        let with = |tensors: &[Stored]| {
            store.insert("m/model.safetensors", serialized(tensors));
            load(&store)
        };
        let left_out = ModelFolder::load_on(&store, "m").unwrap().left_out;
        with(&all).unwrap();
        for at in 0..all.len() {
            let name = &all[at].0;
            // The head that tells whether sentences follow each other is BERT's, and left out in silence.
            if left_out.contains(name) || name.contains("position_ids") || name.contains("seq_relationship") {
                continue;
            }
            // A file may begin its names otherwise, and a parameter may be a part of one.
            let last = name.split_once('.').map_or(name.as_str(), |(_, rest)| rest);
            let mut less = all.clone();
            less.remove(at);
            if let Err(told) = with(&less) {
                assert!(told.contains(last) || told.contains("more"), "{folder}: without {name}: {told}");
            } else {
                // A pooler is there or not.
                assert!(name.contains("pooler"), "{folder}: {name} is not missed");
            }
            let mut flat = all.clone();
            let elements: usize = flat[at].2.iter().product();
            flat[at].2 = vec![1, elements, 1];
            let told = with(&flat).unwrap_err();
            assert!(told.contains(last), "{folder}: {name} flat: {told}");
            let mut whole = all.clone();
            whole[at].1 = Dtype::I32;
            let told = with(&whole).unwrap_err();
            assert!(told.contains(last) && told.contains("I32"), "{folder}: {name} of whole numbers: {told}");
        }
    }
}

/// As in all-mpnet-base-v2, whose `config.json` names the class that the encoder was pretrained as.
#[test]
fn a_head_that_a_file_has_nothing_of_is_none() {
    for folder in folders() {
        let store = copied(&folder);
        let whole = ModelFolder::load_on(&store, "m").unwrap();
        let encoder = whole.config.encoder().parameters().into_iter().map(|spec| spec.name);
        let stored = |name: String| {
            let values = whole.weights.f32(&name).unwrap();
            let shape = whole.weights.shape(&name).unwrap().to_vec();
            (name, Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        };
        let alone: Vec<Stored> = encoder.map(stored).collect();
        store.insert("m/model.safetensors", serialized(&alone));
        let found = ModelFolder::load_on(&store, "m").unwrap();
        let name = folder.file_name().unwrap().to_string_lossy();
        assert_eq!(found.config.head(), Some(Head::None), "{name}");
        assert_eq!(found.config.parameters(), whole.config.encoder().parameters(), "{name}");
        // A part of a head is one that is broken.
        let head = whole.config.parameters().into_iter().map(|spec| spec.name);
        let mut head =
            head.filter(|name| alone.iter().all(|(known, ..)| known != name) && !name.contains("pooler"));
        let Some(part) = head.next().filter(|_| head.next().is_some()) else { continue };
        store.insert("m/model.safetensors", serialized(&[alone, vec![stored(part)]].concat()));
        match ModelFolder::load_on(&store, "m") {
            Err(told) => assert!(told.to_string().contains("found missing `"), "{name}: {told}"),
            // Or it is all that there is beside the encoder, and said.
            Ok(folder) => assert_eq!(folder.left_out.len(), 1, "{name}"),
        }
    }
}
