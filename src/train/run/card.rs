//! What the model cards of all runs have in common.

use crate::train::config::OptimizerConfig;

/// The row that describes AdamW.
pub(crate) fn adamw(optimizer: &OptimizerConfig) -> (&'static str, String) {
    let [beta1, beta2] = optimizer.betas;
    let (eps, decay) = (optimizer.eps, optimizer.weight_decay);
    ("AdamW", format!("betas {beta1} and {beta2}, eps {eps:e}, decay {decay}"))
}

pub(crate) fn named(pairs: Vec<(&str, String)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// To four digits after the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
