//! The batches of the steps to come, made on a thread of their own while a step is computed.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::batches::fed;
use crate::data::{Batch, Batcher};
use crate::train::run::job::Fed;
use crate::train::schedule::Plan;
use crate::{Error, Result};

/// A thread that stays one step ahead.
pub(super) struct Feed {
    receiver: Option<Receiver<Result<Fed<Batch>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Feeds the steps of `plan` from `index` on, starting at number `sequence` of the training stream.
    pub(super) fn start(batcher: Batcher, plan: Plan, index: u64, sequence: u64, micro: u64) -> Result<Self> {
        // Up to two are being trained on, one waits here, one is being made.
        let (sender, receiver) = sync_channel(1);
        let work = move || {
            let mut sequence = sequence;
            for step in plan.steps_from(index) {
                let first = sequence;
                sequence += step.sequences;
                let fed = fed(&batcher, step, first, micro);
                let failed = fed.is_err();
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
    pub(super) fn next(&mut self, done: u64) -> Result<Fed<Batch>> {
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
