//! BERT: its configuration, its parameters and where they start, its encoder and its head.

pub mod config;
mod encoder;
mod head;
pub mod init;
mod model;
pub mod parameters;

pub use config::{Activation, Architecture, Config, HeadInit, ModelType, NormPosition, PositionEmbedding};
pub use encoder::{Hidden, Ids, Inputs, encode};
pub use head::{Targets, mlm_logits, mlm_loss};
pub use init::initial_values;
pub use model::Model;
pub use parameters::{Init, ParameterSpec};
