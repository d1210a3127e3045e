//! The names of classes as `config.json` has them: `"id2label": {"0": "negative", "1": "positive"}`.

use std::collections::HashMap;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// The names of so many classes of which nothing more is known: those that `transformers` gives them.
pub(crate) fn unnamed(count: usize) -> Vec<String> {
    (0..count).map(|id| format!("LABEL_{id}")).collect()
}

/// For `serde(with)`.
pub(super) fn serialize<S: Serializer>(labels: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(labels.len()))?;
    for (id, label) in labels.iter().enumerate() {
        map.serialize_entry(&id.to_string(), label)?;
    }
    map.end()
}

/// For `serde(with)`. Names that are numbers, as in `{"0": 1, "1": 5}`, are their digits.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map: HashMap<String, Value> = Option::deserialize(deserializer)?.unwrap_or_default();
    let name = |id: usize| match map.get(&id.to_string()) {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(number @ Value::Number(_)) => Ok(number.to_string()),
        Some(other) => Err(D::Error::custom(format!("id2label: expected a name for {id}, found {other}"))),
        None => {
            let last = map.len() - 1;
            Err(D::Error::custom(format!("id2label: expected the numbers 0 to {last}, found no {id}")))
        }
    };
    (0..map.len()).map(name).collect()
}
