//! What differs from the settings that a run has begun with: whether it may go on all the same, and what is told.

use serde_json::{Map, Value, json};

use super::Event;
use super::job::{Common, Job, Progress};
use crate::files::{LoadedCheckpoint, check_resume};
use crate::gpu::Choices;
use crate::train::engine::StepEngine;
use crate::train::precision::Precision;
use crate::{Error, Result};

/// A part of a fingerprint by its keys, with dots between them.
pub(super) fn part<'f>(fingerprint: &'f Map<String, Value>, keys: &str) -> Option<&'f Value> {
    let mut keys = keys.split('.');
    let first = fingerprint.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

/// The precision in the recipe of a fingerprint.
fn precision_in(fingerprint: &mut Map<String, Value>) -> Option<&mut Value> {
    fingerprint.get_mut("recipe")?.get_mut("precision")
}

/// A fingerprint whose precision is what was computed with. Runs that were begun in a page by an earlier version have
/// `auto` there, which was f32.
fn settled(fingerprint: &Map<String, Value>) -> Map<String, Value> {
    let mut fingerprint = fingerprint.clone();
    if let Some(precision) = precision_in(&mut fingerprint) {
        let asked: Option<Precision> = serde_json::from_value(precision.clone()).ok();
        *precision = asked.map_or(precision.take(), |asked| json!(asked.settled()));
    }
    fingerprint
}

/// Refuses a checkpoint of another recipe or other data, or says what changed if that is allowed.
pub(super) fn check_changes<J: Job>(
    job: &J,
    checkpoint: &LoadedCheckpoint,
    progress: Progress<'_>,
) -> Result<()> {
    let mut stored = settled(&checkpoint.state.fingerprint);
    let now = part(&job.common().fingerprint, "recipe.precision").filter(|_| job.common().other_precision);
    if let (Some(now), Some(before)) = (now, precision_in(&mut stored)) {
        before.clone_from(now);
    }
    let stored = &stored;
    let Err(error) = check_resume(stored, &job.common().fingerprint) else { return Ok(()) };
    let Error::Config { field, expected, found } = error else { return Err(error) };
    let (done, total) = (checkpoint.step, job.common().total_steps);
    // How many steps finetuning takes follows from its seeds and texts, and it says itself which of them cannot change.
    if total < done && !job.keeps_best() {
        let expected = format!("{done} or more, which are done");
        return Err(Error::config("steps", expected, total));
    }
    let consequence = job.consequence(stored, done).map_or(String::new(), |what| format!("; {what}"));
    if job.common().allow_changes {
        progress(Event::Warning(format!("the run goes on with changes: {found}{consequence}")));
        return Ok(());
    }
    let found = format!("{found}{consequence}; --allow-changes goes on with them");
    Err(Error::Config { field, expected, found })
}

/// Says where the device was opened with other forms of kernels than the run's: whoever opens devices by themselves, as a page
/// does, may not have asked.
pub(super) fn tell_other_forms(common: &Common, trainer: &impl StepEngine, progress: Progress<'_>) {
    let Some(gpu) = trainer.gpu() else { return };
    let within =
        |one: &Choices, other: &Choices| one.iter().all(|(name, form)| other.get(name) == Some(form));
    let (device, run) = (&gpu.capabilities().choices, &common.kernels);
    if !within(device, run) || !within(run, device) {
        progress(Event::Warning(format!(
            "the device takes other forms of kernels than the run's ({run}): the last bits of what follows may differ"
        )));
    }
}
