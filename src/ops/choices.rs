//! Where more than one form of a kernel computes the same thing, and which is faster depends on the device: `wgrad doctor
//! --tune` measures them, and a run keeps what was chosen, because another form rounds otherwise.

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

/// Matrix products on matrix units, where there are some, or without.
pub const PRODUCTS: Choice =
    Choice { name: "products", what: "matrix products", forms: ["units", "plain"], tokens: None };
/// Products with few outputs and long sums, in parts that run side by side or whole.
pub const SUMS: Choice =
    Choice { name: "sums", what: "long sums of small products", forms: ["parts", "whole"], tokens: None };
/// Attention of sequences of fewer than 256 tokens.
pub const SHORT_ATTENTION: Choice = Choice {
    name: "attention.short",
    what: "attention to fewer than 256 tokens",
    forms: ["unfused", "fused"],
    tokens: Some(128),
};
/// Attention of longer ones; of the longest there is nothing to choose, as the unfused form takes too much memory.
pub const LONG_ATTENTION: Choice = Choice {
    name: "attention.long",
    what: "attention to 256 to 1023 tokens",
    forms: ["unfused", "fused"],
    tokens: Some(512),
};

/// All of them, in the order in which they are measured.
pub const ALL: [Choice; 4] = [PRODUCTS, SUMS, SHORT_ATTENTION, LONG_ATTENTION];

impl Choice {
    /// Whether the device can compute this form of activations stored as `storage`.
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
        let choices = Choices::default().with("sums", "parts").with("products", "units");
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
