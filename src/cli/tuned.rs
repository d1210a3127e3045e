//! The forms of kernels that `doctor --tune` has found to be the fastest on an adapter, as training takes them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use wgrad::Error;
use wgrad::gpu::{Capabilities, Choices, Gpu, GpuOptions};
use wgrad::ops::choices::{check, unfit};
use wgrad::tensor::DType;
use wgrad::train::Precision;

use super::kept::{Kept, Subject};
use super::print;

const TUNED: Kept = Kept { file: "tuned.json", what: "choices of kernels", key: "tuned", format: 1 };

/// What was chosen for a device and a precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tuned {
    #[serde(flatten)]
    subject: Subject,
    precision: Precision,
    choices: Choices,
}

/// Keeps what was chosen.
pub fn keep(adapter: &Capabilities, precision: Precision, choices: &Choices) {
    let tuned = Tuned { subject: Subject::of(adapter), precision, choices: choices.clone() };
    TUNED.keep(tuned, |other| (&other.subject.adapter, other.precision) == (&adapter.name, precision));
}

/// How a device is opened that a run is trained on whose activations are `storage`: with the forms that were `asked` for, else,
/// if the run in `recipe` goes on, those that it has taken, else those that this device was found to be the fastest
/// with. Says which of them the device cannot take.
pub fn decide(
    asked: &Choices,
    recipe: Option<&Path>,
    storage: DType,
    options: GpuOptions,
) -> anyhow::Result<GpuOptions> {
    let adapter = pollster::block_on(Gpu::chosen(&options))?;
    let choices = match recipe {
        _ if !asked.is_empty() => asked.clone(),
        Some(recipe) => of_run(recipe)?,
        None => of_adapter(&adapter, storage),
    };
    for choice in unfit(&choices, &adapter, storage) {
        print::note(format_args!(
            "note: {} cannot compute {} as it was chosen for this run ({}={}): the last bits may differ from those elsewhere",
            adapter.name,
            choice.what,
            choice.name,
            choices.get(choice.name).unwrap_or_default()
        ));
    }
    Ok(GpuOptions { choices, ..options })
}

fn of_adapter(adapter: &Capabilities, storage: DType) -> Choices {
    let subject = Subject::of(adapter);
    let tuned = TUNED.find(|tuned: &Tuned| tuned.subject == subject && tuned.precision.storage() == storage);
    // Whoever has changed the file by hand gets what the rules say.
    tuned.map(|tuned| tuned.choices).filter(|choices| check(choices).is_ok()).unwrap_or_default()
}

/// Those in the recipe of a run. Runs of before there was a choice have none; where there is no recipe yet, the run begins.
fn of_run(recipe: &Path) -> wgrad::Result<Choices> {
    #[derive(Default, Deserialize)]
    struct Recipe {
        #[serde(default)]
        kernels: Choices,
    }
    let Ok(json) = std::fs::read(recipe) else { return Ok(Choices::default()) };
    // What else is wrong with the recipe is told by those who need it.
    let choices = serde_json::from_slice::<Recipe>(&json).unwrap_or_default().kernels;
    match check(&choices) {
        Err(Error::Config { field, expected, found }) => {
            Err(Error::file(recipe, format!("`{field}` to be {expected}"), found))
        }
        other => other.map(|()| choices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_own_choices() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.json");
        let of = |json: &str| {
            std::fs::write(&path, json).unwrap();
            of_run(&path).map(|choices| choices.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(of(r#"{"seed": 1, "kernels": "sums=whole"}"#), Ok("sums=whole".to_owned()));
        assert_eq!(of(r#"{"seed": 1}"#), Ok(String::new()));
        let error = of(r#"{"kernels": "sums=none"}"#).unwrap_err();
        assert!(error.contains("train.json") && error.contains("`sums=none`"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of_run(&path).unwrap(), Choices::default());
    }
}
