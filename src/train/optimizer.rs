//! The optimizer's part of a recipe.

use serde::{Deserialize, Serialize};

use crate::optim::{GroupOptions, OptimizerOptions, Rule};
use crate::{Error, Result};

/// AdamW (Loshchilov and Hutter 2019) with the gradient's norm clipped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    /// How slowly the gradient's mean and its square's mean move.
    pub betas: [f64; 2],
    /// Added to the root of the square's mean.
    pub eps: f64,
    /// The share of a weight that a learning rate of 1 takes away; for tensors of two or more dimensions.
    pub weight_decay: f64,
    /// A longer gradient is scaled down to this L2 norm; 0 leaves all as they are.
    pub clip: f64,
}

impl OptimizerConfig {
    /// What the optimizer on a device is built with.
    pub fn options(&self) -> OptimizerOptions {
        let [beta1, beta2] = self.betas.map(|beta| beta as f32);
        let group = GroupOptions {
            rule: Rule::default(),
            learning_rate: 1.0,
            weight_decay: self.weight_decay as f32,
            beta1,
            beta2,
            epsilon: self.eps as f32,
        };
        OptimizerOptions::uniform(group, self.clip as f32)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first setting at fault by its key in a recipe.
    pub fn check(&self) -> Result<()> {
        // The device computes in f32, where a number just below 1 may become 1, and one near 0 may vanish.
        let share = |value: f64| (0.0..1.0).contains(&value) && (value as f32) < 1.0;
        if !self.betas.into_iter().all(share) {
            let found = format!("{:?}", self.betas);
            return Err(Error::config("optimizer.betas", "two numbers from 0 to below 1", found));
        }
        if !((self.eps as f32) >= 1e-30 && is_amount(self.eps)) {
            return Err(Error::config("optimizer.eps", "1e-30 or more", self.eps));
        }
        for (key, value) in [("optimizer.weight_decay", self.weight_decay), ("optimizer.clip", self.clip)] {
            if !is_amount(value) {
                return Err(Error::config(key, "0 or more", value));
            }
        }
        Ok(())
    }
}

/// Whether it is a number that f32 can hold and that is not negative.
pub(super) fn is_amount(value: f64) -> bool {
    (0.0..1e30).contains(&value)
}
