//! Where a run stands.

use serde::{Deserialize, Serialize};

use crate::files::LoadedCheckpoint;
use crate::{Error, Result};

/// Where a run stands between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps done.
    pub step: u64,
    /// Sequences consumed: the number of the next in the training stream.
    pub sequence: u64,
    /// Tokens seen, padding left out.
    pub tokens: u64,
    /// Steps whose gradient was not finite.
    pub skipped: u64,
    /// Those of them since the last good step.
    pub skipped_in_a_row: u64,
    /// Time spent training.
    pub seconds: f64,
}

impl Position {
    pub(crate) fn of(checkpoint: &LoadedCheckpoint) -> Result<Self> {
        let position: Self = serde_json::from_value(checkpoint.state.extra.clone())
            .map_err(|error| Error::file(&checkpoint.path, "the checkpoint of a run", error.to_string()))?;
        Ok(Self { step: checkpoint.state.step, sequence: checkpoint.state.sequence, ..position })
    }
}
