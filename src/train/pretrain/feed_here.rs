//! The batches of the steps to come, made when they are asked for: a page has one thread.

use super::batches::fed;
use crate::data::{Batch, Batcher};
use crate::train::run::job::Fed;
use crate::train::schedule::Plan;
use crate::{Error, Result};

/// What the thread of the native feed holds.
pub(super) struct Feed {
    batcher: Batcher,
    plan: Plan,
    sequence: u64,
    micro: u64,
}

impl Feed {
    /// Feeds the steps of `plan`, starting at number `sequence` of the training stream.
    pub(super) fn start(batcher: Batcher, plan: Plan, _: u64, sequence: u64, micro: u64) -> Result<Self> {
        Ok(Self { batcher, plan, sequence, micro })
    }

    /// The step after `done` steps, which must not have been the last.
    pub(super) fn next(&mut self, done: u64) -> Result<Fed<Batch>> {
        let step = self.plan.step(done).ok_or_else(|| Error::Training {
            step: done + 1,
            message: "the run has no further step: this is a defect".to_owned(),
        })?;
        let first = self.sequence;
        self.sequence += step.sequences;
        fed(&self.batcher, step, first, self.micro)
    }
}
