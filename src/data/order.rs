//! A shuffle computed index by index, so that it takes no memory at any size.
//!
//! A Feistel network permutes the integers of `2·half` bits, the least even number of bits that holds `0..n`;
//! an index that lands past `n` is sent through again until it does not ("cycle walking"), four times on
//! average at worst.

use crate::random::mix;

const ROUNDS: u64 = 6;

/// A permutation of `0..n` chosen by a seed and an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    n: u64,
    half: u32,
    key: u64,
}

impl Order {
    /// The permutation of `0..n` for `epoch` of a run with `seed`; `n` is at most 2^62.
    pub fn new(n: u64, seed: u64, epoch: u64) -> Self {
        debug_assert!(n <= 1 << 62);
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Order { n, half: bits.div_ceil(2).max(1), key: mix(mix(mix(seed) ^ 0x006F_7264_6572) ^ epoch) }
    }

    /// How many indices are permuted.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Where index `i` goes; `i` is taken modulo `n`, and 0 comes back when `n` is 0.
    pub fn at(&self, i: u64) -> u64 {
        if self.n == 0 {
            return 0;
        }
        let mut x = self.feistel(i % self.n);
        while x >= self.n {
            x = self.feistel(x);
        }
        x
    }

    fn feistel(&self, x: u64) -> u64 {
        let low = (1_u64 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & low);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mix(self.key ^ (round << 56) ^ right) & low));
        }
        (left << self.half) | right
    }
}
