//! Random numbers without a state: each is a hash of what it is for.
//!
//! The hash is SplitMix64's finalizer, [`mix`] (all arithmetic wraps); draws become numbers by
//! [`unit`](crate::random::unit) and [`below`](crate::random::below):
//!
//! ```text
//! mix(x) = { x += 0x9E3779B97F4A7C15; x = (x ^ x>>30)·0xBF58476D1CE4E5B9;
//!            x = (x ^ x>>27)·0x94D049BB133111EB; x ^ x>>31 }
//! key(seed, epoch, sequence)   = mix(mix(mix(seed) ^ epoch) ^ sequence)
//! draw(key, purpose, position) = mix(key ^ (purpose << 56) ^ position)
//! unit(draw)                   = (draw >> 11) · 2^-53                    in [0, 1)
//! below(draw, n)               = ((draw >> 32) · n) >> 32                in 0..n, n < 2^32
//! ```

use crate::random::mix;

/// What a number is drawn for, so that choices at one position are independent. Part of the format: the numbers
/// of an existing purpose never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Which tokens are masked: the smallest draws win.
    Select = 1,
    /// Whether a masked token becomes `[MASK]`, a random token or itself.
    Replace = 2,
    /// Which random token.
    Token = 3,
    /// The length of a span, by the number of lengths drawn before.
    SpanLength = 4,
    /// The first word of a span, by the number of spans drawn before.
    SpanStart = 5,
}

/// The key of one sequence in one epoch.
pub fn key(seed: u64, epoch: u64, sequence: u64) -> u64 {
    mix(mix(mix(seed) ^ epoch) ^ sequence)
}

/// 64 random bits for `purpose` at `position`.
pub fn draw(key: u64, purpose: Purpose, position: u64) -> u64 {
    mix(key ^ ((purpose as u64) << 56) ^ position)
}
