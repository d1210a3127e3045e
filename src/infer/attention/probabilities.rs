//! The recording that keeps the probabilities of every layer.

use serde::Serialize;

use crate::autograd::Graph;
use crate::bert::{Config, InputSlots, Model, encode_probed};
use crate::gpu::{Buffer, Gpu, Recording, View};
use crate::{Error, Result};

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

/// A recording for sequences of one length.
pub(super) struct Recorded {
    tokens: usize,
    slots: InputSlots,
    layers: Vec<Kept>,
    recording: Recording,
}

/// What one layer leaves.
struct Kept {
    /// `[H, T, Tp]`
    probabilities: Buffer,
    /// `[H, T, buckets]`
    relative: Option<Buffer>,
}

impl Recorded {
    /// A recording of `model` on a sequence of `tokens`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(gpu: &Gpu, model: &Model, tokens: usize) -> Result<Self> {
        let mut graph = Graph::inference(gpu);
        let slots = InputSlots::of(gpu, model, graph.storage(), 1, tokens)?;
        let inputs = slots.inputs(&mut graph, &model.config)?;
        let mut layers = Vec::new();
        encode_probed(&mut graph, &model.config, &model.parameters, &inputs, &mut |graph, seen| {
            let mut keep = |view: View| {
                let buffer = gpu.buffer("attention probabilities", view.bytes)?;
                let to = graph.recorder().bind(&(&buffer).into());
                graph.recorder().copy(view, to);
                Ok::<_, Error>(buffer)
            };
            let probabilities = keep(seen.view)?;
            layers.push(Kept { probabilities, relative: seen.relative.map(keep).transpose()? });
            Ok(())
        })?;
        Ok(Recorded { tokens, slots, layers, recording: graph.finish("attention")? })
    }

    /// T
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Runs on token ids with their types; those from `length` on are padding.
    ///
    /// # Errors
    /// As [`InputSlots::write_typed`]; those of the device.
    pub async fn run(
        &self,
        gpu: &Gpu,
        config: &Config,
        (ids, types): (&[u32], &[u32]),
        length: usize,
    ) -> Result<Probabilities> {
        let end = length as u32;
        let bounds: Vec<[u32; 2]> =
            (0..ids.len()).map(|at| if at < length { [0, end] } else { [0, 0] }).collect();
        self.slots.write_typed(gpu, config, ids, types, &bounds)?;
        self.recording.replay()?;
        self.collect(gpu, config, ids.len(), length).await
    }

    /// Reads back what is there of the first `count` tokens, `length` of which are no padding.
    async fn collect(
        &self,
        gpu: &Gpu,
        config: &Config,
        count: usize,
        length: usize,
    ) -> Result<Probabilities> {
        let (heads, tokens) = (config.num_attention_heads, self.tokens);
        let (stride, buckets) = (tokens.next_multiple_of(4), config.relative_attention_num_buckets);
        let mut values = Vec::with_capacity(self.layers.len() * heads * count * count);
        let mut by_distance = None;
        for layer in &self.layers {
            let all: Vec<f32> = gpu.read(&layer.probabilities, 0, heads * tokens * stride).await?;
            for head in all.chunks(tokens * stride) {
                values.extend(head.chunks(stride).take(count).flat_map(|row| &row[..count]));
            }
            let Some(relative) = &layer.relative else { continue };
            let all: Vec<f32> = gpu.read(relative, 0, heads * tokens * buckets).await?;
            let means = by_distance.get_or_insert_with(Vec::new);
            for head in all.chunks(tokens * buckets) {
                means.extend(mean_by_distance(head, buckets, length));
            }
        }
        Ok(Probabilities { layers: self.layers.len(), heads, tokens: count, values, by_distance })
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
