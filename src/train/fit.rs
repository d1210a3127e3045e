//! How much memory training takes, and the largest micro-batch that fits.

use super::config::TrainConfig;
use super::trainer::Trainer;
use crate::gpu::Gpu;
use crate::{Error, Result};

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
        let options = TrainConfig { micro_batch: size as usize, ..config.clone() }.trainer_options();
        match Trainer::plan(gpu, config.model.clone(), options) {
            Ok(_) => return Ok(size),
            Err(Error::OutOfMemory { .. } | Error::Limit { .. }) if sizes.peek().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::config("batch_sequences", "1 or more", config.batch_sequences))
}
