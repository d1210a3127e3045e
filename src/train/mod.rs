//! Training: what happens at each optimizer step, and what is kept of it.

pub mod metrics;
pub mod schedule;
