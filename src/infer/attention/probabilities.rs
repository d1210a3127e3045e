//! The probabilities of every layer as plain arrays.

use serde::Serialize;

use crate::infer::session::Single;
use crate::models::Config;

/// The probabilities of all layers and heads on one sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probabilities {
    /// L
    pub layers: usize,
    /// H
    pub heads: usize,
    /// T
    pub tokens: usize,
    /// `[L, H, T, T]`: how much of its attention the token of a row gives to that of a column. A row sums to 1; rows
    /// and columns of padding are 0.
    pub values: Vec<f32>,
    /// `[L, H, buckets]`, for models with relative positions: `q·P[b(d)] / √D`, what a distance d of key less query
    /// adds to the logit, averaged over the sequence's queries. d runs from `-buckets/2` to `buckets/2 - 1`.
    pub by_distance: Option<Vec<f32>>,
}

impl Probabilities {
    /// What a recording left of the first `count` tokens, `length` of which are no padding.
    pub(super) fn collect(config: &Config, read: &Single, count: usize, length: usize) -> Self {
        let (heads, tokens) = (config.num_attention_heads, read.tokens);
        let (stride, buckets) = (tokens.next_multiple_of(4), config.relative_attention_num_buckets);
        // Probabilities of a layer, and behind them what its relative positions add, where it has any.
        let layers = config.num_hidden_layers;
        let per_layer = (read.outputs.len() / layers).max(1);
        let mut values = Vec::with_capacity(layers * heads * count * count);
        let mut by_distance = None;
        for layer in read.outputs.chunks(per_layer) {
            for head in layer[0].chunks(tokens * stride).take(heads) {
                for row in head.chunks(stride).take(count) {
                    values.extend(&row[..count.min(tokens)]);
                    values.resize(values.len() + count.saturating_sub(tokens), 0.0);
                }
                // Padding for which the recording had no room.
                values.resize(values.len() + count.saturating_sub(tokens) * count, 0.0);
            }
            let Some(relative) = layer.get(1) else { continue };
            let means = by_distance.get_or_insert_with(Vec::new);
            for head in relative.chunks(tokens * buckets).take(heads) {
                means.extend(mean_by_distance(head, buckets, length));
            }
        }
        Probabilities { layers, heads, tokens: count, values, by_distance }
    }
}

/// The mean of the first `length` rows of `[T, buckets]`, from the farthest before to the farthest after: bucket
/// d mod buckets is that of distance d.
fn mean_by_distance(rows: &[f32], buckets: usize, length: usize) -> Vec<f32> {
    let mut means = vec![0f64; buckets];
    for row in rows.chunks(buckets).take(length) {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / length as f64);
    }
    means.rotate_left(buckets / 2);
    means.into_iter().map(|mean| mean as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_run_from_before_to_after() {
        // Buckets 0, 1, -2, -1; the third row is padding.
        let rows = [0.0, 1.0, -2.0, -1.0, 0.0, 3.0, -6.0, -3.0, 9.0, 9.0, 9.0, 9.0];
        assert_eq!(mean_by_distance(&rows, 4, 2), [-4.0, -2.0, 0.0, 2.0]);
    }
}
