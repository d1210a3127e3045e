//! A model without the tokens and layers that are not needed.

use std::borrow::Cow;
use std::path::Path;

use super::card::ModelCard;
use super::list::{CONFIG_FILE, LIMITS_FILE, MODEL_FILES, MODULES_FILE, PROMPTS_FILE};
use super::model_folder::{ModelFolder, SavedTokenizer};
use super::writer::TensorSource;
use crate::models::Config;
use crate::store::{Store, write_atomic};
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
    let tokenizer = SavedTokenizer { json: &trimmed.json, special_tokens: folder.special_tokens.clone() };
    ModelFolder::save(store, out, &config, tokenizer, source, &card.render(&config))?;
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
    Ok(Config {
        vocab_size: kept.len(),
        num_hidden_layers: layers,
        pad_token_id: new("pad_token_id", config.pad_token_id)?,
        cls_token_id: new("cls_token_id", config.cls_token_id)?,
        sep_token_id: new("sep_token_id", config.sep_token_id)?,
        mask_token_id: new("mask_token_id", config.mask_token_id)?,
        ..config.clone()
    })
}

/// Copies what makes a sentence embedder of a model: the list of its modules, their folders, and the limits of texts.
fn copy_settings(store: &dyn Store, from: &Path, to: &Path) -> Result<()> {
    if !store.exists(&from.join(MODULES_FILE)) {
        return Ok(());
    }
    let copy = |name: &Path| {
        let bytes = store.read(&from.join(name))?;
        write_atomic(store, &to.join(name), |sink| sink.put(&bytes)).map(drop)
    };
    for folder in store.list(from)? {
        if !MODEL_FILES.contains(&format!("{folder}/{CONFIG_FILE}"), true)
            || !store.is_dir(&from.join(&folder))
        {
            continue;
        }
        store.create_dir_all(&to.join(&folder))?;
        for file in store.list(&from.join(&folder))? {
            copy(&Path::new(&folder).join(file))?;
        }
    }
    for name in [LIMITS_FILE, PROMPTS_FILE, MODULES_FILE] {
        if store.exists(&from.join(name)) {
            copy(Path::new(name))?;
        }
    }
    Ok(())
}
