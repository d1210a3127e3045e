//! Models: what all families of encoders share, and one file for each family.

mod by_family;
pub mod config;
mod encoder;
mod family;
mod heads;
mod input_buffers;
mod inputs;
mod json;
mod labels;
mod learning;
mod model;
mod pooling;
mod position_bias;
mod rotary;
mod validate;
mod vectors;
mod words;

pub use config::{
    Activation, Config, Head, HeadInit, ModelType, NormPosition, PositionEmbedding, ProblemType,
};
pub use encoder::{Encoder, Hidden, Probe};
pub use family::Family;
pub use heads::{Classifier, Heads, MaskedHead, Pooler, Targets, Transform};
pub use input_buffers::InputBuffers;
pub use inputs::{Inputs, RotaryInputs, Words};
pub use learning::{Freeze, Learning};
pub use model::Model;
pub use pooling::{Pooling, Poolings};
pub use rotary::{LocalAttention, Rotary};
pub use vectors::{Dense, DenseActivation, Residual, VectorStep, normalized};
pub use words::WordTable;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use {labels::unnamed, validate::MAX_LABELS};

/// Declares the modules of the families and collects them for [`families`].
macro_rules! families {
    ($($name:ident),+ $(,)?) => {
        $(mod $name;)+

        /// Every family.
        pub fn families() -> Vec<&'static dyn Family> {
            [$($name::FAMILIES),+].into_iter().flatten().copied().collect()
        }
    };
}

families! {
    notebook,
    bert,
    roberta,
    distilbert,
    electra,
    mpnet,
    modernbert,
    nomic_bert,
    gte,
}

/// The family of a model type.
fn family(model_type: ModelType) -> &'static dyn Family {
    let named = families().into_iter().find(|family| family.model_type() == model_type.name());
    // A model type is only ever made for a family that there is.
    named.unwrap_or(notebook::FAMILIES[0])
}

/// The family that has the class.
fn family_of_class(class: &str) -> Option<&'static dyn Family> {
    families().into_iter().find(|family| family.architectures().iter().any(|(known, _)| *known == class))
}
