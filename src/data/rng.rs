//! Random numbers without a state: each is a hash of what it is for.
//!
//! The hash is SplitMix64's finalizer, which is a bijection of 64-bit integers (all arithmetic wraps):
//!
//! ```text
//! mix(x) = { x += 0x9E3779B97F4A7C15; x = (x ^ x>>30)·0xBF58476D1CE4E5B9;
//!            x = (x ^ x>>27)·0x94D049BB133111EB; x ^ x>>31 }
//! key(seed, epoch, sequence)   = mix(mix(mix(seed) ^ epoch) ^ sequence)
//! draw(key, purpose, position) = mix(key ^ (purpose << 56) ^ position)
//! unit(draw)                   = (draw >> 11) · 2^-53                    in [0, 1)
//! below(draw, n)               = ((draw >> 32) · n) >> 32                in 0..n, n < 2^32
//! ```

/// What a number is drawn for, so that choices at one position are independent. Part of the format: the numbers
/// of an existing purpose never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Which tokens are hidden: the smallest draws win.
    Select = 1,
    /// Whether a hidden token becomes `[MASK]`, a random token or itself.
    Replace = 2,
    /// Which random token.
    Token = 3,
    /// The length of a span, by the number of lengths drawn before.
    SpanLength = 4,
    /// The first word of a span, by the number of spans drawn before.
    SpanStart = 5,
}

/// The finalizer of SplitMix64.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The key of one sequence in one epoch.
pub fn key(seed: u64, epoch: u64, sequence: u64) -> u64 {
    mix(mix(mix(seed) ^ epoch) ^ sequence)
}

/// 64 random bits for `purpose` at `position`.
pub fn draw(key: u64, purpose: Purpose, position: u64) -> u64 {
    mix(key ^ ((purpose as u64) << 56) ^ position)
}

/// A draw as a number in [0, 1).
pub fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// A draw as a number in `0..n`; 0 if `n` is 0.
pub fn below(draw: u64, n: u32) -> u32 {
    (((draw >> 32) * u64::from(n)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        // The first outputs of the reference generator seeded with 0 and with 1234567.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn draws_are_spread() {
        let key = key(1, 2, 3);
        let mean = (0..10_000).map(|i| unit(draw(key, Purpose::Select, i))).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mut seen = [0_u32; 7];
        (0..7000).for_each(|i| seen[below(draw(key, Purpose::Token, i), 7) as usize] += 1);
        assert!(seen.iter().all(|&count| (900..1100).contains(&count)), "{seen:?}");
        assert_eq!(below(u64::MAX, 7), 6);
        assert_eq!(below(u64::MAX, 0), 0);
    }
}
