//! Training: what happens at each optimizer step, and what is kept of it.

pub mod config;
#[cfg(not(target_arch = "wasm32"))]
pub mod dump;
pub mod estimate;
pub mod fit;
pub mod learner;
pub mod measure;
pub mod metrics;
pub mod mlm;
mod passes;
pub mod precision;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
pub mod schedule;
#[cfg(not(target_arch = "wasm32"))]
pub mod settings;
pub mod workload;

pub use config::{CheckpointConfig, EvaluateConfig, OptimizerConfig, TrainConfig};
pub use estimate::Estimate;
pub use fit::Memory;
pub use learner::{Evaluation, Learner, StepReport};
pub use mlm::{MlmLearner, MlmOptions};
pub use precision::Precision;
#[cfg(not(target_arch = "wasm32"))]
pub use run::{Event, RunOptions, Summary, run};
#[cfg(not(target_arch = "wasm32"))]
pub use settings::Settings;
pub use workload::Workload;
