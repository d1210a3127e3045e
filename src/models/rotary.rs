//! Rotary positions (Su et al. 2021) in configurations: by which angles queries and keys are turned, and which layers attend
//! to what is near alone.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// What `layer_types` calls the two kinds of layers.
pub(super) const WHOLE: &str = "full_attention";
pub(super) const LOCAL: &str = "sliding_attention";
/// What `transformers` takes for the number of layers of which one attends to everything, where a file does not say it.
pub(super) const EVERY: usize = 3;
/// No configuration has more layers; what is larger is refused after it is read.
const MOST_LAYERS: usize = 1 << 10;

/// For each layer whether it is local, where every `every`-th attends to everything.
pub(super) fn alternating(layers: usize, every: usize) -> Vec<bool> {
    (0..layers).map(|number| !number.is_multiple_of(every)).collect()
}

/// For each layer whether it is local, as the file says it: by a list, or by how many layers stand from one that attends to
/// everything to the next.
pub(super) fn local_layers(keys: &Map<String, Value>) -> Result<Vec<bool>> {
    if let Some(types) = keys.get("layer_types").filter(|value| !value.is_null()) {
        let types = types.as_array().ok_or_else(|| Error::config("layer_types", "a list", types))?;
        let is_local = |kind: &Value| match kind.as_str() {
            Some(WHOLE) => Ok(false),
            Some(LOCAL) => Ok(true),
            _ => Err(Error::config("layer_types", format!("`{WHOLE}` or `{LOCAL}`"), kind)),
        };
        let layers = keys.get("num_hidden_layers").and_then(Value::as_u64);
        if let Some(layers) = layers.filter(|layers| *layers != types.len() as u64) {
            return Err(Error::config(
                "layer_types",
                format!("one for each of {layers} layers"),
                types.len(),
            ));
        }
        return types.iter().map(is_local).collect();
    }
    let every = match keys.get("global_attn_every_n_layers").filter(|value| !value.is_null()) {
        None => EVERY,
        Some(value) => {
            let every = value.as_u64().filter(|every| *every > 0).and_then(|every| every.try_into().ok());
            every.ok_or_else(|| Error::config("global_attn_every_n_layers", "a number from 1 on", value))?
        }
    };
    let layers = keys.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or_default() as usize;
    Ok(alternating(layers.min(MOST_LAYERS), every))
}

/// How queries and keys are turned: pair i of the columns of a head of D at position t by `t · theta^(-2i / D) / factor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotary {
    /// The base of the frequencies.
    pub theta: f64,
    /// What all frequencies are divided by: 1 unless a model was stretched to longer texts.
    #[serde(default = "one")]
    pub factor: f64,
    /// The layers that attend to what is near alone; none where all attend to everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalAttention>,
}

/// Layers of which each token attends to those near it alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalAttention {
    /// The base of their frequencies.
    pub theta: f64,
    /// How many tokens to each side a token attends to.
    pub reach: usize,
    /// For each layer whether it is one of these.
    pub layers: Vec<bool>,
}

fn one() -> f64 {
    1.0
}

impl LocalAttention {
    /// The same in a model of so many layers, where its kinds of layers follow a rule: every so many attends to everything.
    pub fn for_layers(&self, layers: usize) -> Option<Self> {
        let now = self.layers.len();
        let every = (1..=now.max(1)).find(|every| alternating(now, *every) == self.layers)?;
        let layers = alternating(layers.min(MOST_LAYERS), every);
        Some(LocalAttention { layers, ..self.clone() })
    }

    /// The part of each row's `bounds` that is near the row, in sequences of `tokens`. As those are, it is symmetric, and
    /// what is empty stays empty.
    pub fn bounds(&self, bounds: &[[u32; 2]], tokens: usize) -> Vec<[u32; 2]> {
        let near = |(row, &[start, end]): (usize, &[u32; 2])| {
            if start >= end {
                return [0, 0];
            }
            let at = row % tokens.max(1);
            let first = at.saturating_sub(self.reach) as u32;
            let beyond = (at + self.reach + 1).min(tokens) as u32;
            let (start, end) = (start.max(first), end.min(beyond));
            if start < end { [start, end] } else { [0, 0] }
        };
        bounds.iter().enumerate().map(near).collect()
    }
}

impl Rotary {
    /// Without layers of local attention.
    pub(super) fn new(theta: f64) -> Self {
        Rotary { theta, factor: 1.0, local: None }
    }

    /// As `rope_parameters` of `transformers` has it, of all layers or of one kind of them.
    pub(super) fn parameters(theta: f64, factor: f64) -> Value {
        match factor == 1.0 {
            true => json!({"rope_type": "default", "rope_theta": theta}),
            false => json!({"rope_type": "linear", "rope_theta": theta, "factor": factor}),
        }
    }

    /// What the `config.json` of a family without local layers says of them.
    pub(super) fn written(&self) -> Map<String, Value> {
        Map::from_iter([("rope_parameters".to_owned(), Self::parameters(self.theta, self.factor))])
    }

    /// What [`Rotary::parameters`] writes: the base, where it says one, and the factor. `name` is what it is called in
    /// messages.
    ///
    /// # Errors
    /// [`Error::Config`], naming what is otherwise.
    pub(super) fn read_parameters(value: &Value, name: &str) -> Result<(Option<f64>, f64)> {
        let none = Map::new();
        let keys = match value {
            Value::Null => &none,
            Value::Object(keys) => keys,
            other => return Err(Error::config(name, "an object", other)),
        };
        let key = |key: &str| format!("{name}.{key}");
        // The key of earlier versions is `type`.
        let kind = keys.get("rope_type").or_else(|| keys.get("type")).unwrap_or(&Value::Null);
        let factor = match kind.as_str() {
            None if kind.is_null() => 1.0,
            Some("default") => 1.0,
            Some("linear") => positive(keys, "factor", &key("factor"))?.unwrap_or(1.0),
            _ => return Err(Error::config(key("rope_type"), "`default` or `linear`", kind)),
        };
        let part = positive(keys, "partial_rotary_factor", &key("partial_rotary_factor"))?.unwrap_or(1.0);
        if part != 1.0 {
            return Err(Error::config(key("partial_rotary_factor"), "1, whole heads", part));
        }
        Ok((positive(keys, "rope_theta", &key("rope_theta"))?, factor))
    }

    /// Checks that it fits a model of so many layers.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key of `transformers` at fault.
    pub(super) fn validate(&self, expected: usize) -> Result<()> {
        let thetas = [Some(self.theta), self.local.as_ref().map(|local| local.theta)];
        for theta in thetas.into_iter().flatten() {
            if !(1.0..=1e12).contains(&theta) {
                return Err(Error::config("rope_theta", "a number from 1 to 1e12", theta));
            }
        }
        if !(1e-3..=1e6).contains(&self.factor) {
            return Err(Error::config("rope_parameters.factor", "a number from 0.001 to 1e6", self.factor));
        }
        let Some(local) = &self.local else { return Ok(()) };
        let layers = local.layers.len();
        if layers != expected {
            let expected = format!("one for each of {expected} layers");
            return Err(Error::config("layer_types", expected, layers));
        }
        if local.reach > 1 << 20 {
            let expected = "at most 2097152 tokens";
            return Err(Error::config("local_attention", expected, 2 * local.reach));
        }
        Ok(())
    }
}

/// The number above 0 at `key`, if there is one; messages call it `name`.
///
/// # Errors
/// [`Error::Config`] for anything else.
pub(super) fn positive(keys: &Map<String, Value>, key: &str, name: &str) -> Result<Option<f64>> {
    let Some(value) = keys.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_f64().filter(|number| *number > 0.0 && number.is_finite()) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::config(name, "a number above 0", value)),
    }
}

/// Checks that what a file says at `key`, if it says something, is `expected`.
///
/// # Errors
/// [`Error::Config`] where it is not.
pub(super) fn require_key(keys: &Map<String, Value>, key: &str, expected: Value) -> Result<()> {
    match keys.get(key).filter(|value| !value.is_null() && **value != expected) {
        Some(other) => Err(Error::config(key, expected.to_string(), other)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(reach: usize, bounds: &[[u32; 2]]) -> Vec<[u32; 2]> {
        LocalAttention { theta: 1.0, reach, layers: Vec::new() }.bounds(bounds, 6)
    }

    #[test]
    fn near_bounds_stay_in_the_text_and_padding_stays_empty() {
        // Two texts packed into a row of six, and a row of padding alone.
        let packed = [[0, 2], [0, 2], [2, 5], [2, 5], [2, 5], [0, 0], [0, 0], [0, 0]];
        let near = [[0, 2], [0, 2], [2, 4], [2, 5], [3, 5], [0, 0], [0, 0], [0, 0]];
        assert_eq!(bounds(1, &packed), near);
        assert_eq!(bounds(9, &packed), packed);
        assert_eq!(bounds(0, &[[0, 6]; 6])[5], [5, 6]);
    }

    #[test]
    fn near_bounds_are_symmetric() {
        let near = bounds(2, &[[0, 6]; 6]);
        for (i, row) in near.iter().enumerate() {
            for (j, other) in near.iter().enumerate() {
                let within = |range: &[u32; 2], at: usize| (range[0]..range[1]).contains(&(at as u32));
                assert_eq!(within(row, j), within(other, i), "{i} {j}");
            }
        }
    }
}
