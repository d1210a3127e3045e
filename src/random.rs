//! Random numbers as functions of random bits. Part of what runs and files follow from: the same bits give the same
//! numbers in every version.

/// SplitMix64's finalizer, a bijection of 64-bit integers: neighbouring inputs have outputs that have nothing in common.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Random bits as a number in [0, 1), by their upper 53.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Random bits as a number in `0..n`; 0 if `n` is 0.
pub fn below(bits: u64, n: u32) -> u32 {
    (((bits >> 32) * u64::from(n)) >> 32) as u32
}

/// Two independent normal values of this deviation from two uniform ones, the first above 0 (Box and Muller 1958).
pub(crate) fn normal([first, second]: [f64; 2], deviation: f64) -> [f64; 2] {
    let radius = deviation * (-2.0 * first.ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * second).sin_cos();
    [radius * cos, radius * sin]
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
    fn numbers_are_spread() {
        let mean = (0..10_000).map(|i| unit(mix(i))).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mut seen = [0_u32; 7];
        (0..7000).for_each(|i| seen[below(mix(i), 7) as usize] += 1);
        assert!(seen.iter().all(|&count| (900..1100).contains(&count)), "{seen:?}");
        assert_eq!(below(u64::MAX, 7), 6);
        assert_eq!(below(u64::MAX, 0), 0);
    }

    #[test]
    fn normal_values_have_their_moments() {
        let pair = |i: u64| normal([1.0 - unit(mix(2 * i)), unit(mix(2 * i + 1))], 3.0);
        let values: Vec<f64> = (0..20_000).flat_map(pair).collect();
        let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
        let expected = [0.0, 9.0, 0.0, 243.0];
        for (power, (expected, bound)) in (1..).zip(expected.into_iter().zip([0.1, 0.3, 2.0, 20.0])) {
            assert!((moment(power) - expected).abs() < bound, "moment {power}: {}", moment(power));
        }
    }
}
