//! `config.json`, of this crate's models and of Hugging Face's BERTs.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::{Config, ModelType};
use crate::{Error, Result};

/// What a `config.json` of Hugging Face may leave out, with the values that `transformers` then takes. The special
/// tokens but one are not among its keys: they come from the tokenizer.
fn hugging_face_defaults() -> [(&'static str, Value); 8] {
    [
        ("architectures", json!(["BertModel"])),
        ("hidden_act", json!("gelu")),
        ("layer_norm_eps", json!(1e-12)),
        ("position_embedding_type", json!("absolute")),
        ("type_vocab_size", json!(2)),
        ("tie_word_embeddings", json!(true)),
        ("hidden_dropout_prob", json!(0.1)),
        ("attention_probs_dropout_prob", json!(0.1)),
    ]
}

/// What all of Hugging Face's BERTs have in common, and their files therefore do not say.
const FAMILY: [&str; 4] = ["norm_position", "use_bias", "relative_attention_num_buckets", "head_init"];

impl Config {
    /// Reads and checks the bytes of a `config.json`; `path` is for the messages. The keys of other tools are
    /// ignored, except those that change what is computed.
    ///
    /// # Errors
    /// [`Error::File`], naming the key at fault.
    pub fn from_json(bytes: &[u8], path: impl AsRef<Path>) -> Result<Config> {
        Self::from_json_with(bytes, path, &[])
    }

    /// [`Config::from_json`] with the tokenizer's special tokens, as key and id, for the keys that the file lacks:
    /// those of Hugging Face do not name them.
    ///
    /// # Errors
    /// As [`Config::from_json`].
    pub fn from_json_with(bytes: &[u8], path: impl AsRef<Path>, tokens: &[(&str, u32)]) -> Result<Config> {
        let path = path.as_ref();
        // Only for the family: reading into the struct refuses what a map would forgive, such as a key twice.
        let keys: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
        let config = match keys.get("model_type").and_then(Value::as_str) {
            Some("bert") => hugging_face(bytes, keys, path, tokens)?,
            Some("wgrad") | None => serde_json::from_slice(bytes).map_err(|error| {
                let place = culprit(bytes).map(|key| format!(" in `{key}`")).unwrap_or_default();
                Error::file(path, "a wgrad config.json", format!("{error}{place}"))
            })?,
            Some(other) => {
                let found = format!("{other:?} in `model_type`");
                return Err(Error::file(path, "a config.json of the family `wgrad` or `bert`", found));
            }
        };
        config.validate().map_err(|error| match error {
            Error::Config { field, expected, found } => {
                Error::file(path, format!("`{field}` to be {expected}"), found)
            }
            other => other,
        })?;
        Ok(config)
    }

    /// The text of `config.json`, indented, with a final newline. Python's `transformers` reads that of a `bert` as it
    /// is, that of a `wgrad` with the PyTorch file of a model folder.
    pub fn to_json(&self) -> String {
        // A struct of numbers, booleans and unit variants always serialises.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let Some(keys) = value.as_object_mut() else { return String::new() };
        if !self.labels.is_empty() {
            let ids = self.labels.iter().zip(0..).map(|(label, id)| (label.clone(), json!(id))).collect();
            keys.insert("label2id".into(), Value::Object(ids));
        }
        if self.model_type == ModelType::Wgrad {
            // `transformers` takes the architecture from the file that is saved beside this one.
            let classes = [
                ("AutoConfig", "WgradConfig"),
                ("AutoModel", "WgradModel"),
                ("AutoModelForMaskedLM", "WgradForMaskedLM"),
                ("AutoModelForSequenceClassification", "WgradForSequenceClassification"),
            ];
            let places =
                classes.map(|(auto, class)| (auto.to_string(), json!(format!("modeling_wgrad.{class}"))));
            keys.insert("auto_map".into(), Value::Object(Map::from_iter(places)));
        } else {
            keys.retain(|key, _| !FAMILY.contains(&key.as_str()) && key != "pooler");
            // Left out they would mean 0.1.
            keys.insert("hidden_dropout_prob".into(), json!(self.hidden_dropout_prob));
            keys.insert("attention_probs_dropout_prob".into(), json!(self.attention_probs_dropout_prob));
        }
        let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A configuration as `transformers` writes it.
fn hugging_face(
    bytes: &[u8],
    mut keys: Map<String, Value>,
    path: &Path,
    tokens: &[(&str, u32)],
) -> Result<Config> {
    for key in ["is_decoder", "add_cross_attention"] {
        if keys.get(key).is_some_and(|value| *value == Value::Bool(true)) {
            return Err(Error::file(path, format!("an encoder, with `{key}` false"), "true"));
        }
    }
    // A key that comes twice would otherwise be forgiven.
    let twice = serde_json::from_slice::<Config>(bytes).err().map(|error| error.to_string());
    if let Some(found) = twice.filter(|error| error.starts_with("duplicate field")) {
        return Err(Error::file(path, "a BERT config.json", found));
    }
    for (key, value) in hugging_face_defaults() {
        keys.entry(key).or_insert(value);
    }
    for (key, id) in tokens {
        if keys.get(*key).is_none_or(Value::is_null) {
            keys.insert((*key).into(), json!(id));
        }
    }
    for key in FAMILY {
        keys.remove(key);
    }
    keys.insert("norm_position".into(), json!("post"));
    keys.insert("use_bias".into(), json!(true));
    let config: Config = serde_json::from_value(Value::Object(keys.clone())).map_err(|error| {
        let all = serde_json::to_vec(&keys).unwrap_or_default();
        let place = culprit(&all).map(|key| format!(" in `{key}`")).unwrap_or_default();
        Error::file(path, "a BERT config.json", format!("{error}{place}"))
    })?;
    if !config.classifies() || !config.labels.is_empty() {
        return Ok(config);
    }
    // Two classes without names are not written down.
    let count = keys.get("num_labels").and_then(Value::as_u64).unwrap_or(2).min(1 << 16);
    Ok(Config { labels: (0..count).map(|id| format!("LABEL_{id}")).collect(), ..config })
}

/// The key whose value makes these bytes unreadable: the one that also spoils an otherwise good configuration.
fn culprit(bytes: &[u8]) -> Option<String> {
    let given: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let good = serde_json::to_value(Config::preset("micro").ok()?).ok()?;
    given.into_iter().find_map(|(key, value)| {
        let mut trial = good.clone();
        *trial.get_mut(&key)? = value;
        serde_json::from_value::<Config>(trial).is_err().then_some(key)
    })
}
