//! The optimizer's part of a recipe.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nn::Role;
use crate::optim::{GroupOptions, OptimizerOptions, Rule};
use crate::{Error, Result};

/// An update rule with the gradient's norm clipped, and tables of what some parameters have otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    /// How a weight follows from its gradient. AdamW is not written down, as recipes of earlier versions do not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rule: Rule,
    /// How slowly the gradient's mean and its square's mean move, or whatever the rule's two β are.
    pub betas: [f64; 2],
    /// Added to the root of the square's mean.
    pub eps: f64,
    /// The share of a weight that a learning rate of 1 takes away; for tensors of two or more dimensions.
    pub weight_decay: f64,
    /// A longer gradient is scaled down to this L2 norm; 0 leaves all as they are.
    pub clip: f64,
    /// What matrices of the encoder have otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub matrix: GroupConfig,
    /// What embeddings have otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub embedding: GroupConfig,
    /// What the matrices above the encoder have otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub head: GroupConfig,
    /// What biases and norms have otherwise. They decay only where this says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vector: GroupConfig,
}

/// What the parameters of one role have otherwise; what is left out is as for all.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// The update rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// What the learning rate is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// The rule's two β.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Added to the root of the square's mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// The share of a weight that a learning rate of 1 takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The keys of a [`GroupConfig`], and what their values are.
const GROUP_KEYS: [(&str, &str); 5] = [
    ("rule", "the name of an update rule"),
    ("lr", "a number"),
    ("betas", "two numbers"),
    ("eps", "a number"),
    ("weight_decay", "a number"),
];

impl OptimizerConfig {
    /// The same for all parameters, by the rule that is used where none is named.
    pub fn uniform(betas: [f64; 2], eps: f64, weight_decay: f64, clip: f64) -> Self {
        let (rule, none) = (Rule::default(), GroupConfig::default());
        OptimizerConfig {
            rule,
            betas,
            eps,
            weight_decay,
            clip,
            matrix: none,
            embedding: none,
            head: none,
            vector: none,
        }
    }

    /// What parameters of `role` have otherwise.
    pub fn group(&self, role: Role) -> &GroupConfig {
        match role {
            Role::Matrix => &self.matrix,
            Role::Embedding => &self.embedding,
            Role::Head => &self.head,
            Role::Vector => &self.vector,
        }
    }

    /// What the optimizer on a device is built with.
    pub fn options(&self) -> OptimizerOptions {
        let groups = Role::ALL.map(|role| {
            let own = self.group(role);
            let [beta1, beta2] = own.betas.unwrap_or(self.betas).map(|beta| beta as f32);
            let weight_decay = if role == Role::Vector { 0.0 } else { self.weight_decay };
            GroupOptions {
                rule: own.rule.unwrap_or(self.rule),
                learning_rate: own.lr.unwrap_or(1.0) as f32,
                weight_decay: own.weight_decay.unwrap_or(weight_decay) as f32,
                beta1,
                beta2,
                epsilon: own.eps.unwrap_or(self.eps) as f32,
            }
        });
        OptimizerOptions { clip: self.clip as f32, groups }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first setting at fault by its key in a recipe.
    pub fn check(&self) -> Result<()> {
        let all = GroupConfig {
            rule: None,
            lr: None,
            betas: Some(self.betas),
            eps: Some(self.eps),
            weight_decay: Some(self.weight_decay),
        };
        all.check("optimizer")?;
        for role in Role::ALL {
            self.group(role).check(&format!("optimizer.{}", role.name()))?;
        }
        amount("optimizer.clip", Some(self.clip))
    }

    /// Keys that a recipe may leave out, dotted, and what their values are.
    pub(super) fn optional() -> impl Iterator<Item = (String, &'static str)> {
        let rule = ("optimizer.rule".to_owned(), GROUP_KEYS[0].1);
        let of_role =
            |role: Role| GROUP_KEYS.map(|(key, what)| (format!("optimizer.{}.{key}", role.name()), what));
        std::iter::once(rule).chain(Role::ALL.into_iter().flat_map(of_role))
    }

    /// Makes room in `fields`, what is written of it, for the keys that are not, so that they may be set.
    pub(super) fn fill(&self, fields: &mut Value) {
        fields["rule"] = Value::from(self.rule.name());
        for (role, (key, _)) in Role::ALL.iter().flat_map(|role| GROUP_KEYS.map(|key| (role, key))) {
            // A key that is not there comes to be by looking for it.
            let _ = &mut fields[role.name()][key];
        }
    }

    /// Rows of a model's card: `settings`, those for all parameters, under the rule's name, and each table.
    pub(super) fn rows(&self, settings: String) -> Vec<(&'static str, String)> {
        let mut rows = vec![(self.rule.title(), settings)];
        for role in Role::ALL {
            let GroupConfig { rule, lr, betas, eps, weight_decay } = *self.group(role);
            let said = [
                rule.map(|rule| rule.title().to_owned()),
                lr.map(|lr| format!("learning rate times {lr}")),
                betas.map(|[beta1, beta2]| format!("betas {beta1} and {beta2}")),
                eps.map(|eps| format!("eps {eps:e}")),
                weight_decay.map(|decay| format!("decay {decay}")),
            ];
            let said: Vec<_> = said.into_iter().flatten().collect();
            if !said.is_empty() {
                rows.push((role.name(), said.join(", ")));
            }
        }
        rows
    }
}

impl GroupConfig {
    fn check(&self, table: &str) -> Result<()> {
        // The device computes in f32, where a number just below 1 may become 1, and one near 0 may vanish.
        let share = |value: &f64| (0.0..1.0).contains(value) && (*value as f32) < 1.0;
        if let Some(betas) = self.betas.filter(|betas| !betas.iter().all(share)) {
            let found = format!("{betas:?}");
            return Err(Error::config(format!("{table}.betas"), "two numbers from 0 to below 1", found));
        }
        if let Some(eps) = self.eps.filter(|&eps| !((eps as f32) >= 1e-30 && is_amount(eps))) {
            return Err(Error::config(format!("{table}.eps"), "1e-30 or more", eps));
        }
        amount(&format!("{table}.lr"), self.lr)?;
        amount(&format!("{table}.weight_decay"), self.weight_decay)
    }
}

fn amount(key: &str, value: Option<f64>) -> Result<()> {
    match value.filter(|&value| !is_amount(value)) {
        Some(value) => Err(Error::config(key, "0 or more", value)),
        None => Ok(()),
    }
}

/// Whether it is a number that f32 can hold and that is not negative.
pub(super) fn is_amount(value: f64) -> bool {
    (0.0..1e30).contains(&value)
}
