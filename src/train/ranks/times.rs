//! What the seconds of steps went to.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What the seconds of some steps went to on one rank, each second to one thing at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTimes {
    /// How many steps.
    pub steps: u64,
    /// Seconds of all of them: on rank 0 from their beginning to their report, on others from the blocks that they are sent to
    /// their answer.
    pub seconds: f64,
    /// Until the first gradients of each block were there: the forward pass, and the backward pass until it is done with them. Where
    /// a rank learns by itself, its whole steps.
    pub compute: f64,
    /// Until all other gradients of the own blocks had been read from the device, as which the rest of the backward pass counts, as
    /// far as nothing was done meanwhile.
    pub read: f64,
    /// Rounding and adding on the host.
    pub add: f64,
    /// Sending gradients, sums and, from rank 0, micro-batches: until there was room for them on their way.
    pub send: f64,
    /// Waiting for gradients of other ranks.
    pub gradients: f64,
    /// Waiting for sums of other ranks.
    pub sums: f64,
    /// The optimizer's step, with the gradients that are written to the device for it.
    pub optimizer: f64,
    /// Waiting for what other ranks answer when they have computed or done something; of others than rank 0, for that to go on.
    pub answers: f64,
}

impl StepTimes {
    /// The parts by their names, in the order in which they are told.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        let StepTimes { compute, read, add, send, gradients, sums, optimizer, answers, .. } = *self;
        [
            ("compute", compute),
            ("read", read),
            ("add", add),
            ("send", send),
            ("gradients", gradients),
            ("sums", sums),
            ("optimizer", optimizer),
            ("answers", answers),
        ]
    }

    /// What an exchange has waited for so far.
    pub(super) fn exchanging(&self) -> f64 {
        self.send + self.gradients + self.sums
    }
}

/// Does what `work` does, and adds what it takes to `seconds`.
pub(super) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    *seconds += began.elapsed().as_secs_f64();
    done
}

impl std::ops::AddAssign for StepTimes {
    fn add_assign(&mut self, other: Self) {
        let StepTimes { steps, seconds, compute, read, add, send, gradients, sums, optimizer, answers } =
            other;
        self.steps += steps;
        let own = [
            &mut self.seconds,
            &mut self.compute,
            &mut self.read,
            &mut self.add,
            &mut self.send,
            &mut self.gradients,
            &mut self.sums,
            &mut self.optimizer,
            &mut self.answers,
        ];
        let others = [seconds, compute, read, add, send, gradients, sums, optimizer, answers];
        own.into_iter().zip(others).for_each(|(own, other)| *own += other);
    }
}
