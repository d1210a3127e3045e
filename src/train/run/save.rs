//! From a learner to files and back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunOptions;
use super::card::initial_card;
use super::job::{Job, refuse_model};
use crate::bert::init::initial_values;
use crate::checkpoint::{
    CheckpointState, LoadedCheckpoint, ModelFolder, RunFolder, Saved, TensorSource, Weights,
};
use crate::train::learner::Learner;
use crate::{Error, Result};

/// Where a run stands between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Position {
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
    fn of(checkpoint: &LoadedCheckpoint) -> Result<Self> {
        let position: Self = serde_json::from_value(checkpoint.state.extra.clone()).map_err(|error| {
            Error::file(&checkpoint.path, "the checkpoint of a pretraining run", error.to_string())
        })?;
        Ok(Self { step: checkpoint.state.step, sequence: checkpoint.state.sequence, ..position })
    }
}

/// Tensors read back from a learner.
struct Tensors {
    list: Vec<(String, Vec<usize>)>,
    values: HashMap<String, Vec<f32>>,
}

impl Tensors {
    async fn read<L: Learner>(learner: &mut L, list: Vec<(String, Vec<usize>)>) -> Result<Self> {
        let mut values = HashMap::with_capacity(list.len());
        for (name, _) in &list {
            values.insert(name.clone(), learner.read(name).await?);
        }
        Ok(Self { list, values })
    }

    fn source(&self) -> TensorSource<'_> {
        TensorSource::new(self.list.clone(), |name| {
            Ok(Cow::Borrowed(self.values.get(name).map(Vec::as_slice).unwrap_or_default()))
        })
    }
}

/// Saves a checkpoint. The outer error is the learner's, the inner one the disk's or a value's that is not finite.
pub(super) async fn save_checkpoint<L: Learner>(
    job: &Job<'_>,
    learner: &mut L,
    at: &Position,
) -> Result<Result<Saved>> {
    // Read before anything is written, because reading waits for the device and writing must not.
    let model = Tensors::read(learner, learner.model_tensors()).await?;
    let optimizer = Tensors::read(learner, learner.optimizer_tensors()).await?;
    let state = CheckpointState {
        step: at.step,
        sequence: at.sequence,
        fingerprint: job.fingerprint.clone(),
        extra: serde_json::to_value(at).unwrap_or_default(),
    };
    Ok(job.folder.save(&state, model.source(), optimizer.source()))
}

/// Writes a checkpoint's tensors into a learner and says where the run stood.
pub(super) fn restore<L: Learner>(learner: &mut L, checkpoint: &LoadedCheckpoint) -> Result<Position> {
    let position = Position::of(checkpoint)?;
    put(learner, learner.model_tensors(), &checkpoint.model)?;
    put(learner, learner.optimizer_tensors(), &checkpoint.optimizer)?;
    Ok(position)
}

fn put<L: Learner>(learner: &mut L, wanted: Vec<(String, Vec<usize>)>, weights: &Weights) -> Result<()> {
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
        learner.write(name, &weights.f32(name)?)?;
    }
    Ok(())
}

/// Writes the model folder at the end.
pub(super) async fn save_model<L: Learner>(job: &Job<'_>, learner: &mut L, card: &str) -> Result<()> {
    let options = job.options;
    let model = Tensors::read(learner, learner.model_tensors()).await?;
    ModelFolder::save_on(
        &*options.file_system,
        &options.out,
        &options.config.model,
        options.dataset.tokenizer().json(),
        model.source(),
        card,
    )
}

/// Writes a model folder with the weights that a run of these options starts from, and trains nothing.
///
/// # Errors
/// [`Error::File`] when the folder has a model or a run already; [`Error::Io`].
pub fn save_initial(options: &RunOptions) -> Result<()> {
    let config = &options.config;
    config.check()?;
    refuse_model(&*options.file_system, &options.out)?;
    if options.file_system.exists(&options.out.join("checkpoints")) {
        // Says what is there, and holds the lock while it looks.
        drop(RunFolder::create_on(options.file_system.clone(), &options.out)?);
    }
    let specs = config.model.parameters();
    let list = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    let source = TensorSource::new(list, |name| {
        let spec = specs.iter().find(|spec| spec.name == name);
        Ok(Cow::Owned(spec.map(|spec| initial_values(spec, config.seed)).unwrap_or_default()))
    });
    let out: &Path = &options.out;
    let card = initial_card(options).render(&config.model);
    let tokenizer = options.dataset.tokenizer().json();
    ModelFolder::save_on(&*options.file_system, out, &config.model, tokenizer, source, &card)
}
