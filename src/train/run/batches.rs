//! The batches that the learner sees.

use crate::Result;
use crate::data::{Batch, Batcher};
use crate::train::schedule::Step;

/// One optimizer step with its micro-batches.
pub(super) struct Fed {
    pub step: Step,
    /// Sequences consumed before this step.
    pub sequence: u64,
    pub micro_batches: Vec<Batch>,
}

/// The batches of one step: `sequences` of the stream from `first` on, `micro` at a time.
pub(super) fn micro_batches(batcher: &Batcher, first: u64, sequences: u64, micro: u64) -> Result<Vec<Batch>> {
    let starts = (first..first + sequences).step_by(usize::try_from(micro).unwrap_or(usize::MAX));
    starts.map(|start| batcher.train(start..(start + micro).min(first + sequences))).collect()
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

/// Adds sequences of padding, so that every batch has the shape the learner was built for.
fn fill_up(batch: &mut Batch, sequences: usize, pad: u32, mask_padding: bool) {
    let rows = sequences * batch.seq_len;
    batch.input_ids.resize(rows, pad);
    batch.bounds.resize(rows, if mask_padding { [0, 0] } else { [0, batch.seq_len as u32] });
    batch.sequences = sequences;
}
