//! BERT: its configuration, its parameters and where they start, its encoder and its head.

pub mod config;
mod encoder;
mod flops;
mod head;
pub mod init;
mod inputs;
mod json;
mod layers;
mod model;
pub mod parameters;
mod pooling;
mod validate;

pub use config::{Activation, Architecture, Config, HeadInit, ModelType, NormPosition, PositionEmbedding};
pub use encoder::{Hidden, Ids, Inputs, encode};
pub use head::{Targets, mlm_logits, mlm_loss, pooled};
pub use init::initial_values;
pub use inputs::InputSlots;
pub use model::Model;
pub use parameters::{Init, ParameterSpec};
pub use pooling::Pooling;
