//! The model before its first step.

use std::borrow::Cow;
use std::path::Path;

use super::card::initial_card;
use super::{RunOptions, from};
use crate::Result;
use crate::files::{ModelFolder, TensorSource};
use crate::nn::initial_values;
use crate::store::{CHECKPOINTS, Purpose, claim};
use crate::train::run::{refuse_model, take_folder};

/// Writes a model folder with the weights that a run of these options starts from, and trains nothing.
///
/// # Errors
/// [`Error::File`](crate::Error::File) when the folder has a model or a run already; [`Error::Io`](crate::Error::Io).
pub fn save_initial(options: &RunOptions) -> Result<()> {
    let config = &options.config;
    config.check()?;
    refuse_model(&*options.store, &options.out)?;
    claim(&*options.store, &options.out, Purpose::Run, options.force)?;
    if options.store.exists(&options.out.join(CHECKPOINTS)) {
        // Says what is there, and holds the lock while it looks.
        drop(take_folder(&options.store, &options.out, false, options.force)?);
    }
    let from = from::model(options)?;
    let specs = config.model.parameters();
    let list = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    let source = TensorSource::new(list, |name| {
        if let Some(folder) = from {
            return Ok(Cow::Owned(folder.weights.f32(name)?));
        }
        let spec = specs.iter().find(|spec| spec.name == name);
        Ok(Cow::Owned(spec.map(|spec| initial_values(spec, config.seed)).unwrap_or_default()))
    });
    let out: &Path = &options.out;
    let card = initial_card(options).render(&config.model);
    let tokenizer = options.dataset.tokenizer();
    ModelFolder::save(&*options.store, out, &config.model, tokenizer, source, &card)
}
