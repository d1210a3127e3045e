//! Folders of sentence embedders: a model folder, and what `sentence-transformers` says about pooling.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::ModelFolder;
use super::list::{CONFIG_FILE, LIMITS_FILE, MODULES_FILE, PROMPTS_FILE, TOKENIZER_CONFIG_FILE};
use crate::error::quoted;
use crate::models::Pooling;
use crate::store::{Disk, Store, read_json, read_settings};
use crate::{Error, Result};

/// A model folder with what turns its hidden states into one vector per text.
#[derive(Debug)]
pub struct SentenceFolder {
    /// The encoder.
    pub model: ModelFolder,
    /// How tokens become a text.
    pub pooling: Pooling,
    /// Whether vectors are divided by their length.
    pub normalize: bool,
    /// How many tokens of a text are seen at most, `[CLS]` and `[SEP]` counted.
    pub max_tokens: usize,
    /// Whether texts are lower-cased before they are tokenized.
    pub lower_case: bool,
    /// What is put in front of each text.
    pub prompt: String,
    /// Whether `sentence-transformers` described the folder, or all of this is by default.
    pub described: bool,
}

/// A module of `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl SentenceFolder {
    /// Reads a folder with a `modules.json`, or a mere model folder: then the mean over the tokens, divided by its
    /// length.
    ///
    /// # Errors
    /// As [`ModelFolder::load`]; [`Error::File`] for a module or a pooling that is not known here.
    pub fn load(dir: impl AsRef<Path>) -> Result<SentenceFolder> {
        Self::load_on(&Disk, dir)
    }

    /// [`SentenceFolder::load`] from a given store.
    ///
    /// # Errors
    /// As [`SentenceFolder::load`].
    pub fn load_on(store: &dyn Store, dir: impl AsRef<Path>) -> Result<SentenceFolder> {
        let dir = dir.as_ref();
        let path = dir.join(MODULES_FILE);
        let modules: Vec<Module> =
            if store.exists(&path) { read_json(store, &path, "a list of modules")? } else { Vec::new() };
        let kinds: Vec<&str> =
            modules.iter().map(|module| module.kind.rsplit('.').next().unwrap_or_default()).collect();
        let normalize = match kinds.as_slice() {
            [] | ["Transformer", "Pooling", "Normalize"] => true,
            ["Transformer", "Pooling"] => false,
            _ => {
                let found = kinds.iter().map(|kind| quoted(kind)).collect::<Vec<_>>().join(", ");
                return Err(Error::file(path, "a Transformer, a Pooling, and perhaps a Normalize", found));
            }
        };
        let folder = |index: usize| inside(dir, &path, modules.get(index).map_or("", |module| &module.path));
        let model_dir = folder(0)?;
        let model = ModelFolder::load_on(store, &model_dir)?;
        let mut found = SentenceFolder {
            pooling: Pooling::Mean,
            normalize,
            max_tokens: model.config.max_position_embeddings,
            lower_case: false,
            prompt: String::new(),
            described: !modules.is_empty(),
            model,
        };
        if found.described {
            found.pooling = pooling(store, &folder(1)?.join(CONFIG_FILE), found.model.config.hidden_size)?;
            found.read_limits(store, &model_dir)?;
            found.read_prompt(store, &dir.join(PROMPTS_FILE))?;
        }
        Ok(found)
    }

    /// How long texts may be.
    fn read_limits(&mut self, store: &dyn Store, dir: &Path) -> Result<()> {
        let settings = read_settings(store, &dir.join(LIMITS_FILE))?;
        let tokenizer = read_settings(store, &dir.join(TOKENIZER_CONFIG_FILE))?;
        self.lower_case = settings.get("do_lower_case") == Some(&Value::Bool(true));
        let given = settings.get("max_seq_length").filter(|value| !value.is_null());
        let limit = match given {
            Some(value) => value.as_u64().filter(|&tokens| tokens >= 3).ok_or_else(|| {
                let path = dir.join(LIMITS_FILE);
                Error::file(path, "`max_seq_length` to be at least 3", value.to_string())
            })?,
            // Without a limit of its own a tokenizer has an enormous one, written as a float.
            None => tokenizer.get("model_max_length").and_then(Value::as_u64).unwrap_or(u64::MAX).max(3),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let config = &self.model.config;
        // Where positions are relative, a given limit may exceed the context of pretraining.
        self.max_tokens = if given.is_some() && !config.is_bounded() {
            limit
        } else {
            limit.min(config.max_position_embeddings)
        };
        Ok(())
    }

    /// What is put in front of every text.
    fn read_prompt(&mut self, store: &dyn Store, path: &Path) -> Result<()> {
        let settings = read_settings(store, path)?;
        let Some(name) = settings.get("default_prompt_name").and_then(Value::as_str) else { return Ok(()) };
        let prompt = settings.get("prompts").and_then(|prompts| prompts.get(name)).and_then(Value::as_str);
        self.prompt = prompt
            .ok_or_else(|| Error::file(path, format!("a prompt called {}", quoted(name)), "none"))?
            .to_string();
        Ok(())
    }
}

/// The pooling of a `1_Pooling/config.json`: one flag per kind, or one name.
fn pooling(store: &dyn Store, path: &Path, width: usize) -> Result<Pooling> {
    const FLAG: &str = "pooling_mode_";
    let settings: serde_json::Map<String, Value> = read_json(store, path, "the settings of a pooling")?;
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        if let Some(found) = settings.get(key).filter(|value| value.as_u64() != Some(width as u64)) {
            let expected = format!("`{key}` to be {width}, the model's width");
            return Err(Error::file(path, expected, found.to_string()));
        }
    }
    if settings.get("include_prompt") == Some(&Value::Bool(false)) {
        return Err(Error::file(path, "`include_prompt` to be true", "false"));
    }
    let set = |(key, value): (&String, &Value)| {
        let kind = key.strip_prefix(FLAG)?;
        (*value == Value::Bool(true)).then(|| kind.to_string())
    };
    let mut kinds: Vec<String> = settings.iter().filter_map(set).collect();
    kinds.extend(settings.get("pooling_mode").and_then(Value::as_str).map(str::to_string));
    match kinds.as_slice() {
        [kind] if kind == "mean_tokens" || kind == "mean" => Ok(Pooling::Mean),
        [kind] if kind == "cls_token" || kind == "cls" => Ok(Pooling::Cls),
        [] => Err(Error::file(path, "a pooling of `mean` or `cls`", "none")),
        other => Err(Error::file(path, "a pooling of `mean` or `cls`", quoted(&other.join(", ")))),
    }
}

/// A folder that `modules.json` names: the folder itself, or one right in it.
fn inside(dir: &Path, modules: &Path, name: &str) -> Result<PathBuf> {
    if name.is_empty() || name == "." {
        return Ok(dir.to_path_buf());
    }
    if name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
        return Err(Error::file(modules, "modules in the folder itself", quoted(name)));
    }
    Ok(dir.join(name))
}
