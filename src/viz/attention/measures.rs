//! What is computed from attention probabilities before they are drawn.

use super::{Attention, Shown};

/// How far apart tokens are in the views by distance: `-REACH ..= REACH - 1`, as the model's own buckets.
pub(super) const REACH: i64 = 16;

/// Attention rollout `[T, T]` over all layers (Abnar and Zuidema 2020): the product of the layers' `(A + I) / 2`, A
/// the mean of the heads. Rows sum to 1, as those of A do.
pub(super) fn rollout(attention: &Attention) -> Vec<f32> {
    let tokens = attention.tokens.len();
    let square = tokens * tokens;
    let mut rolled: Vec<f32> = (0..square).map(|at| f32::from(at % (tokens + 1) == 0)).collect();
    for layer in attention.probabilities.chunks(attention.heads * square) {
        let mut mean = vec![0.0; square];
        for head in layer.chunks(square) {
            mean.iter_mut().zip(head).for_each(|(mean, p)| *mean += 0.5 * p / attention.heads as f32);
        }
        (0..tokens).for_each(|at| mean[at * (tokens + 1)] += 0.5);
        let mut next = vec![0.0; square];
        for (out, row) in next.chunks_mut(tokens).zip(mean.chunks(tokens)) {
            for (weight, before) in
                row.iter().zip(rolled.chunks(tokens)).filter(|(weight, _)| **weight != 0.0)
            {
                out.iter_mut().zip(before).for_each(|(out, p)| *out += weight * p);
            }
        }
        rolled = next;
    }
    rolled
}

/// Each token's share in all tokens: the mean of the rows of a rollout `[T, T]`.
pub(super) fn relevance(rolled: &[f32], tokens: usize) -> Vec<f32> {
    let mut shares = vec![0.0; tokens];
    for row in rolled.chunks(tokens) {
        shares.iter_mut().zip(row).for_each(|(share, p)| *share += p / tokens as f32);
    }
    shares
}

/// Attention by distance.
pub(super) struct ByDistance {
    /// For each distance of `-REACH ..= REACH - 1` the mean over the queries that have a token there.
    pub mean: Vec<f32>,
    /// What goes farther than that, as a mean over all queries.
    pub beyond: f32,
}

/// Attention by distance of one head, over the tokens that are shown.
pub(super) fn by_distance(shown: &Shown, layer: usize, head: usize) -> ByDistance {
    let tokens = shown.len();
    let map = shown.map(layer, head);
    let (mut sums, mut counts, mut beyond) =
        (vec![0.0; 2 * REACH as usize], vec![0u32; 2 * REACH as usize], 0.0);
    for (i, row) in map.chunks(tokens).enumerate() {
        for (j, p) in row.iter().enumerate() {
            let distance = shown.positions[j] as i64 - shown.positions[i] as i64;
            if (-REACH..REACH).contains(&distance) {
                sums[(distance + REACH) as usize] += p;
                counts[(distance + REACH) as usize] += 1;
            } else {
                beyond += p / tokens as f32;
            }
        }
    }
    let mean = sums.iter().zip(&counts).map(|(sum, &count)| sum / count.max(1) as f32).collect();
    ByDistance { mean, beyond }
}

/// What distances add to the logits of one head `[buckets]`, nearest to farthest before first: less their mean,
/// which a softmax does not see. None for models without relative positions.
pub(super) fn added(attention: &Attention, layer: usize, head: usize) -> Option<Vec<f32>> {
    let all = attention.by_distance.as_ref()?;
    let buckets = all.len() / (attention.layers * attention.heads);
    let values = &all[(layer * attention.heads + head) * buckets..][..buckets];
    let mean = values.iter().sum::<f32>() / buckets.max(1) as f32;
    Some(values.iter().map(|value| value - mean).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Token};
    use super::*;

    /// Two layers of two heads over three tokens.
    fn attention() -> Attention {
        let uniform = [1.0 / 3.0; 9];
        let previous = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let own = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        Attention {
            layers: 2,
            heads: 2,
            tokens: vec![Token::default(); 3],
            probabilities: [uniform, previous, own, own].concat(),
            by_distance: Some([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0], [5.0, -1.0]].concat()),
            ..Attention::default()
        }
    }

    #[test]
    fn rollout_is_the_product_of_the_layers() {
        let rolled = rollout(&attention());
        // The second layer changes nothing: every token looks at itself.
        let mean = |uniform: f32, previous: f32, own: f32| 0.25 * uniform + 0.25 * previous + 0.5 * own;
        let third = 1.0 / 3.0;
        let expected = [
            mean(third, 1.0, 1.0),
            mean(third, 0.0, 0.0),
            mean(third, 0.0, 0.0),
            mean(third, 1.0, 0.0),
            mean(third, 0.0, 1.0),
            mean(third, 0.0, 0.0),
            mean(third, 0.0, 0.0),
            mean(third, 1.0, 0.0),
            mean(third, 0.0, 1.0),
        ];
        rolled.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{rolled:?}"));
        let shares = relevance(&rolled, 3);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((shares[0] - (expected[0] + expected[3] + expected[6]) / 3.0).abs() < 1e-6);
    }

    #[test]
    fn distances_are_counted_from_the_query() {
        let attention = attention();
        let shown = attention.shown(&Options::default()).unwrap();
        let at = |by: &ByDistance, distance: i64| by.mean[(distance + REACH) as usize];
        let previous = by_distance(&shown, 0, 1);
        assert_eq!([-2, -1, 0, 1].map(|d| at(&previous, d)), [0.0, 1.0, 1.0 / 3.0, 0.0]);
        assert_eq!(previous.beyond, 0.0);
        let own = by_distance(&shown, 1, 0);
        assert_eq!([-1, 0, 1].map(|d| at(&own, d)), [0.0, 1.0, 0.0]);
        assert_eq!(added(&attention, 0, 0), Some(vec![-1.0, 1.0]));
        assert_eq!(added(&attention, 1, 1), Some(vec![3.0, -3.0]));
    }

    #[test]
    fn what_lies_beyond_is_counted() {
        let tokens = 40;
        let attention = Attention {
            layers: 1,
            heads: 1,
            tokens: vec![Token::default(); tokens],
            probabilities: vec![1.0 / tokens as f32; tokens * tokens],
            ..Attention::default()
        };
        let shown = attention.shown(&Options::default()).unwrap();
        let by = by_distance(&shown, 0, 0);
        assert!(by.mean.iter().all(|mean| (mean - 0.025).abs() < 1e-6));
        let near: i64 = (0..40).map(|i: i64| (i + 16).min(40) - (i - 16).max(0)).sum();
        assert!((f64::from(by.beyond) - (1.0 - near as f64 / 1600.0)).abs() < 1e-5);
    }
}
