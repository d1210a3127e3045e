//! The names that other tools give to the tensors of a BERT.

use std::collections::HashSet;

use super::Weights;
use crate::Result;
use crate::bert::{Architecture, Config, ModelType};

/// The weights of a `bert` under the names of [`Config::parameters`], and whether there is a pooler put into the
/// configuration.
///
/// Names come with and without `bert.`; old files call the weights of a norm `gamma` and its bias `beta`. Left out
/// are position numbers, the head that tells whether one sentence follows another, and copies of tied tensors.
///
/// # Errors
/// [`crate::Error::File`] when two tensors are the same parameter.
pub fn from_hugging_face(weights: Weights, config: &mut Config) -> Result<Weights> {
    if config.model_type != ModelType::Bert {
        return Ok(weights);
    }
    let all: HashSet<String> = weights.names().map(str::to_string).collect();
    let tied = config.tie_word_embeddings;
    let weights = weights.renamed(|name| {
        let copy = match name {
            "cls.predictions.decoder.weight" => tied,
            "cls.predictions.decoder.bias" => all.contains("cls.predictions.bias"),
            _ => false,
        };
        if copy { None } else { parameter(name) }
    })?;
    config.pooler = match config.architecture() {
        // It always has one.
        Some(Architecture::BertForPreTraining) => true,
        _ => weights.names().any(|name| name.starts_with("bert.pooler.")),
    };
    Ok(weights)
}

/// The parameter that a tensor is; none for one that holds nothing to learn.
fn parameter(name: &str) -> Option<String> {
    if name.ends_with("embeddings.position_ids") || name.starts_with("cls.seq_relationship.") {
        return None;
    }
    let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part));
    let mut name = if bare { format!("bert.{name}") } else { name.to_string() };
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(stem) = name.strip_suffix(old) {
            name = format!("{stem}{new}");
        }
    }
    if name == "cls.predictions.decoder.bias" {
        name = "cls.predictions.bias".into();
    }
    Some(name)
}
