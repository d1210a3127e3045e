//! An objective on texts by what describes it, which may come from another process.

use serde::{Deserialize, Serialize};

use super::classes::{Classes, WeightedClasses};
use super::label_sets::LabelSets;
use super::numbers::Numbers;
use super::pairs::Pairs;
use super::texts::TextObjective;
use super::token_classes::TokenClasses;

/// Which objective on texts it is, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ChosenObjective {
    /// [`Classes`], or [`WeightedClasses`] where there are weights.
    Classes(Vec<f32>),
    /// [`LabelSets`].
    LabelSets,
    /// [`Numbers`].
    Numbers,
    /// [`TokenClasses`] with their weights.
    TokenClasses(Vec<f32>),
    /// [`Pairs`].
    Pairs(Pairs),
}

impl ChosenObjective {
    /// The objective.
    pub fn objective(&self) -> TextObjective {
        match self.clone() {
            ChosenObjective::Classes(weights) if weights.is_empty() => Box::new(Classes),
            ChosenObjective::Classes(weights) => Box::new(WeightedClasses { weights }),
            ChosenObjective::LabelSets => Box::new(LabelSets),
            ChosenObjective::Numbers => Box::new(Numbers),
            ChosenObjective::TokenClasses(weights) => Box::new(TokenClasses { weights }),
            ChosenObjective::Pairs(pairs) => Box::new(pairs),
        }
    }
}
