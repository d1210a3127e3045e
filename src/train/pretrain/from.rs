//! Runs that go on from a model.

use super::RunOptions;
use crate::data::Dataset;
use crate::files::ModelFolder;
use crate::train::engine::StepEngine;
use crate::{Error, Result};

/// The model whose weights a new run starts from; none where it starts from nothing.
///
/// # Errors
/// [`Error::Config`] where the recipe names a model that the options do not hold; those of [`check_start`]; a model of another shape
/// than the recipe's.
pub(super) fn model(options: &RunOptions) -> Result<Option<&ModelFolder>> {
    let Some(name) = &options.config.from else { return Ok(None) };
    match &options.from {
        Some(folder) if options.config.model != folder.config => {
            let expected = "the shape of the model that the run starts from, unchanged";
            Err(Error::config("model", expected, "another shape"))
        }
        Some(folder) => check_start(folder, &options.dataset).map(|()| Some(&**folder)),
        None => {
            Err(Error::config("from", format!("the model {name}, from whose weights the run starts"), "none"))
        }
    }
}

/// Checks that a run on `dataset` can start from a model: that it has a head to go on with, and the tokenizer of the data.
///
/// # Errors
/// [`Error::File`] for a model without a masked-language-model head; [`Error::Config`] for data of another tokenizer.
pub fn check_start(folder: &ModelFolder, dataset: &Dataset) -> Result<()> {
    let config = &folder.config;
    if !config.is_masked_lm() {
        let expected = "a model with a masked-language-model head, such as BertForMaskedLM, to go on from";
        return Err(Error::file(&folder.path, expected, config.architectures.join(", ")));
    }
    if !dataset.tokenizer().is_of(&folder.tokenizer_json) {
        let path = folder.path.display();
        let expected =
            format!("data made with the model's tokenizer: `wgrad data prepare --tokenizer {path}`");
        return Err(Error::config("data", expected, "another tokenizer"));
    }
    Ok(())
}

/// Gives a trainer the weights of the model.
///
/// # Errors
/// Those of reading the weights, and of the trainer.
pub(super) fn put<L: StepEngine>(trainer: &mut L, folder: &ModelFolder) -> Result<()> {
    for (name, _) in trainer.model_tensors() {
        trainer.write(&name, &folder.weights.f32(&name)?)?;
    }
    Ok(())
}
