//! Attention in f64 on the CPU.

use super::Heads;

/// The f64 reference: `qkv`, `distances` (empty for none) and `bounds` as in [`super::attention`].
pub fn reference(qkv: &[f64], distances: &[f64], bounds: &[[u32; 2]], heads: Heads) -> Vec<f64> {
    dropped_reference(qkv, (distances, &[]), bounds, heads, |_| 1.0)
}

/// [`reference`] with `biases [H, buckets]` (empty for none) and each probability times the factor of its place in `[B, H, T, Tp]`.
pub(super) fn dropped_reference(
    qkv: &[f64],
    (distances, biases): (&[f64], &[f64]),
    bounds: &[[u32; 2]],
    heads: Heads,
    factor: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let Heads { sequences, tokens, heads, padding } = heads;
    let width = qkv.len() / (3 * sequences * tokens);
    let size = width / heads;
    let buckets = (distances.len() / size) as i64;
    let biased = (biases.len() / heads) as i64;
    let bucket = |i: usize, j: usize, buckets: i64| {
        let distance = (j as i64 - i as i64).clamp(-buckets / 2, buckets / 2 - 1);
        distance.rem_euclid(buckets) as usize
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let part =
        |row: usize, index: usize, head: usize| &qkv[row * 3 * width + index * width + head * size..][..size];
    let mut y = vec![0.0; sequences * tokens * width];
    for row in 0..sequences * tokens {
        let (first, i) = (row / tokens * tokens, row % tokens);
        let keys = bounds[row][0] as usize..bounds[row][1] as usize;
        for head in 0..heads {
            let query = part(row, 0, head);
            let logits: Vec<f64> = keys
                .clone()
                .map(|j| {
                    let mut logit = dot(query, part(first + j, 1, head));
                    if buckets > 0 {
                        logit += dot(query, &distances[bucket(i, j, buckets) * size..][..size]);
                    }
                    logit /= ((size - padding) as f64).sqrt();
                    if biased > 0 {
                        logit += biases[head * biased as usize + bucket(i, j, biased)];
                    }
                    logit
                })
                .collect();
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|l| (l - largest).exp()).sum();
            for (j, logit) in keys.clone().zip(&logits) {
                let place = (((row / tokens) * heads + head) * tokens + i) * tokens.next_multiple_of(4) + j;
                let probability = factor(place) * (logit - largest).exp() / total;
                for (d, value) in part(first + j, 2, head).iter().enumerate() {
                    y[row * width + head * size + d] += probability * value;
                }
            }
        }
    }
    y
}
