//! How much memory training takes, and the largest micro-batch that fits.

use super::config::TrainConfig;
use super::trainer::Trainer;
use crate::gpu::Gpu;
use crate::{Error, Result};

/// The micro-batch sizes that `config` may have, largest first: the divisors of the smallest batch that leave each block one.
pub fn micro_batches(config: &TrainConfig) -> Vec<u64> {
    let batch = config.batch_sequences;
    let most = (batch / config.blocks.max(1) as u64).max(1);
    (1..=most).rev().filter(|size| batch.is_multiple_of(*size)).collect()
}

/// What was found to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Sequences computed at once.
    pub micro_batch: u64,
    /// Layers whose inner results are computed twice ([`TrainConfig::recompute`]).
    pub recompute: usize,
}

/// The largest of `sizes`, which fall, as the micro-batch with which training by `config` fits the memory of `gpu` and
/// the budget it was opened with ([`crate::gpu::GpuOptions::memory`]). Everything is planned, and allocated for a moment,
/// as in training. Where inner results may be `recomputed`, they are for a larger micro-batch alone, and in as few layers
/// as it takes.
///
/// # Errors
/// [`Error::OutOfMemory`] and [`Error::Limit`] when not even the smallest fits; as [`Trainer::pretraining`].
pub fn largest(gpu: &Gpu, config: &TrainConfig, sizes: &[u64], recomputed: bool) -> Result<Fit> {
    let try_one = |fit: Fit| -> Result<Option<Error>> {
        let config =
            TrainConfig { micro_batch: fit.micro_batch as usize, recompute: fit.recompute, ..config.clone() };
        match Trainer::plan(gpu, config.model.clone(), config.trainer_options()) {
            Ok(_) => Ok(None),
            Err(error @ (Error::OutOfMemory { .. } | Error::Limit { .. })) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    };
    let mut last = Error::config("batch_sequences", "1 or more", config.batch_sequences);
    for &micro_batch in sizes {
        let kept = Fit { micro_batch, recompute: if recomputed { 0 } else { config.recompute } };
        let Some(error) = try_one(kept)? else { return Ok(kept) };
        last = error;
        if !recomputed {
            continue;
        }
        let all = Fit { micro_batch, recompute: config.model.num_hidden_layers };
        match try_one(all)? {
            Some(error) => last = error,
            None => {
                // It fits in all layers and not in none: the least number lies between.
                let (mut few, mut enough) = (0, all.recompute);
                while enough - few > 1 {
                    let recompute = (few + enough) / 2;
                    match try_one(Fit { micro_batch, recompute })? {
                        Some(_) => few = recompute,
                        None => enough = recompute,
                    }
                }
                return Ok(Fit { micro_batch, recompute: enough });
            }
        }
    }
    Err(last)
}
