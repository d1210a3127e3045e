//! Checkpoints: from a trainer to files and back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use super::job::Job;
use super::position::Position;
use crate::files::{CheckpointState, LoadedCheckpoint, TensorSource, Weights};
use crate::train::engine::StepEngine;
use crate::{Error, Result};

/// Tensors read back from a trainer.
pub(crate) struct Tensors {
    list: Vec<(String, Vec<usize>)>,
    values: HashMap<String, Vec<f32>>,
}

impl Tensors {
    pub(crate) async fn read<L: StepEngine>(
        trainer: &mut L,
        list: Vec<(String, Vec<usize>)>,
    ) -> Result<Self> {
        let mut values = HashMap::with_capacity(list.len());
        for (name, _) in &list {
            values.insert(name.clone(), trainer.read(name).await?);
        }
        Ok(Self { list, values })
    }

    pub(crate) fn source(&self) -> TensorSource<'_> {
        TensorSource::new(self.list.clone(), |name| {
            Ok(Cow::Borrowed(self.values.get(name).map(Vec::as_slice).unwrap_or_default()))
        })
    }
}

/// The key below which a checkpoint's state keeps what the job needs.
const JOB: &str = "job";

/// What the job kept in a checkpoint.
pub(super) fn job_state(checkpoint: &LoadedCheckpoint) -> Value {
    checkpoint.state.extra.get(JOB).cloned().unwrap_or_default()
}

/// Saves a checkpoint, and removes none. The outer error is the trainer's, the inner one the disk's or a value's that is not finite.
pub(super) async fn save_checkpoint<J: Job>(
    job: &J,
    trainer: &mut J::Trainer,
    at: &Position,
) -> Result<Result<PathBuf>> {
    // All tensors are read first: reading waits for the device, and no file should stay half-written meanwhile.
    let model = Tensors::read(trainer, trainer.model_tensors()).await?;
    let optimizer = Tensors::read(trainer, trainer.optimizer_tensors()).await?;
    let mut extra = serde_json::to_value(at).unwrap_or_default();
    let state = job.state();
    if let Some(fields) = extra.as_object_mut().filter(|_| !state.is_null()) {
        fields.insert(JOB.to_owned(), state);
    }
    let fingerprint = job.common().fingerprint.clone();
    let state = CheckpointState { step: at.step, sequence: at.sequence, fingerprint, extra };
    Ok(job.common().folder.add(&state, model.source(), optimizer.source()))
}

/// Writes a checkpoint's tensors into a trainer.
pub(super) fn restore<L: StepEngine>(trainer: &mut L, checkpoint: &LoadedCheckpoint) -> Result<()> {
    put(trainer, trainer.model_tensors(), &checkpoint.model)?;
    put(trainer, trainer.optimizer_tensors(), &checkpoint.optimizer)
}

fn put<L: StepEngine>(trainer: &mut L, wanted: Vec<(String, Vec<usize>)>, weights: &Weights) -> Result<()> {
    let mut wanted_shapes: Vec<_> = wanted.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    let mut found: Vec<_> = weights.shapes().collect();
    wanted_shapes.sort_unstable();
    found.sort_unstable();
    if wanted_shapes != found {
        let differs = |list: &[(&str, &[usize])], other: &[(&str, &[usize])]| {
            let only = list.iter().find(|tensor| !other.contains(tensor));
            only.map_or("nothing more".to_owned(), |(name, shape)| format!("`{name}` {shape:?}"))
        };
        let (expected, found) = (differs(&wanted_shapes, &found), differs(&found, &wanted_shapes));
        return Err(Error::file(
            weights.path(),
            format!("the tensors of this run's model, with {expected}"),
            found,
        ));
    }
    for (name, _) in &wanted {
        trainer.write(name, &weights.f32(name)?)?;
    }
    Ok(())
}
