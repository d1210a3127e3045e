//! The list of a model's files: the page's copy is that of the library, and downloads take what is on it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use serde_json::Value;
use wgrad::files::MODEL_FILES;

#[test]
fn the_page_has_the_list_of_the_library() {
    let page = std::fs::read_to_string("web/lib/model-files.js").unwrap();
    let (_, list) = page.split_once("export const MODEL_FILES = ").unwrap();
    let list: Value = serde_json::from_str(list.trim_end().trim_end_matches(';')).unwrap();
    assert_eq!(list, serde_json::to_value(MODEL_FILES).unwrap());
}

#[test]
fn downloads_take_what_is_read_and_no_more() {
    let taken = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Normalize/config.json",
        "reference_vectors.json",
        "README.md",
    ];
    let weights = ["model.safetensors.index.json", "model-00001-of-00002.safetensors"];
    for single in [true, false] {
        assert!(taken.iter().all(|name| MODEL_FILES.contains(name, single)));
        assert!(weights.iter().all(|name| MODEL_FILES.contains(name, single) != single));
        assert_eq!(MODEL_FILES.contains("model.safetensors", single), single);
        let left = [
            "pytorch_model.bin",
            "onnx/config.json",
            "1_Pooling/../config.json",
            "../config.json",
            "_/config.json",
            "model-../x.safetensors",
            "1_Pooling/model.safetensors",
        ];
        assert!(!left.iter().any(|name| MODEL_FILES.contains(name, single)));
    }
}
