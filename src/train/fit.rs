//! How much memory training takes, and the largest micro-batch that fits.

use serde::Serialize;

use super::config::TrainConfig;
use super::trainer::Trainer;
use crate::gpu::Gpu;
use crate::{Error, Result};

/// Bytes on the device while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The parameters, in every precision they are kept in.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// The optimizer's state.
    pub optimizer: u64,
    /// What steps and measurements use on the way: activations, textures of operands, inputs, settings.
    pub transient: u64,
    /// What reading the largest tensor back for a checkpoint takes for a moment.
    pub read_back: u64,
    /// All of it.
    pub total: u64,
}

/// The micro-batch sizes that `config` may have, largest first: the divisors of the smallest batch.
pub fn micro_batches(config: &TrainConfig) -> Vec<u64> {
    let batch = config.batch_sequences;
    (1..=batch).rev().filter(|size| batch.is_multiple_of(*size)).collect()
}

/// The largest micro-batch with which training by `config` fits the memory of `gpu` and the budget it was opened
/// with ([`crate::gpu::GpuOptions::memory`]). Everything is planned, and allocated for a moment, as in training.
///
/// # Errors
/// [`Error::OutOfMemory`] and [`Error::Limit`] when not even a single sequence fits; as [`Trainer::pretraining`].
pub fn largest_micro_batch(gpu: &Gpu, config: &TrainConfig) -> Result<u64> {
    let mut sizes = micro_batches(config).into_iter().peekable();
    while let Some(size) = sizes.next() {
        let options = TrainConfig { micro_batch: size as usize, ..config.clone() }.learner_options();
        match Trainer::plan(gpu, config.model.clone(), options) {
            Ok(_) => return Ok(size),
            Err(Error::OutOfMemory { .. } | Error::Limit { .. }) if sizes.peek().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::config("batch_sequences", "1 or more", config.batch_sequences))
}
