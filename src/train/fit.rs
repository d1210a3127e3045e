//! How much memory training takes, and the largest micro-batch that fits.

use std::ops::RangeInclusive;

use super::config::TrainConfig;
use super::options::Memory;
use super::trainer::Trainer;
use crate::gpu::Gpu;
use crate::{Error, Result};

/// The micro-batch sizes that steps of `batch` sequences in so many blocks may have, largest first: the divisors that leave
/// each block one.
pub fn micro_batches(batch: u64, blocks: usize) -> Vec<u64> {
    let most = (batch / blocks.max(1) as u64).max(1);
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

impl Fit {
    /// The layers among which a search looks, of a model that has `all`: any number where inner results may be
    /// `recomputed`, else as many as there are.
    pub fn layers(self, all: usize, recomputed: bool) -> RangeInclusive<usize> {
        if recomputed { 0..=all } else { self.recompute..=self.recompute }
    }
}

/// The largest of `sizes`, which fall, as the micro-batch with which training by `config` fits the memory of `gpu` and
/// the budget it was opened with ([`crate::gpu::GpuOptions::memory`]). Everything is planned, and allocated for a moment,
/// as in training. Where inner results may be `recomputed`, they are for a larger micro-batch alone, and in as few layers
/// as it takes.
///
/// # Errors
/// [`Error::OutOfMemory`] and [`Error::Limit`] when not even the smallest fits; as [`Trainer::pretraining`].
pub fn largest(gpu: &Gpu, config: &TrainConfig, sizes: &[u64], recomputed: bool) -> Result<Fit> {
    let given = Fit { micro_batch: config.micro_batch_sequences(), recompute: config.recompute };
    search(sizes, given.layers(config.model.num_hidden_layers, recomputed), |fit| {
        let config =
            TrainConfig { micro_batch: fit.micro_batch as usize, recompute: fit.recompute, ..config.clone() };
        Trainer::plan(gpu, config.model.clone(), config.trainer_options())
    })
}

/// The first of `sizes` that can be planned with inner results computed twice in some number of `layers`, and the least such
/// number.
///
/// # Errors
/// As [`largest`].
pub(super) fn search(
    sizes: &[u64],
    layers: RangeInclusive<usize>,
    plan: impl Fn(Fit) -> Result<Memory>,
) -> Result<Fit> {
    let try_one = |micro_batch, recompute| match plan(Fit { micro_batch, recompute }) {
        Ok(_) => Ok(None),
        Err(error @ (Error::OutOfMemory { .. } | Error::Limit { .. })) => Ok(Some(error)),
        Err(error) => Err(error),
    };
    let (least, most) = layers.into_inner();
    let mut last = Error::config("batch", "1 or more", 0);
    for &micro_batch in sizes {
        let Some(error) = try_one(micro_batch, least)? else {
            return Ok(Fit { micro_batch, recompute: least });
        };
        last = error;
        if least == most {
            continue;
        }
        match try_one(micro_batch, most)? {
            Some(error) => last = error,
            None => {
                // It fits with the most layers and not with the fewest: the least number lies between.
                let (mut few, mut enough) = (least, most);
                while enough - few > 1 {
                    let recompute = (few + enough) / 2;
                    match try_one(micro_batch, recompute)? {
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
