//! Training: what happens at each optimizer step, and what is kept of it.

pub mod learner;
pub mod metrics;
pub mod mlm;
pub mod schedule;

pub use learner::{Evaluation, Learner, StepReport};
pub use mlm::{MlmLearner, MlmOptions};
