//! The list of a model's files: the page's copy is that of the library, and downloads take what is on it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use serde_json::Value;
use wgrad::files::{MODEL_FILES, module_folders};

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
        "a/dense/config.json",
        "a/dense/model.safetensors",
        "reference_vectors.json",
        "README.md",
    ];
    let modules = r#"[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}, {"path": "a/dense"}, {"path": "../b"}]"#;
    let folders = module_folders(modules.as_bytes());
    assert_eq!(folders, ["", "1_Pooling", "2_Normalize", "a/dense"]);
    let forms = [
        &["model.safetensors"][..],
        &["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
        &["pytorch_model.bin"],
        &["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"],
    ];
    let left = [
        "onnx/config.json",
        "1_Pooling/../config.json",
        "../config.json",
        "_/config.json",
        "model-../x.safetensors",
        "1_Pooling/model.onnx",
        "3_Dense/config.json",
        "b/config.json",
        "vocab.txt",
    ];
    // Of all forms that there are the best is taken.
    for best in 0..forms.len() {
        let there = [&taken[..], &forms[best..].concat(), &left].concat();
        let has = |name: &str| there.contains(&name);
        let takes = |name: &str| MODEL_FILES.contains(name, &has, &folders);
        assert!(taken.iter().all(|name| takes(name)));
        assert!(!left.iter().any(|name| takes(name)));
        for (form, names) in forms.iter().enumerate() {
            assert!(names.iter().all(|name| takes(name) == (form == best)), "{names:?}");
        }
    }
    let module = ["2_Normalize/pytorch_model.bin", "a/dense/pytorch_model.bin", "vocab.txt"];
    assert!(module.iter().all(|name| MODEL_FILES.contains(name, &|name| module.contains(&name), &folders)));
    assert!(!MODEL_FILES.contains(module[1], &|_| true, &folders));
}

/// Older folders keep the encoder in a folder of its own.
#[test]
fn an_encoder_in_a_folder_of_its_own() {
    let modules = br#"[{"path": "0_Transformer"}, {"path": "1_Pooling"}]"#;
    let folders = module_folders(modules);
    let has = |name: &str| name == "0_Transformer/model.safetensors";
    for name in
        ["0_Transformer/config.json", "0_Transformer/tokenizer.json", "0_Transformer/model.safetensors"]
    {
        assert!(MODEL_FILES.contains(name, &has, &folders), "{name}");
    }
    assert!(!MODEL_FILES.contains("1_Pooling/tokenizer.json", &has, &folders));
    let small = MODEL_FILES.small(Some(modules));
    let among = |name: &str| small.iter().any(|small| small == name);
    assert!(among("0_Transformer/tokenizer_config.json") && among("0_Transformer/sentence_bert_config.json"));
    assert!(
        among("1_Pooling/config.json") && among("config_sentence_transformers.json") && !among("config.json")
    );
    assert_eq!(MODEL_FILES.small(None).len(), 3);
}
