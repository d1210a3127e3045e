//! Loading a model to run it.

use crate::Result;
use crate::files::Weights;
use crate::gpu::Gpu;
use crate::models::{Config, Model, WordTable};
use crate::tensor::DType;

/// A model of `config` with the values that `weights` has for its parameters, for recordings that store activations as
/// `storage`.
///
/// Its word embeddings stay where the weights are, in a file or in memory, and a batch brings the rows it needs. Only
/// where the same table is the output layer of a head, and the device can bind it, does it go there.
///
/// # Errors
/// Those of reading the weights and of the device.
pub(crate) fn load(gpu: &Gpu, config: Config, weights: &Weights, storage: DType) -> Result<Model> {
    let bound = (config.vocab_size * config.hidden_size) as u64 <= gpu.capabilities().max_operand(4);
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
