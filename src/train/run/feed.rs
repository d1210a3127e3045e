//! The batches of the steps to come, made on a thread of their own while a step is computed.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::data::{Batch, Batcher};
use crate::train::schedule::{Plan, Step};
use crate::{Error, Result};

/// One optimizer step with its micro-batches.
pub(super) struct Fed {
    pub step: Step,
    /// Sequences consumed before this step.
    pub sequence: u64,
    pub micro_batches: Vec<Batch>,
}

/// A thread that stays one step ahead.
pub(super) struct Feed {
    receiver: Option<Receiver<Result<Fed>>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Feeds the steps of `plan` from `index` on, starting at number `sequence` of the training stream.
    pub(super) fn start(batcher: Batcher, plan: Plan, index: u64, sequence: u64, micro: u64) -> Result<Self> {
        // One is being trained on, one waits here, one is being made.
        let (sender, receiver) = sync_channel(1);
        let work = move || {
            let mut sequence = sequence;
            for step in plan.steps_from(index) {
                let fed = micro_batches(&batcher, sequence, step.sequences, micro);
                let failed = fed.is_err();
                let fed = fed.map(|micro_batches| Fed { step, sequence, micro_batches });
                sequence += step.sequences;
                // A closed channel: training has ended.
                if sender.send(fed).is_err() || failed {
                    return;
                }
            }
        };
        let thread = Builder::new().name("batches".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::Training {
            step: index + 1,
            message: format!("cannot start a thread to make batches: {error}"),
        })?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }

    /// The step after `done` steps, which must not have been the last.
    pub(super) fn next(&mut self, done: u64) -> Result<Fed> {
        let fed = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        fed.unwrap_or_else(|| {
            let message = "the thread that makes batches ended: this is a defect".to_owned();
            Err(Error::Training { step: done + 1, message })
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Closing the channel ends the thread.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The batches of one step: `sequences` of the stream from `first` on, `micro` at a time.
fn micro_batches(batcher: &Batcher, first: u64, sequences: u64, micro: u64) -> Result<Vec<Batch>> {
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
