//! The forms of kernels that `doctor --tune` has found to be the fastest on an adapter, as training takes them.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wgrad::Error;
use wgrad::gpu::{Capabilities, Choices, Gpu, GpuOptions, MatrixOperands};
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
    /// What was multiplied on matrix units.
    units: Option<MatrixOperands>,
    choices: Choices,
}

impl Tuned {
    fn is_of(&self, adapter: &Capabilities, storage: DType) -> bool {
        let same = self.precision.storage() == storage && self.units == adapter.matrix_operands;
        same && self.subject == Subject::of(adapter)
    }
}

/// Keeps what was chosen.
pub fn keep(adapter: &Capabilities, precision: Precision, choices: &Choices) {
    let (subject, units) = (Subject::of(adapter), adapter.matrix_operands);
    let tuned = Tuned { subject, precision, units, choices: choices.clone() };
    let key = |tuned: &Tuned| (tuned.subject.adapter.clone(), tuned.precision, tuned.units);
    let replaced = key(&tuned);
    TUNED.keep(tuned, |other| key(other) == replaced);
}

/// How a device is opened that a run is trained on whose activations are `storage`: with the forms that were `asked` for; else,
/// for the run in `recipe` that goes on, with its own; else with those that this device was found to be the fastest
/// with. Where there are none, by the rules. Says which of them the device cannot take.
pub fn decide(
    asked: &Choices,
    recipe: Option<&Path>,
    storage: DType,
    options: GpuOptions,
) -> anyhow::Result<GpuOptions> {
    let adapter = pollster::block_on(Gpu::chosen(&options))?;
    check(asked)?;
    let choices = match recipe {
        _ if !asked.is_empty() => asked.clone(),
        Some(recipe) => of_run(recipe)?,
        None => of_adapter(&adapter, storage),
    };
    let choices = if choices.is_empty() { Choices::rules() } else { choices };
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
    let tuned = TUNED.find(|tuned: &Tuned| tuned.is_of(adapter, storage));
    // Whoever has changed the file by hand gets what the rules say.
    tuned.map(|tuned| tuned.choices).filter(|choices| check(choices).is_ok()).unwrap_or_default()
}

/// Those in the recipe of a run. Runs of before there was a choice have none, nor has one that was stopped before it began.
fn of_run(recipe: &Path) -> wgrad::Result<Choices> {
    #[derive(Default, Deserialize)]
    struct Recipe {
        #[serde(default)]
        kernels: Choices,
    }
    let json = match std::fs::read(recipe) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Choices::default()),
        read => read.map_err(Error::io(recipe, "read"))?,
    };
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
    fn what_was_measured_is_of_one_adapter_precision_and_use_of_units() {
        let adapter = Capabilities { name: "a GPU".into(), ..Capabilities::default() };
        let (subject, choices) = (Subject::of(&adapter), Choices::from("sums=whole"));
        let tuned = Tuned { subject, precision: Precision::Mixed, units: None, choices };
        assert!(tuned.is_of(&adapter, DType::F16) && !tuned.is_of(&adapter, DType::F32));
        let other = Capabilities { driver: "another".into(), ..adapter.clone() };
        assert!(!tuned.is_of(&other, DType::F16));
        let with_units = Capabilities { matrix_operands: Some(MatrixOperands::F16), ..adapter };
        assert!(!tuned.is_of(&with_units, DType::F16));
    }

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
