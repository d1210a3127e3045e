//! How much the texts or words of each class count in training.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::train::objective::Targets;
use crate::{Error, Result};

/// What a text, or a word, of each class counts in the loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All count alike.
    #[default]
    Equal,
    /// A class counts the more the rarer it is: all answers / (classes * answers of the class), as scikit-learn has it.
    Balanced,
    /// Those of some classes by name; the others count 1.
    Given(Vec<(String, f64)>),
}

impl ClassWeights {
    /// Whether all count alike.
    pub(super) fn is_equal(&self) -> bool {
        *self == ClassWeights::Equal
    }

    /// The weight of each of `labels`, by how often each is among `targets`; empty where all count alike.
    ///
    /// # Errors
    /// [`Error::Config`] for a label that is not there.
    pub(super) fn of(&self, labels: &[String], targets: &Targets) -> Result<Vec<f32>> {
        match self {
            ClassWeights::Equal => Ok(Vec::new()),
            ClassWeights::Balanced => {
                let mut counts = vec![0usize; labels.len()];
                let mut count = |class: u32| counts[class as usize] += 1;
                match targets {
                    Targets::Classes(list) => list.iter().for_each(|class| count(*class)),
                    Targets::Tokens(list) => list.iter().flatten().for_each(|(_, class)| count(*class)),
                    Targets::Labels(_) | Targets::Numbers(_) | Targets::Pairs => {}
                }
                let all: usize = counts.iter().sum();
                let share = |count: usize| match count {
                    // A class that is not met has no say.
                    0 => 1.0,
                    count => all as f64 / (labels.len() as f64 * count as f64),
                };
                Ok(counts.into_iter().map(|count| share(count) as f32).collect())
            }
            ClassWeights::Given(given) => {
                let mut weights = vec![1f32; labels.len()];
                for (name, weight) in given {
                    let place = labels.iter().position(|label| label == name).ok_or_else(|| {
                        let known: Vec<_> = labels.iter().take(20).map(|label| quoted(label)).collect();
                        Error::config("class-weights", format!("one of {}", known.join(", ")), quoted(name))
                    })?;
                    weights[place] = *weight as f32;
                }
                Ok(weights)
            }
        }
    }
}

impl FromStr for ClassWeights {
    type Err = Error;

    /// `equal`, `balanced`, or names with their weights: `spam=3,ham=0.5`. A name may hold `=`, and no comma.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "equal" => return Ok(ClassWeights::Equal),
            "balanced" => return Ok(ClassWeights::Balanced),
            _ => {}
        }
        let one = |part: &str| {
            let (name, weight) = part.rsplit_once('=')?;
            let weight: f64 = weight.trim().parse().ok()?;
            let sound = (weight as f32) > 0.0 && (weight as f32).is_finite();
            (sound && !name.trim().is_empty()).then(|| (name.trim().to_owned(), weight))
        };
        let wrong = |part: &str| {
            let expected = "`balanced`, or label=weight with weights above 0, as in spam=3,ham=0.5";
            Error::config("class-weights", expected, quoted(part))
        };
        let mut given: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = one(part).ok_or_else(|| wrong(part))?;
            if given.iter().any(|(known, _)| *known == name) {
                return Err(Error::config("class-weights", "each label once", quoted(&name)));
            }
            given.push((name, weight));
        }
        Ok(ClassWeights::Given(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_name_and_by_count() {
        let labels = ["ham", "spam", "eggs"].map(str::to_owned);
        let targets = Targets::Classes(vec![0, 0, 0, 1, 0, 1]);
        let of = |text: &str| text.parse::<ClassWeights>().and_then(|weights| weights.of(&labels, &targets));
        assert_eq!(of("equal").unwrap(), Vec::<f32>::new());
        assert_eq!(of("balanced").unwrap(), [0.5, 1.0, 1.0]);
        assert_eq!(of("spam=3, eggs = 0.5").unwrap(), [1.0, 3.0, 0.5]);
        let tokens = Targets::Tokens(vec![vec![(1, 1), (2, 2)], vec![], vec![(5, 1)]]);
        let weights = ClassWeights::Balanced.of(&labels, &tokens).unwrap();
        assert_eq!(weights, [1.0, 0.5, 1.0]);
        for wrong in
            ["", "spam", "spam=0", "spam=-1", "spam=inf", "spam=1,spam=2", "=1", "bacon=1", "spam=1e60"]
        {
            of(wrong).unwrap_err();
        }
    }
}
