//! Training: what happens at each optimizer step, and what is kept of it.

pub mod learner;
pub mod mlm;

pub use learner::{Evaluation, Learner, StepReport};
pub use mlm::{MlmLearner, MlmOptions};
