//! What a model's folder may hold: the one list, by which folders are read and written and models downloaded.
//!
//! The page has a copy of it in `web/lib/model-files.js`, which `tests/model_files.rs` compares.

use serde::Serialize;

pub use crate::text::companions::{SETTINGS_FILE as TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE};
pub use crate::text::tokenizer::FILE as TOKENIZER_FILE;

/// The model's shape.
pub const CONFIG_FILE: &str = "config.json";
/// The card.
pub const CARD_FILE: &str = "README.md";
/// The modules of a sentence embedder, each with a `config.json` in a folder of its own.
pub const MODULES_FILE: &str = "modules.json";
/// How long the texts of a sentence embedder may be.
pub const LIMITS_FILE: &str = "sentence_bert_config.json";
/// What a sentence embedder puts in front of texts.
pub const PROMPTS_FILE: &str = "config_sentence_transformers.json";
/// The weights of a model folder or checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
/// Says which of several files holds a tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// The vectors of some texts, by which a device is checked. No folder must have them.
pub const REFERENCE_FILE: &str = "reference_vectors.json";

/// The files of a model's folder by what they are needed for.
#[derive(Debug, Serialize)]
pub struct ModelFiles {
    /// Without these no model loads.
    pub needed: [&'static str; 2],
    /// These are read where they are there.
    pub optional: [&'static str; 3],
    /// These are read where there is a `modules.json`.
    pub sentence: [&'static str; 2],
    /// The weights, unless they are several files.
    pub weights: &'static str,
    /// The names of several files of weights.
    pub index: &'static str,
    /// Needed only to check a device.
    pub reference: &'static str,
    /// Needed only by people.
    pub card: &'static str,
}

/// All files but those whose names stand in one of them: shards, and the settings of modules.
pub const MODEL_FILES: ModelFiles = ModelFiles {
    needed: [CONFIG_FILE, TOKENIZER_FILE],
    optional: [TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, MODULES_FILE],
    sentence: [LIMITS_FILE, PROMPTS_FILE],
    weights: MODEL_FILE,
    index: INDEX_FILE,
    reference: REFERENCE_FILE,
    card: CARD_FILE,
};

impl ModelFiles {
    /// Whether a file of this name is part of a model whose weights are one file, if `single`, or several.
    pub fn contains(&self, name: &str, single: bool) -> bool {
        let named = self.needed.iter().chain(&self.optional).chain(&self.sentence);
        let fixed = named.chain([&self.reference, &self.card]).any(|file| *file == name);
        let weights = if single { name == self.weights } else { name == self.index || is_shard(name) };
        fixed || weights || is_module_config(name)
    }
}

/// Whether a name is that of one of several files of weights: `model-00001-of-00002.safetensors`.
fn is_shard(name: &str) -> bool {
    let number = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    let allowed = |c: char| c.is_ascii_digit() || c == '-' || c.is_ascii_lowercase();
    number.is_some_and(|number| number.chars().all(allowed))
}

/// Whether a name is that of a module's settings: `1_Pooling/config.json`.
fn is_module_config(name: &str) -> bool {
    let module = name.split_once('/').filter(|(_, file)| *file == CONFIG_FILE);
    let module = module.and_then(|(folder, _)| folder.split_once('_'));
    module.is_some_and(|(number, kind)| {
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        digits && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}
