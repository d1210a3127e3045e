//! Loading a model to run it.

use std::path::Path;

use serde_json::Value;

use crate::files::Weights;
use crate::files::list::TOKENIZER_CONFIG_FILE;
use crate::gpu::Gpu;
use crate::models::{Config, Model, WordTable};
use crate::store::{Store, read_settings};
use crate::tensor::DType;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// A model of `config` with the values that `weights` has for its parameters, for recordings that store activations as
/// `storage`.
///
/// Its word embeddings stay where the weights are, in a file or in memory, and a batch brings the rows it needs. Only
/// where the same table is the output layer of a head, and the device can bind it, does it go there.
///
/// # Errors
/// Those of reading the weights and of the device.
pub(crate) fn load(gpu: &Gpu, config: Config, weights: &Weights, storage: DType) -> Result<Model> {
    // Of the head too, which not every use of a model reads: a model that has broken down is refused by all.
    weights.check()?;
    let bound = (config.vocab_size * config.embedding_width()) as u64 <= gpu.capabilities().max_operand(4);
    let model = if config.is_masked_lm() && config.tie_word_embeddings && bound {
        Model::new(gpu, config, false)
    } else {
        let rows = weights.rows(&config.word_embeddings())?;
        Model::with_words(gpu, config, WordTable::new(move |ids| rows.f32(ids)))
    };
    let model = if storage == DType::F16 { model.and_then(Model::with_weights_f16) } else { model };
    let model = model.map_err(|error| error.with_advice("choose a smaller model"))?;
    model.load(|name| weights.f32(name))?;
    Ok(model)
}

/// Checks that a tokenizer is the one that a model of `config` learned with: no more tokens than it has embeddings for,
/// and the same special ones.
///
/// # Errors
/// [`Error::Config`], naming the field at fault.
pub(crate) fn agree(config: &Config, tokenizer: &Tokenizer) -> Result<()> {
    check_vocabulary(config, tokenizer.vocab_size())?;
    let specials = tokenizer.specials();
    let ids = [
        ("pad_token_id", config.pad_token_id, specials.pad),
        ("cls_token_id", config.cls_token_id, specials.cls),
        ("sep_token_id", config.sep_token_id, specials.sep),
        ("mask_token_id", config.mask_token_id, specials.mask),
    ];
    match ids.into_iter().find(|(_, found, expected)| found != expected) {
        Some((field, found, expected)) => {
            Err(Error::config(field, format!("{expected}, as in tokenizer.json"), found))
        }
        None => Ok(()),
    }
}

/// Checks that a model has an embedding for each of so many tokens.
///
/// # Errors
/// [`Error::Config`] where it lacks some.
pub(crate) fn check_vocabulary(config: &Config, tokens: usize) -> Result<()> {
    if tokens <= config.vocab_size {
        return Ok(());
    }
    Err(Error::config("vocab_size", format!("at least {tokens}, as in tokenizer.json"), config.vocab_size))
}

/// How many tokens the model of a folder sees of a text: what `tokenizer_config.json` says, else the context of
/// pretraining.
///
/// # Errors
/// [`Error::File`] for a `tokenizer_config.json` that is no JSON.
pub fn longest_in(store: &dyn Store, folder: &Path, config: &Config) -> Result<usize> {
    let settings = read_settings(store, &folder.join(TOKENIZER_CONFIG_FILE))?;
    // Tokenizers without a limit have an enormous number there.
    let given = settings.get("model_max_length").and_then(Value::as_u64);
    let given = given.and_then(|tokens| usize::try_from(tokens).ok()).filter(|&tokens| tokens <= 1 << 16);
    Ok(given.unwrap_or(config.max_position_embeddings).clamp(4, config.longest_text().max(4)))
}
