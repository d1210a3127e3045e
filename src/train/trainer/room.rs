//! The memory of recordings: taken for the largest batch before the first step, and given up where something else needs it.

use super::{Objective, Pass, Trainer};
use crate::Result;

impl<O: Objective> Trainer<O> {
    /// [`Trainer::prepare`] for learning from what has the shape of `batch`.
    ///
    /// # Errors
    /// As [`Trainer::prepare`].
    pub(in crate::train) fn prepare_for(&mut self, batch: &O::Batch) -> Result<()> {
        self.prepare_passes(self.engine.objective.shape(batch), &[Pass::Learn])
    }

    /// Gives up what was recorded for batches. The next one of a shape is recorded anew.
    ///
    /// # Errors
    /// Those of the device.
    pub(in crate::train) fn give_up_recordings(&mut self) -> Result<()> {
        let before = self.engine.gpu.allocated();
        self.shapes.clear();
        self.engine.settle()?;
        // Of what was recorded for a step itself nobody has counted the bytes.
        let given_back = before.saturating_sub(self.engine.gpu.allocated());
        self.bytes = self.bytes.saturating_sub(given_back).max(self.optimizer.bytes());
        Ok(())
    }
}
