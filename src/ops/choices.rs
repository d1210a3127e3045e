//! Kernel variants: where more than one form computes the same thing, and which is faster depends on the device. `wgrad doctor
//! --tune` measures them (autotuning, before a run and never in it), and a run keeps what was chosen, because another form
//! rounds otherwise.

use super::units::Units;
use crate::gpu::{AdapterKind, Capabilities, Choices};
use crate::tensor::DType;
use crate::{Error, Result};

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its name in [`Choices`].
    pub name: &'static str,
    /// What is computed, for people.
    pub what: &'static str,
    /// The names of its forms.
    pub forms: [&'static str; 2],
    /// T of the sequences that it is measured with; `None` for those of the workload.
    pub tokens: Option<usize>,
}

/// T from which on attention is long, and from which on its unfused form takes too much memory to be a choice.
pub(super) const LONG: usize = 256;
pub(super) const LONGEST: usize = 1024;

/// Matrix products on matrix units, where there are some, or without.
pub const PRODUCTS: Choice =
    Choice { name: "products", what: "matrix products", forms: ["units", "plain"], tokens: None };
/// Products with few outputs and long sums, in parts that run side by side (split-K) or whole.
pub const SUMS: Choice = Choice {
    name: "sums",
    what: "long sums of small products (split-K)",
    forms: ["parts", "whole"],
    tokens: None,
};
/// Attention of sequences of fewer than 256 tokens.
pub const SHORT_ATTENTION: Choice = Choice {
    name: "attention.short",
    what: "attention to fewer than 256 tokens",
    forms: ["unfused", "fused"],
    tokens: Some(128),
};
/// Attention of longer ones, of fewer than 1024.
pub const LONG_ATTENTION: Choice = Choice {
    name: "attention.long",
    what: "attention to 256 to 1023 tokens",
    forms: ["unfused", "fused"],
    tokens: Some(512),
};

/// All of them, in the order in which they are measured.
pub const ALL: [Choice; 4] = [PRODUCTS, SUMS, SHORT_ATTENTION, LONG_ATTENTION];

impl Choice {
    /// Whether the device can compute this form of activations stored as `storage`. Attention whose heads are too wide for the
    /// fused form, or whose probabilities no binding holds, follows the rules all the same.
    pub fn fits(&self, form: &str, device: &Capabilities, storage: DType) -> bool {
        match form {
            "units" => Units::of(device, storage).is_some(),
            // What poses as a GPU has no idle processors to fill.
            "parts" => device.kind == AdapterKind::Gpu,
            _ => self.forms.contains(&form),
        }
    }
}

/// Refuses names and forms that there are not.
///
/// # Errors
/// [`Error::Config`].
pub fn check(choices: &Choices) -> Result<()> {
    for (name, form) in choices.iter() {
        if !ALL.iter().any(|choice| choice.name == name && choice.forms.contains(&form)) {
            let known = ALL.map(|choice| format!("{}={}", choice.name, choice.forms.join("|")));
            let found = crate::error::quoted(&format!("{name}={form}"));
            return Err(Error::config("kernels", format!("of {}", known.join(" ")), found));
        }
    }
    Ok(())
}

/// Those of the choices that the device cannot follow.
pub fn unfit(choices: &Choices, device: &Capabilities, storage: DType) -> Vec<Choice> {
    let fits =
        |choice: &Choice| choices.get(choice.name).is_none_or(|form| choice.fits(form, device, storage));
    ALL.into_iter().filter(|choice| !fits(choice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_checked_by_name_and_by_device() {
        let choices = Choices::from("sums=parts products=units");
        for choice in ALL {
            let tokens = choice.tokens.unwrap_or(1);
            let range = if choice == LONG_ATTENTION { LONG..LONGEST } else { 1..LONG };
            assert!(range.contains(&tokens), "{choice:?}");
        }
        check(&Choices::rules()).unwrap();
        check(&choices).unwrap();
        let error = check(&choices.with("sums", "heaps")).unwrap_err().to_string();
        assert!(error.contains("`sums=heaps`") && error.contains("attention.long=unfused|fused"), "{error}");
        assert!(check(&choices.with("tiles", "64")).is_err());
        let device = Capabilities { kind: AdapterKind::Cpu, ..Capabilities::default() };
        assert_eq!(unfit(&choices, &device, DType::F32), [PRODUCTS, SUMS]);
        let gpu = Capabilities { kind: AdapterKind::Gpu, ..device };
        assert_eq!(unfit(&choices, &gpu, DType::F32), [PRODUCTS]);
        assert!(unfit(&Choices::default(), &gpu, DType::F32).is_empty());
    }
}
