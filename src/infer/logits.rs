//! What logits say.

/// `exp(l) / Σ exp(l)` of each logit, in f64. Empty for none.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let greatest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let parts: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - greatest).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

/// The index of the greatest value, the first of equals; 0 for none.
pub fn argmax(values: &[f32]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_of_equals_is_the_greatest() {
        assert_eq!(super::argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
        assert_eq!(super::argmax(&[]), 0);
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(super::softmax(&[0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(super::softmax(&[3e38, -3e38]), [1.0, 0.0]);
        let shares = super::softmax(&[1.0, 2.0, 3.0]);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert!((shares[2] / shares[1] - 1f64.exp()).abs() < 1e-12);
        assert!(super::softmax(&[]).is_empty());
    }
}
