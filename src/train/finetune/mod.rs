//! Finetuning: a pretrained encoder learns a task.

pub mod scores;

pub use scores::Metric;
