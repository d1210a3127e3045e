//! Loading a model to run it.

use crate::Result;
use crate::bert::{Config, Model, WordTable};
use crate::files::Weights;
use crate::gpu::Gpu;
use crate::tensor::DType;

/// A model of `config` with the values that `weights` has for its parameters, for recordings that store activations as
/// `storage`.
///
/// Its word embeddings stay where the weights are, in a file or in memory, and a batch brings the rows it needs. Only
/// where the same table is the output layer of a head does it go to the device.
///
/// # Errors
/// Those of reading the weights and of the device.
pub(crate) fn load(gpu: &Gpu, config: Config, weights: &Weights, storage: DType) -> Result<Model> {
    let model = if config.guesses() && config.tie_word_embeddings {
        Model::new(gpu, config, false)?
    } else {
        let rows = weights.rows(Config::WORD_EMBEDDINGS)?;
        Model::with_words(gpu, config, WordTable::new(move |ids| rows.f32(ids)))?
    };
    let model = if storage == DType::F16 { model.with_halves()? } else { model };
    model.load(|name| weights.f32(name))?;
    Ok(model)
}
