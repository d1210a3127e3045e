//! The settings of an optimizer: those of the whole step, and those of each role of parameters.

use serde::{Deserialize, Serialize};

use super::rules::GroupOptions;
use crate::nn::{Division, Role};

/// The optimizer's settings but for the learning rate, which each step is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OptimizerOptions {
    /// The largest global gradient norm; 0 does not clip.
    pub clip: f32,
    /// How parameters are updated, in the order of [`Role::ALL`].
    pub groups: [GroupOptions; Role::ALL.len()],
}

impl Default for OptimizerOptions {
    /// AdamW as *A BERT for laptops* has it.
    fn default() -> Self {
        OptimizerOptions::uniform(GroupOptions::default(), 0.5)
    }
}

impl OptimizerOptions {
    /// The same for all parameters, but that vectors do not decay.
    pub fn uniform(group: GroupOptions, clip: f32) -> Self {
        let weight_decay = |role| if role == Role::Vector { 0.0 } else { group.weight_decay };
        let groups = Role::ALL.map(|role| GroupOptions { weight_decay: weight_decay(role), ..group });
        OptimizerOptions { clip, groups }
    }

    /// How parameters of `role` are updated.
    pub fn of(&self, role: Role) -> &GroupOptions {
        &self.groups[role as usize]
    }

    /// Which roles share segments. Vectors never lie among matrices, so that the order of sums does not depend on
    /// whether matrices decay.
    pub fn division(&self) -> Division {
        let is_vector = |role| role == Role::Vector;
        Division::new(|role, other| is_vector(role) == is_vector(other) && self.of(role) == self.of(other))
    }
}
