//! The batches that the trainer sees.

use crate::Result;
use crate::data::{Batch, Batcher};
use crate::train::metrics::Row;
use crate::train::run::job::Fed;
use crate::train::schedule::Step;

/// A step, whose first sequence is number `first` of the stream, in micro-batches of `micro`.
pub(super) fn fed(batcher: &Batcher, step: Step, first: u64, micro: u64) -> Result<Fed<Batch>> {
    let end = first + step.sequences;
    let starts = (first..end).step_by(usize::try_from(micro).unwrap_or(usize::MAX));
    let batches = starts.map(|start| batcher.train(start..(start + micro).min(end)));
    let micro_batches = batches.collect::<Result<Vec<_>>>()?;
    Ok(Fed {
        tokens: micro_batches.iter().map(|batch| batch.tokens as u64).sum(),
        micro_batches,
        learning_rate: step.learning_rate,
        sequences: step.sequences,
        row: Row::default(),
    })
}

/// The first `sequences` held-out sequences in batches of `micro`, the last filled up with empty sequences.
pub(crate) fn held_out_batches(batcher: &Batcher, sequences: u64, micro: u64) -> Result<Vec<Batch>> {
    let pad = batcher.dataset().table().specials().pad;
    let starts = (0..sequences).step_by(usize::try_from(micro).unwrap_or(usize::MAX));
    let batch = |start: u64| {
        let mut batch = batcher.held_out(start..(start + micro).min(sequences))?;
        fill_up(&mut batch, micro as usize, pad, batcher.options().mask_padding);
        Ok(batch)
    };
    starts.map(batch).collect()
}

/// Adds sequences of padding, so that every batch has the shape the trainer was built for.
fn fill_up(batch: &mut Batch, sequences: usize, pad: u32, mask_padding: bool) {
    let rows = sequences * batch.seq_len;
    batch.input_ids.resize(rows, pad);
    batch.bounds.resize(rows, if mask_padding { [0, 0] } else { [0, batch.seq_len as u32] });
    batch.sequences = sequences;
}
