//! The names of classes as `config.json` has them: `"id2label": {"0": "negative", "1": "positive"}`.

use std::collections::HashMap;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};

/// For `serde(with)`.
pub(super) fn serialize<S: Serializer>(labels: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(labels.len()))?;
    for (id, label) in labels.iter().enumerate() {
        map.serialize_entry(&id.to_string(), label)?;
    }
    map.end()
}

/// For `serde(with)`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map: HashMap<String, String> = Option::deserialize(deserializer)?.unwrap_or_default();
    let name = |id: usize| {
        map.get(&id.to_string()).cloned().ok_or_else(|| {
            D::Error::custom(format!("id2label: expected the numbers 0 to {}, found no {id}", map.len() - 1))
        })
    };
    (0..map.len()).map(name).collect()
}
