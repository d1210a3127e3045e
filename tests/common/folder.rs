//! Model folders with golden weights.

use std::path::Path;

use serde_json::json;
use wgrad::files::{ModelFolder, TensorSource};
use wgrad::store::Disk;

use super::golden::Golden;

/// How the tokenizer of [`folder`] spells a token: the golden files have four special tokens, and the fifth that a
/// tokenizer needs is one of their words.
pub fn spelling(id: u32) -> String {
    match id {
        0 => "[CLS]".into(),
        1 => "[MASK]".into(),
        2 => "[SEP]".into(),
        3 => "[PAD]".into(),
        4 => "[UNK]".into(),
        word => format!("w{word}"),
    }
}

/// Words between spaces.
pub fn tokenizer(vocabulary: u32) -> Vec<u8> {
    let words: serde_json::Map<_, _> = (0..vocabulary).map(|id| (spelling(id), json!(id))).collect();
    let added: Vec<_> = (0..5)
        .map(|id| {
            json!({"id": id, "content": spelling(id), "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        })
        .collect();
    let specials = json!({"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]},
                          "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}});
    let [cls, sep] = ["[CLS]", "[SEP]"].map(|id| json!({"SpecialToken": {"id": id, "type_id": 0}}));
    let [a, b] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": added,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": [cls, a, sep],
                           "pair": [cls, a, sep, b, sep], "special_tokens": specials},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    })
    .to_string()
    .into_bytes()
}

/// Writes a model folder with golden weights.
pub fn folder(dir: &Path, golden: &Golden) {
    let shapes = golden.config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let tensors = TensorSource::new(shapes, |name| Ok(golden.f32(&format!("weights/{name}")).into()));
    let tokenizer = tokenizer(golden.config.vocab_size as u32);
    ModelFolder::save(&Disk, dir, &golden.config, &tokenizer, tensors, "# golden\n").unwrap();
}
