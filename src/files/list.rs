//! What a model's folder may hold: the one list, by which folders are read and written and models downloaded.
//!
//! The page has a copy of it in `web/lib/model-files.js`, which `tests/model_files.rs` compares.

use serde::Serialize;

use crate::json::weigh;
use crate::text::VOCABULARY_FILE;
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
/// The weights as `torch.save` writes them, which are read where there are no better.
pub const PICKLE_FILE: &str = "pytorch_model.bin";
/// The same of several such files.
pub const PICKLE_INDEX_FILE: &str = "pytorch_model.bin.index.json";
/// The vectors of some texts, by which a device is checked. No folder must have them.
pub const REFERENCE_FILE: &str = "reference_vectors.json";

/// How the weights of a folder lie in files, the best form first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFiles {
    /// One safetensors file.
    One,
    /// Several safetensors files under an index.
    Several,
    /// One file of `torch.save`.
    Pickle,
    /// Several files of `torch.save` under an index.
    Pickles,
}

impl WeightFiles {
    const ALL: [WeightFiles; 4] = [Self::One, Self::Several, Self::Pickle, Self::Pickles];

    /// That of a folder which `has` these files; none where there are no weights.
    pub fn of(has: impl Fn(&str) -> bool) -> Option<WeightFiles> {
        Self::ALL.into_iter().find(|files| has(files.first()))
    }

    /// The file of that form by which it is known.
    pub fn first(self) -> &'static str {
        match self {
            Self::One => MODEL_FILE,
            Self::Several => INDEX_FILE,
            Self::Pickle => PICKLE_FILE,
            Self::Pickles => PICKLE_INDEX_FILE,
        }
    }

    /// Whether [`WeightFiles::first`] only says which files the tensors are in.
    pub fn is_index(self) -> bool {
        matches!(self, Self::Several | Self::Pickles)
    }

    /// Whether a file of this name is among them.
    fn contains(self, name: &str) -> bool {
        let shard = match self {
            Self::Several => is_shard(name, "model-", ".safetensors"),
            Self::Pickles => is_shard(name, "pytorch_model-", ".bin"),
            Self::One | Self::Pickle => false,
        };
        shard || name == self.first()
    }
}

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
    /// Whether a file of this name is part of a model; `has` tells which files there are at all, and `folders` are those of
    /// the modules of a sentence embedder, the encoder's first. Of weights in several forms the best is taken, and a
    /// vocabulary alone only where there is no whole tokenizer.
    pub fn contains(&self, name: &str, has: &dyn Fn(&str) -> bool, folders: &[String]) -> bool {
        let in_folder = |folder: &str, name: &str| {
            let weights = WeightFiles::of(|file| has(&below(folder, file)));
            let named = self.needed.iter().chain(&self.optional).chain(&self.sentence);
            let fixed = named.chain([&self.reference, &self.card]).any(|file| *file == name);
            let vocabulary = name == VOCABULARY_FILE && !has(&below(folder, TOKENIZER_FILE));
            fixed || vocabulary || weights.is_some_and(|weights| weights.contains(name))
        };
        let encoder = folders.first().map_or("", String::as_str);
        let of_a_module = |folder: &String| {
            let Some(name) = inside(folder, name) else { return false };
            let weights = WeightFiles::of(|file| has(&below(folder, file)));
            let single = weights.filter(|weights| !weights.is_index());
            name == CONFIG_FILE || single.is_some_and(|weights| name == weights.first())
        };
        in_folder("", name)
            || inside(encoder, name).is_some_and(|name| in_folder(encoder, name))
            || folders.iter().skip(1).any(of_a_module)
    }
}

/// A file of a folder of the model.
fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// What a file is called in a folder of the model, if it is in it.
fn inside<'n>(folder: &str, name: &'n str) -> Option<&'n str> {
    if folder.is_empty() { Some(name) } else { name.strip_prefix(folder)?.strip_prefix('/') }
}

impl ModelFiles {
    /// The files beside configuration, tokenizer and weights that a model with this `modules.json`, if any, may have.
    pub fn small(&self, modules: Option<&[u8]>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let folders = modules.map(module_folders).unwrap_or_default();
        let encoder = folders.first().filter(|folder| !folder.is_empty());
        let of_the_encoder = |name: &str| encoder.map_or(name.to_owned(), |folder| below(folder, name));
        names.extend(
            self.optional
                .map(|name| if name == MODULES_FILE { name.to_owned() } else { of_the_encoder(name) }),
        );
        if modules.is_some() {
            names.extend([of_the_encoder(LIMITS_FILE), PROMPTS_FILE.to_owned()]);
            for folder in folders.iter().skip(1).filter(|folder| !folder.is_empty()) {
                names.push(below(folder, CONFIG_FILE));
                // Only of some kinds, and small beside the encoder's.
                names.push(below(folder, MODEL_FILE));
            }
        }
        names
    }
}

impl ModelFiles {
    /// The files of `torch.save` that modules behind the encoder may have in the place of others.
    pub fn module_pickles(&self, modules: &[u8]) -> Vec<String> {
        let folders = module_folders(modules);
        folders
            .iter()
            .skip(1)
            .filter(|folder| !folder.is_empty())
            .map(|folder| below(folder, PICKLE_FILE))
            .collect()
    }
}

/// The folders that a `modules.json` names, the encoder's first; none where it is no list of modules. One that leads out of
/// the model's folder is left out.
pub fn module_folders(modules: &[u8]) -> Vec<String> {
    let modules = weigh(modules).ok().and_then(|()| serde_json::from_slice(modules).ok());
    let modules: Vec<serde_json::Value> = modules.unwrap_or_default();
    let path = |module: &serde_json::Value| {
        let path = module.get("path")?.as_str()?.trim_start_matches("./").trim_matches('/');
        let path = if path == "." { "" } else { path };
        let sound = |part: &str| !part.starts_with('.') && !part.contains(['\\', ':', '\0']);
        (path.is_empty() || path.split('/').all(|part| !part.is_empty() && sound(part)))
            .then(|| path.to_owned())
    };
    modules.iter().filter_map(path).collect()
}

/// Whether a name is that of one of several files of weights: `model-00001-of-00002.safetensors`.
fn is_shard(name: &str, before: &str, behind: &str) -> bool {
    let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    let allowed = |c: char| c.is_ascii_digit() || c == '-' || c.is_ascii_lowercase();
    number.is_some_and(|number| number.chars().all(allowed))
}
