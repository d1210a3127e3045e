//! The stream of batches that a run is fed.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::batch::Batch;
use super::dataset::{Dataset, Segment, Split};
use super::masking::{MaskingOptions, mask};
use super::order::Order;
use crate::{Error, Result};

/// The seed of the masks of held-out sequences: the same in every run, so that their losses compare.
pub const HELD_OUT_SEED: u64 = 0x68_656C_642D_6F75;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatcherOptions {
    /// Chooses the order and the masks.
    pub seed: u64,
    /// How tokens are masked.
    pub masking: MaskingOptions,
    /// Keep tokens from attending to padding.
    pub mask_padding: bool,
}

impl Default for BatcherOptions {
    fn default() -> Self {
        BatcherOptions { seed: 0, masking: MaskingOptions::default(), mask_padding: true }
    }
}

/// Makes batches of a [`Dataset`]; shared freely between threads.
///
/// Training reads an endless stream of sequences: number `c` is sequence `Order(epoch).at(c mod n)` of epoch `c / n`,
/// masked by (seed, epoch, sequence). Where a batch begins and ends does not matter. Of a packed sequence each segment
/// is masked as it would be alone, by its number: `ceil(rate·n)` of its own tokens. So a document is as likely to be
/// masked, and by as much, as in a sequence of its own; masks of a whole sequence would leave some short documents out
/// and mask others whole, and the loss would be another.
#[derive(Debug, Clone)]
pub struct Batcher {
    dataset: Arc<Dataset>,
    options: BatcherOptions,
}

impl Batcher {
    /// Batches of `dataset`.
    ///
    /// # Errors
    /// Bad masking options, data with nothing to train on, or packed data whose padding is to be attended to.
    pub fn new(dataset: Arc<Dataset>, options: BatcherOptions) -> Result<Self> {
        options.masking.check()?;
        if dataset.packed() && !options.mask_padding {
            let expected = "true with packed data, whose documents must not see each other";
            return Err(Error::config("mask_padding", expected, false));
        }
        if dataset.is_empty(Split::Train) {
            return Err(Error::config("data", "at least one sequence to train on", "none"));
        }
        Ok(Batcher { dataset, options })
    }

    /// The data.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// How batches are made.
    pub fn options(&self) -> &BatcherOptions {
        &self.options
    }

    /// Whether there are enough sequences that none comes twice in a batch of one epoch.
    ///
    /// # Errors
    /// [`Error::Config`] with both numbers when a batch of `sequences` is larger than the data.
    pub fn require(&self, sequences: u64) -> Result<()> {
        let found = self.dataset.len(Split::Train);
        if found >= sequences {
            return Ok(());
        }
        let tokens = self.dataset.tokens(Split::Train);
        let expected =
            format!("at most the {found} sequences ({tokens} tokens) to train on: lower it, or add text");
        Err(Error::config("batch", expected, sequences))
    }

    /// The batch of the numbers `counters` of the training stream, with the masking given at the start.
    ///
    /// # Errors
    /// As [`Dataset::sequence`].
    pub fn train(&self, counters: Range<u64>) -> Result<Batch> {
        self.train_with(counters, &self.options.masking)
    }

    /// As [`Batcher::train`], with another masking: its rate may change as training goes on.
    ///
    /// # Errors
    /// As [`Dataset::sequence`].
    pub fn train_with(&self, counters: Range<u64>, masking: &MaskingOptions) -> Result<Batch> {
        let length = self.dataset.len(Split::Train);
        let at = |counter: u64| {
            let epoch = counter / length;
            (epoch, Order::new(length, self.options.seed, epoch).at(counter % length))
        };
        self.batch(Split::Train, self.options.seed, counters, at, masking)
    }

    /// The batch of the held-out sequences `indices`, cut to those that exist; their masks are always the same.
    ///
    /// # Errors
    /// As [`Dataset::sequence`].
    pub fn held_out(&self, indices: Range<u64>) -> Result<Batch> {
        let end = indices.end.min(self.dataset.len(Split::HeldOut));
        let indices = indices.start.min(end)..end;
        self.batch(Split::HeldOut, HELD_OUT_SEED, indices, |index| (0, index), &self.options.masking)
    }

    fn batch(
        &self,
        split: Split,
        seed: u64,
        numbers: Range<u64>,
        at: impl Fn(u64) -> (u64, u64) + Sync,
        masking: &MaskingOptions,
    ) -> Result<Batch> {
        let table = self.dataset.table();
        let sequence = |number: u64| {
            let (epoch, index) = at(number);
            let tokens = self.dataset.sequence(split, index)?;
            let segments = self.dataset.segments(split, index)?;
            let masked = |part: &Segment| {
                mask(&tokens[part.start..part.end], seed, epoch, part.number, masking, table)
            };
            Ok(segments.iter().map(masked).collect())
        };
        let numbers: Vec<u64> = numbers.collect();
        let masked = numbers.into_par_iter().map(sequence).collect::<Result<Vec<Vec<_>>>>()?;
        let (seq_len, pad) = (self.dataset.seq_len(), table.specials().pad);
        Ok(Batch::lay_out(masked.iter().map(Vec::as_slice), seq_len, pad, self.options.mask_padding))
    }
}
