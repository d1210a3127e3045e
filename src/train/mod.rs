//! Training: what happens at each optimizer step, and what is kept of it.

#[cfg(not(target_arch = "wasm32"))]
pub mod benchmark;
pub mod config;
pub mod dump;
pub mod engine;
pub mod estimate;
#[cfg(not(target_arch = "wasm32"))]
pub mod finetune;
pub mod fit;
#[cfg(not(target_arch = "wasm32"))]
pub mod local_steps;
pub mod metrics;
pub mod objective;
mod optimizer;
mod options;
pub mod precision;
pub mod pretrain;
#[cfg(not(target_arch = "wasm32"))]
pub mod ranks;
pub mod run;
#[cfg(not(target_arch = "wasm32"))]
pub mod scaling;
pub mod schedule;
pub mod settings;
pub mod statistics;
pub mod stress;
pub mod trainer;
#[cfg(not(target_arch = "wasm32"))]
pub mod tune;
#[cfg(not(target_arch = "wasm32"))]
pub mod wire_format;
pub mod workload;

pub use config::{CheckpointConfig, EvaluateConfig, GroupConfig, OptimizerConfig, TrainConfig};
pub use engine::{Evaluation, StepEngine, StepReport};
pub use estimate::Estimate;
#[cfg(not(target_arch = "wasm32"))]
pub use local_steps::LocalSteps;
pub use objective::{MaskedTokens, Objective};
pub use options::{Memory, MlmOptions, TrainerOptions};
pub use precision::Precision;
pub use pretrain::{RunOptions, Summary, pretrain};
pub use run::Event;
pub use settings::Settings;
pub use trainer::{BegunStep, Trainer};
#[cfg(not(target_arch = "wasm32"))]
pub use wire_format::WireFormat;
pub use workload::Workload;
