//! The names that other tools give to the tensors of a model.

use std::collections::HashSet;

use super::Weights;
use crate::Result;
use crate::models::Config;

/// The weights of a file under the names of [`Config::parameters`], and whether there is a pooler put into the
/// configuration. The model's [family](crate::models::Family::parameter) says which tensor is which parameter, and which
/// is none.
///
/// # Errors
/// [`crate::Error::File`] when two tensors are the same parameter.
pub fn from_hugging_face(weights: Weights, config: &mut Config) -> Result<Weights> {
    let all: HashSet<String> = weights.names().map(str::to_string).collect();
    let family = config.family();
    let weights = weights.renamed(|name| family.parameter(name, config, &all))?;
    let parameters = weights.names().map(str::to_string).collect();
    config.pooler = family.has_pooler(config, &parameters);
    Ok(weights)
}
