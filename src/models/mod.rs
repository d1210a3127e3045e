//! BERT: its configuration, its parameters and where they start, its encoder and its head.

mod classifier;
pub mod config;
mod dropout;
mod encoder;
mod flops;
mod head;
pub mod init;
mod inputs;
mod json;
mod labels;
mod layers;
mod model;
pub mod parameters;
mod pooling;
mod validate;
mod words;

pub use classifier::classify;
pub use config::{
    Activation, Architecture, Config, HeadInit, ModelType, NormPosition, PositionEmbedding, ProblemType,
};
pub use dropout::Dropouts;
pub use encoder::{Hidden, encode, encode_probed, encode_with};
pub use head::{Targets, mlm_logits, mlm_loss, pooled};
pub use init::initial_values;
pub use inputs::{Ids, InputBuffers, Inputs, Words};
pub use layers::Probe;
pub use model::Model;
pub use parameters::{Init, ParameterSpec};
pub use pooling::Pooling;
pub use words::WordTable;
