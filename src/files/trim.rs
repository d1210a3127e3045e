//! A model without the tokens and layers that are not needed.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::card::ModelCard;
use super::list::{MODEL_FILES, MODULES_FILE, SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, module_folders};
use super::model_folder::{ModelFolder, SavedTokenizer};
use super::sentence::described_in;
use super::writer::TensorSource;
use crate::models::Config;
use crate::store::{Store, checksums, read_json, read_settings, write_atomic, write_json};
use crate::text::Trimmed;
use crate::{Error, Result};

/// Writes what is left of `folder` into the folder `out`: the embeddings of the tokens of `trimmed`, as they are, and the
/// first `layers` layers, or all. For a text of kept tokens a model with all its layers computes what it computed before;
/// one with fewer layers computes what the first of them do. Layers go from the end, where leaving them out costs least
/// (Sajjad et al. 2023).
///
/// The settings of a sentence embedder come along; its reference vectors do not, as they may be of other tokens.
///
/// # Errors
/// [`Error::Config`] for more layers than there are, or none; those of reading and saving.
pub fn trim(
    store: &dyn Store,
    folder: &ModelFolder,
    trimmed: &Trimmed,
    layers: Option<usize>,
    out: &Path,
    card: &ModelCard,
) -> Result<Config> {
    let config = config(&folder.config, &trimmed.kept, layers)?;
    let list = config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let rows = config.vocab_size;
    let source = TensorSource::new(list, |name| {
        let values = folder.weights.f32(name)?;
        let shape = folder.weights.shape(name).unwrap_or_default();
        // What has a row for each token is cut; everything else is as it was.
        let is_cut = rows < folder.config.vocab_size && has_rows(&config, &folder.config, name);
        if !is_cut {
            return Ok(Cow::Owned(values));
        }
        let width: usize = shape.iter().skip(1).product();
        let row = |id: &u32| &values[*id as usize * width..][..width];
        Ok(Cow::Owned(trimmed.kept.iter().flat_map(row).copied().collect()))
    });
    // Halves stay halves.
    let is_f16 = |name: &str| folder.weights.dtype(name) == Some(safetensors::Dtype::F16);
    let source = match folder.weights.shapes().all(|(name, _)| is_f16(name)) {
        true => source.as_f16(),
        false => source,
    };
    let tokenizer = SavedTokenizer { json: &trimmed.json, special_tokens: folder.special_tokens.clone() };
    ModelFolder::save(store, out, &config, tokenizer, source, &card.render(&config))?;
    keep_length(store, &folder.path, out)?;
    copy_settings(store, &folder.path, out)?;
    Ok(config)
}

/// Whether a tensor has a row for each token: its shape follows from the number of tokens.
fn has_rows(now: &Config, before: &Config, name: &str) -> bool {
    let shape = |config: &Config| {
        let spec = config.parameters().into_iter().find(|spec| spec.name == name);
        spec.map(|spec| spec.shape)
    };
    shape(now) != shape(before)
}

/// The shape of what is left.
fn config(config: &Config, kept: &[u32], layers: Option<usize>) -> Result<Config> {
    let layers = layers.unwrap_or(config.num_hidden_layers);
    if layers == 0 || layers > config.num_hidden_layers {
        let expected = format!("1 to {}, the layers that the model has", config.num_hidden_layers);
        return Err(Error::config("layers", expected, layers));
    }
    let new = |field: &str, id: u32| {
        let found = kept.binary_search(&id).ok();
        let found = found.ok_or_else(|| Error::config(field, "a token of the tokenizer", id))?;
        Ok(found as u32)
    };
    let mut rotary = config.rotary.clone();
    if let Some(rotary) = &mut rotary
        && let Some(local) = &mut rotary.local
    {
        local.layers.truncate(layers);
    }
    Ok(Config {
        vocab_size: kept.len(),
        num_hidden_layers: layers,
        rotary,
        pad_token_id: new("pad_token_id", config.pad_token_id)?,
        cls_token_id: new("cls_token_id", config.cls_token_id)?,
        sep_token_id: new("sep_token_id", config.sep_token_id)?,
        mask_token_id: new("mask_token_id", config.mask_token_id)?,
        ..config.clone()
    })
}

/// Long texts are cut where they were.
fn keep_length(store: &dyn Store, from: &Path, to: &Path) -> Result<()> {
    const LENGTH: &str = "model_max_length";
    let before = read_settings(store, &from.join(TOKENIZER_CONFIG_FILE))?;
    let Some(length) = before.get(LENGTH) else { return Ok(()) };
    let path = to.join(TOKENIZER_CONFIG_FILE);
    let mut settings = read_settings(store, &path)?;
    settings.insert(LENGTH.to_owned(), length.clone());
    write_json(store, &path, &settings)?;
    checksums::enlist(store, to, &[TOKENIZER_CONFIG_FILE])
}

/// Copies what makes a sentence embedder of a model: the list of its modules, their folders, and the limits of texts.
fn copy_settings(store: &dyn Store, from: &Path, to: &Path) -> Result<()> {
    let from = &described_in(store, from);
    if !store.exists(&from.join(MODULES_FILE)) {
        return Ok(());
    }
    let modules = store.read(&from.join(MODULES_FILE))?;
    // What lay in a folder of the encoder's own lies in the folder itself now.
    let folders = module_folders(&modules);
    let encoder = folders.first().filter(|folder| !folder.is_empty()).map(|folder| format!("{folder}/"));
    let mut copied = Vec::new();
    let mut names = MODEL_FILES.small(Some(&modules));
    names.extend(MODEL_FILES.module_pickles(&modules));
    for name in names {
        let new = encoder.as_ref().and_then(|encoder| name.strip_prefix(encoder)).unwrap_or(&name).to_owned();
        // What lies beside the tokenizer was saved with it.
        if [TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE].contains(&new.as_str())
            || !store.exists(&from.join(&name))
        {
            continue;
        }
        let place = to.join(&new);
        if let Some(folder) = place.parent() {
            store.create_dir_all(folder)?;
        }
        if new == MODULES_FILE && encoder.is_some() {
            let mut list: Value = read_json(store, &from.join(&name), "a list of modules")?;
            list[0]["path"] = Value::from("");
            write_json(store, &place, &list)?;
        } else {
            let bytes = store.read(&from.join(&name))?;
            write_atomic(store, &place, |sink| sink.put(&bytes))?;
        }
        copied.push(new);
    }
    checksums::enlist(store, to, &copied.iter().map(String::as_str).collect::<Vec<_>>())
}
