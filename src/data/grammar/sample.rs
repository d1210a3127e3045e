//! Documents drawn from the language.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::hmm::{Hmm, WordId};
use crate::Result;
use crate::random::unit;

/// Draws documents of one length. Each is a function of (seed, index) alone.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    endings: Vec<Vec<f64>>,
}

impl Sampler {
    /// Prepares to draw documents of `length` words.
    pub(super) fn new(hmm: &Hmm, length: usize) -> Result<Self> {
        Ok(Self { endings: hmm.endings(length)? })
    }

    /// Document `index` of the stream `seed`.
    pub(super) fn document(&self, hmm: &Hmm, seed: u64, index: u64) -> Vec<WordId> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let class = draw(&mut rng, hmm.classes.iter().copied().enumerate());
        let mut slot = usize::MAX;
        let mut document = Vec::with_capacity(self.endings.len());
        for ending in &self.endings {
            // The chain conditioned on ending well: each step is weighted by how likely that still is.
            slot = if slot == usize::MAX {
                draw(&mut rng, hmm.start.iter().enumerate().map(|(to, p)| (to, p * ending[to])))
            } else {
                draw(&mut rng, hmm.next[slot].iter().map(|&(to, p)| (to, p * ending[to])))
            };
            let words = &hmm.distributions[hmm.emission[slot][class]];
            document.push(draw(&mut rng, words.iter().copied()));
        }
        document
    }
}

/// One value drawn in proportion to its weight.
fn draw<T: Copy + Default>(rng: &mut ChaCha8Rng, weights: impl Iterator<Item = (T, f64)> + Clone) -> T {
    let total: f64 = weights.clone().map(|(_, w)| w).sum();
    let mut left = unit(rng.next_u64()) * total;
    let mut chosen = T::default();
    for (value, weight) in weights {
        if weight > 0.0 {
            chosen = value;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    chosen
}
