//! Biases for the distance of two tokens, as T5 has them and MPNet after it.

use super::config::Config;
use crate::Result;
use crate::nn::{Context, Embedding, Init, Scope};
use crate::ops::position_bias::position_bias;
use crate::tensor::{DType, Tensor};

/// Buckets of distances: half of them for the tokens before, half for those behind.
const BUCKETS: usize = 32;

/// The least distance of each bucket from the eighth on; those before have one distance each. They grow as a logarithm
/// does: these are the values of `transformers`, which computes them in f32.
const FIRST_DISTANCES: [usize; 8] = [8, 12, 16, 23, 32, 46, 64, 91];

/// Beyond so many tokens all distances are in one bucket.
const REACH: usize = 92;

/// A number to each head and bucket of distances, added to the logits (Raffel et al. 2020).
#[derive(Debug, Clone, Copy)]
pub(super) struct PositionBias {
    /// `[buckets, H]`
    table: Embedding,
}

impl PositionBias {
    /// Declares `{name}.weight`.
    pub(super) fn new(scope: &mut Scope, name: &str, config: &Config) -> Self {
        let init = Init::Normal(config.initializer_range);
        PositionBias { table: Embedding::new(scope, name, [BUCKETS, config.num_attention_heads], init) }
    }

    /// `[H, distances]`, the distances in the order that attention has them: from 0 up, then from the least.
    pub(super) fn forward(&self, context: &mut Context) -> Result<Tensor> {
        let table = context.tensor(self.table.table)?;
        let buckets = buckets();
        let buckets = context.graph.constant(&buckets, [buckets.len()], DType::U32)?;
        position_bias(context.graph, &table, &buckets)
    }
}

/// The bucket of each distance from a query to a key: 0 to 91, then -92 to -1.
fn buckets() -> Vec<u32> {
    let bucket = |distance: usize| match FIRST_DISTANCES.iter().rposition(|first| *first <= distance) {
        Some(larger) => FIRST_DISTANCES[0] + larger,
        None => distance,
    };
    let behind = (0..REACH).map(|distance| bucket(distance) + if distance > 0 { BUCKETS / 2 } else { 0 });
    let before = (1..=REACH).rev().map(bucket);
    behind.chain(before).map(|bucket| bucket as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        let buckets = buckets();
        assert_eq!(buckets.len(), 2 * REACH);
        let at = |distance: i32| buckets[distance.rem_euclid(2 * REACH as i32) as usize];
        for (distance, bucket) in [(0, 0), (1, 17), (8, 24), (11, 24), (12, 25), (63, 29), (64, 30), (91, 31)]
        {
            assert_eq!(at(distance), bucket, "{distance}");
        }
        for (distance, bucket) in
            [(-1, 1), (-7, 7), (-15, 9), (-16, 10), (-22, 10), (-23, 11), (-90, 14), (-92, 15)]
        {
            assert_eq!(at(distance), bucket, "{distance}");
        }
    }
}
