//! Which documents are kept from training: those whose text, hashed with the seed, comes out lowest. The choice needs
//! neither the size of the corpus nor a second pass. Equal texts hash alike, so they stay on one side; only with a
//! count of sequences the last text chosen may be on both.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::sequences::Shape;
use crate::random::mix;
use crate::{Error, Result};

/// How much is kept from training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum HeldOut {
    /// This share of the documents, 0 to below 1. Unless it is 0, at least one document where there are two, or
    /// the end of the only one where it makes two sequences.
    Fraction(f64),
    /// Documents that make at least this many sequences.
    Sequences(u64),
}

impl HeldOut {
    /// Refuses a share that is none.
    pub(super) fn check(self) -> Result<()> {
        match self {
            HeldOut::Fraction(share) if !(0.0..1.0).contains(&share) => {
                Err(Error::config("held-out", "a share from 0 to below 1, or a count of sequences", share))
            }
            _ => Ok(()),
        }
    }
}

/// A tokenized document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Tokenized {
    /// The hash of its text with the seed; compared first.
    pub hash: u64,
    /// Its number, to tell equal texts apart.
    pub index: u64,
    pub tokens: Vec<u32>,
}

impl Tokenized {
    pub(super) fn new(text_hash: u64, seed: u64, index: u64, tokens: Vec<u32>) -> Self {
        Tokenized { hash: mix(text_hash ^ mix(seed)), index, tokens }
    }
}

/// A document and whether it is held out.
pub(super) type Decided = (bool, Tokenized);

pub(super) struct Chooser {
    rule: HeldOut,
    shape: Shape,
    /// Documents that may yet be held out, the highest hash on top.
    kept: BinaryHeap<Tokenized>,
    /// What `kept` amounts to; see [`Shape::weigh`].
    weight: u64,
    any_held_out: bool,
}

/// A chooser as it stands in the middle of its work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChooserState {
    kept: Vec<Tokenized>,
    weight: u64,
    any_held_out: bool,
}

impl Chooser {
    pub(super) fn new(rule: HeldOut, shape: Shape) -> Result<Self> {
        rule.check()?;
        Ok(Chooser { rule, shape, kept: BinaryHeap::new(), weight: 0, any_held_out: false })
    }

    /// What to go on from.
    pub(super) fn save(&self) -> ChooserState {
        let kept = self.kept.iter().cloned().collect();
        ChooserState { kept, weight: self.weight, any_held_out: self.any_held_out }
    }

    /// Goes on from a state of a chooser of the same rule.
    pub(super) fn resume(&mut self, state: ChooserState) {
        self.kept = state.kept.into();
        self.weight = state.weight;
        self.any_held_out = state.any_held_out;
    }

    fn weigh(&self, document: &Tokenized) -> u64 {
        self.shape.weigh(document.tokens.len())
    }

    /// Takes a document in and gives out those that are decided.
    pub(super) fn push(&mut self, document: Tokenized) -> Vec<Decided> {
        match self.rule {
            HeldOut::Fraction(0.0) | HeldOut::Sequences(0) => vec![(false, document)],
            HeldOut::Fraction(share) => {
                if (document.hash as f64) < share * 2_f64.powi(64) {
                    self.any_held_out = true;
                    let mut decided = vec![(true, document)];
                    decided.extend(self.kept.drain().map(|document| (false, document)));
                    return decided;
                }
                if self.any_held_out {
                    return vec![(false, document)];
                }
                // Should none come below the share, the lowest will do.
                self.kept.push(document);
                if self.kept.len() < 2 {
                    return Vec::new();
                }
                self.kept.pop().map(|document| (false, document)).into_iter().collect()
            }
            HeldOut::Sequences(count) => {
                let needed = count.saturating_mul(self.shape.unit());
                self.weight += self.weigh(&document);
                self.kept.push(document);
                let mut decided = Vec::new();
                while let Some(top) = self.kept.peek()
                    && self.weight - self.weigh(top) >= needed
                {
                    self.weight -= self.weigh(top);
                    decided.extend(self.kept.pop().map(|document| (false, document)));
                }
                decided
            }
        }
    }

    /// Decides the rest; `train` is how many documents went to training. Lowest hashes come first.
    pub(super) fn finish(self, train: u64) -> Vec<Decided> {
        let Chooser { rule, shape, kept, .. } = self;
        let mut kept = kept.into_sorted_vec();
        if let HeldOut::Fraction(share) = rule
            && train == 0
            && !self.any_held_out
            && let Some(mut only) = kept.pop()
        {
            let sequences = shape.sequences(only.tokens.len());
            if sequences < 2 {
                return vec![(false, only)];
            }
            let tail = ((share * sequences as f64).round() as usize).clamp(1, sequences - 1);
            let end = Tokenized {
                hash: only.hash,
                index: only.index,
                tokens: only.tokens.split_off((sequences - tail) * shape.body),
            };
            return vec![(false, only), (true, end)];
        }
        kept.into_iter().map(|document| (true, document)).collect()
    }
}
