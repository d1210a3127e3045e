//! BERT: its configuration, its parameters and where they start.

pub mod config;
pub mod init;
pub mod parameters;

pub use config::{Activation, Architecture, Config, HeadInit, ModelType, NormPosition, PositionEmbedding};
pub use init::initial_values;
pub use parameters::{Init, ParameterSpec};
