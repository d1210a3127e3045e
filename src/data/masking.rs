//! Masking tokens to be guessed: which, and with what.
//!
//! Every choice is a [`draw`](super::rng::draw) from the key of (seed, epoch, sequence) at a position.
//!
//! **Token objective** (BERT, Devlin et al. 2019). Of the `n` tokens that are no specials, the `ceil(rate·n)` with the
//! smallest `Select` draws are masked. Each, by `unit(Replace draw)`: below `mask` it becomes `[MASK]`; below
//! `mask + random` a random token that is no special; else it stays. The random token is number
//! `below(Token draw, V - 5)` among the ids that are no specials.
//!
//! **Span objective** (after SpanBERT, Joshi et al. 2020): see [`Objective::Span`].

use serde::{Deserialize, Serialize};

use super::rng::{self, Purpose};
use super::spans;
use crate::random;
use crate::text::{SpecialIds, TokenTable};
use crate::{Error, Result};

/// What is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Tokens one by one.
    #[default]
    Token,
    /// Runs of whole words until `ceil(rate·n)` tokens are covered, the last word being finished. A run's length in
    /// words is geometric (0.2), drawn again while above min(10, words left); its first word is one of the words
    /// left. Neighbouring runs grow together, and each run is replaced as a whole: all `[MASK]`, all random, all kept.
    Span,
}

/// How tokens are masked. The default is BERT's: 15%, of which 80% `[MASK]`, 10% random, 10% kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MaskingOptions {
    /// The share of the tokens that is to be guessed, 0 to 1.
    pub rate: f64,
    /// The share of those that becomes `[MASK]`.
    pub mask: f64,
    /// The share of those that becomes a random token; the rest is kept as it is.
    pub random: f64,
    /// What is masked.
    pub objective: Objective,
}

impl Default for MaskingOptions {
    fn default() -> Self {
        MaskingOptions { rate: 0.15, mask: 0.8, random: 0.1, objective: Objective::Token }
    }
}

impl MaskingOptions {
    /// Whether the shares are shares.
    ///
    /// # Errors
    /// [`Error::Config`] when one is below 0, above 1 or not a number, or `mask + random` is above 1.
    pub fn check(&self) -> Result<()> {
        for (field, share) in
            [("mask-rate", self.rate), ("mask-share", self.mask), ("random-share", self.random)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::config(field, "a number from 0 to 1", share));
            }
        }
        if self.mask + self.random > 1.0 + 1e-9 {
            let sum = self.mask + self.random;
            return Err(Error::config("mask-share", "mask-share + random-share at most 1", sum));
        }
        Ok(())
    }

    /// How many of `n` maskable tokens are masked: `ceil(rate·n)`, forgiving the rounding of the product.
    pub fn masked(&self, n: usize) -> usize {
        ((self.rate * n as f64 - 1e-9).ceil().max(0.0) as usize).min(n)
    }
}

/// A sequence with some tokens masked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Masked {
    /// What the model is shown, as long as the sequence.
    pub input_ids: Vec<u32>,
    /// The positions to guess, ascending.
    pub positions: Vec<u32>,
    /// The tokens that were there, one per position.
    pub labels: Vec<u32>,
}

/// Masks tokens of `tokens`, the `sequence`-th sequence, in `epoch` of a run with `seed`.
///
/// `table` gives the specials, the size of the vocabulary and where words begin. The same arguments give the same
/// result always.
pub fn mask(
    tokens: &[u32],
    seed: u64,
    epoch: u64,
    sequence: u64,
    options: &MaskingOptions,
    table: &TokenTable,
) -> Masked {
    let key = rng::key(seed, epoch, sequence);
    let specials = table.specials();
    let maskable: Vec<usize> =
        (0..tokens.len()).filter(|&position| !specials.contains(tokens[position])).collect();
    let count = options.masked(maskable.len());
    let positions = match options.objective {
        Objective::Token => select(maskable, count, key),
        Objective::Span => spans::select(tokens, &maskable, count, key, table),
    };

    let mut input_ids = tokens.to_vec();
    let mut decided = (usize::MAX, 0.0);
    for &position in &positions {
        // A span's run shares the draw of its first position.
        let joins = options.objective == Objective::Span && decided.0.wrapping_add(1) == position;
        let share = match joins {
            true => decided.1,
            false => random::unit(rng::draw(key, Purpose::Replace, position as u64)),
        };
        decided = (position, share);
        if share < options.mask {
            input_ids[position] = specials.mask;
        } else if share < options.mask + options.random {
            let draw = rng::draw(key, Purpose::Token, position as u64);
            input_ids[position] =
                random_token(draw, specials, table.vocab_size()).unwrap_or(tokens[position]);
        }
    }
    Masked {
        input_ids,
        labels: positions.iter().map(|&position| tokens[position]).collect(),
        positions: positions.into_iter().map(|position| position as u32).collect(),
    }
}

/// The `count` positions with the smallest draws, ascending.
fn select(maskable: Vec<usize>, count: usize, key: u64) -> Vec<usize> {
    let draw = |position: usize| rng::draw(key, Purpose::Select, position as u64);
    let mut ranked: Vec<_> = maskable.into_iter().map(|position| (draw(position), position)).collect();
    ranked.sort_unstable();
    let mut positions: Vec<_> = ranked.into_iter().take(count).map(|(_, position)| position).collect();
    positions.sort_unstable();
    positions
}

/// One of the ids that are no specials; none if all are.
fn random_token(draw: u64, specials: &SpecialIds, vocab_size: usize) -> Option<u32> {
    let candidates = (vocab_size as u32).checked_sub(5).filter(|&count| count > 0)?;
    // The n-th id that is no special: every special at or below it pushes it up by one.
    let number = random::below(draw, candidates);
    Some(specials.sorted().into_iter().fold(number, |id, special| id + u32::from(special <= id)))
}
