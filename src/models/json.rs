//! `config.json`, of this crate's models and of Hugging Face's.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::config::{Config, Head, ModelType};
use super::family::Family;
use super::labels::unnamed;
use crate::{Error, Result};

impl Config {
    /// Reads and checks the bytes of a `config.json`; `path` is for the messages. The keys of other tools are
    /// ignored, except those that change what is computed.
    ///
    /// # Errors
    /// [`Error::File`], naming the key at fault.
    pub fn from_json(bytes: &[u8], path: impl AsRef<Path>) -> Result<Config> {
        Self::from_json_with(bytes, path, &[])
    }

    /// [`Config::from_json`] with the tokenizer's special tokens, as key and id: for the keys that the file lacks, and in
    /// their place where the file is another tool's.
    ///
    /// # Errors
    /// As [`Config::from_json`].
    pub fn from_json_with(bytes: &[u8], path: impl AsRef<Path>, tokens: &[(&str, u32)]) -> Result<Config> {
        let path = path.as_ref();
        let Keys(mut keys) = serde_json::from_slice(bytes)
            .map_err(|error| Error::file(path, "a config.json", error.to_string()))?;
        let about = |error| match error {
            Error::Config { field, expected, found } => {
                Error::file(path, format!("`{field}` to be {expected}"), found)
            }
            other => other,
        };
        let class = named_class(&keys);
        // The first models of this crate did not say what they are, old ones of others by their class alone.
        let model_type = keys.entry("model_type").or_insert_with(|| {
            let of = class.as_deref().and_then(super::family_of_class).unwrap_or(super::families()[0]);
            json!(of.model_type())
        });
        let name = model_type.as_str().map_or_else(|| model_type.to_string(), str::to_owned);
        let family = super::family(ModelType::new(&name).map_err(about)?);
        for key in ["is_decoder", "add_cross_attention"] {
            if keys.get(key) == Some(&Value::Bool(true)) {
                return Err(Error::file(path, format!("an encoder, with `{key}` false"), "true"));
            }
        }
        for (theirs, ours) in family.renamed_keys() {
            if let Some(value) = keys.remove(*theirs) {
                keys.insert((*ours).into(), value);
            }
        }
        // As the file spells it.
        let spelled = |text: String| {
            let renamed = family.renamed_keys().iter();
            renamed
                .fold(text, |text, (theirs, ours)| text.replace(&format!("`{ours}`"), &format!("`{theirs}`")))
        };
        let about = |error| match about(error) {
            Error::File { path, expected, found } => {
                Error::File { path, expected: spelled(expected), found: spelled(found) }
            }
            other => other,
        };
        // A key of this crate alone, which only what follows may write.
        keys.remove("rotary");
        family.read_keys(&mut keys).map_err(about)?;
        for (key, value) in family.defaults() {
            keys.entry(key).or_insert(value);
        }
        if keys.get("architectures").is_none_or(|value| value.is_null() || value.is_array()) {
            let class = class_in(family, class.as_deref());
            // A family that was called otherwise had other classes; it is saved as it is called now.
            let class = match family.other_model_types().contains(&name.as_str()) {
                true => class.and_then(|class| current(family, class)),
                false => class,
            };
            keys.insert("architectures".into(), json!(class.into_iter().collect::<Vec<_>>()));
        }
        for (key, id) in tokens {
            // Other tools keep them with the tokenizer, and what their config.json has of them may be a default; but not
            // where the positions begin behind it.
            let overruled =
                family.python().is_none() && !(*key == "pad_token_id" && family.counts_from_padding());
            if overruled || keys.get(*key).is_none_or(Value::is_null) {
                keys.insert((*key).into(), json!(id));
            }
        }
        keys.extend(family.constants().into_iter().map(|(key, value)| (key.to_owned(), value)));
        let config: Config = serde_json::from_value(Value::Object(keys.clone())).map_err(|error| {
            let place = culprit(&keys).map(|key| format!(" in `{key}`")).unwrap_or_default();
            let expected = format!("a config.json of the family `{name}`");
            Error::file(path, expected, spelled(format!("{error}{place}")))
        })?;
        let classifies = config.is_classifier() || config.is_token_classifier();
        let config = match classifies && config.labels.is_empty() {
            // Two classes without names are not written down.
            true => {
                let count = keys.get("num_labels").and_then(Value::as_u64).unwrap_or(2).min(1 << 16);
                Config { labels: unnamed(count as usize), ..config }
            }
            false => config,
        };
        let config = config.without_first_positions().map_err(about)?;
        config.validate().map_err(about)?;
        Ok(config)
    }

    /// The same, with the rows of its table of positions that stand for none no longer counted.
    fn without_first_positions(self) -> Result<Config> {
        let (first, rows) = (self.first_position(), self.max_position_embeddings);
        match rows.checked_sub(first).filter(|positions| *positions > 0) {
            Some(max_position_embeddings) => Ok(Config { max_position_embeddings, ..self }),
            None => Err(Error::config("max_position_embeddings", format!("more than {first}"), rows)),
        }
    }

    /// The text of `config.json`, indented, with a final newline. Python's `transformers` reads that of a family which
    /// it knows as it is, others with the PyTorch file of a model folder.
    pub fn to_json(&self) -> String {
        let family = self.family();
        // A struct of numbers, booleans and unit variants always serialises.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let Some(keys) = value.as_object_mut() else { return String::new() };
        let rows = self.max_position_embeddings + self.first_position();
        keys.insert("max_position_embeddings".into(), json!(rows));
        // Families with rotary positions have keys of their own for them.
        keys.remove("rotary");
        if !self.labels.is_empty() {
            let ids = self.labels.iter().zip(0..).map(|(label, id)| (label.clone(), json!(id))).collect();
            keys.insert("label2id".into(), Value::Object(ids));
        }
        if family.defaults().iter().any(|(key, _)| *key == "hidden_dropout_prob") {
            // A rate of 0 that is left out would mean the family's default.
            keys.insert("hidden_dropout_prob".into(), json!(self.hidden_dropout_prob));
            keys.insert("attention_probs_dropout_prob".into(), json!(self.attention_probs_dropout_prob));
        }
        let constants = family.constants();
        let constant = |key: &str| constants.iter().any(|(constant, _)| *constant == key);
        let renamed = |ours: String| {
            let theirs = family.renamed_keys().iter().find(|(_, known)| *known == ours);
            theirs.map_or(ours, |(theirs, _)| theirs.to_string())
        };
        let all = std::mem::take(keys).into_iter().filter(|(key, _)| !constant(key));
        *keys = all.map(|(key, value)| (renamed(key), value)).collect();
        keys.extend(family.written_keys(self));
        keys.extend(family.further_keys());
        let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The class of `family` for the one that a file names. Families with the same names in files, such as RoBERTa and XLM-R,
/// have the same heads. Any other class, and none, is one whose head is unknown here: its encoder is read.
fn class_in(family: &dyn Family, class: Option<&str>) -> Option<&'static str> {
    let related = |other: &&dyn Family| {
        other.base() == family.base() && other.python().is_some() == family.python().is_some()
    };
    let class = class.unwrap_or_default();
    let of = super::family_of_class(class).filter(related);
    let known = of.and_then(|other| other.architectures().iter().find(|(known, _)| *known == class));
    let head = known.map_or(Head::None, |(_, head)| *head);
    let classes = family.architectures().iter();
    let own = classes.clone().find(|(known, _)| *known == class);
    own.or_else(|| classes.clone().find(|(_, known)| *known == head)).map(|(class, _)| *class)
}

/// The class that has the same head as `class` and is written.
fn current(family: &dyn Family, class: &str) -> Option<&'static str> {
    let classes = family.architectures().iter();
    let (_, head) = classes.clone().find(|(known, _)| *known == class)?;
    classes.clone().find(|(_, stands)| stands == head).map(|(class, _)| *class)
}

/// The class that `architectures` names; the first of several.
fn named_class(keys: &Map<String, Value>) -> Option<String> {
    Some(keys.get("architectures")?.get(0)?.as_str()?.to_owned())
}

/// The keys of a file, none of which may come twice.
struct Keys(Map<String, Value>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Keys;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if keys.contains_key(&key) {
                        return Err(A::Error::custom(format!("duplicate field `{key}`")));
                    }
                    keys.insert(key, value);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

/// The key whose value makes these unreadable: the one that also spoils an otherwise good configuration.
fn culprit(given: &Map<String, Value>) -> Option<String> {
    let good = serde_json::to_value(Config::preset("micro").ok()?).ok()?;
    given.iter().find_map(|(key, value)| {
        let mut trial = good.as_object()?.clone();
        trial.insert(key.clone(), value.clone());
        serde_json::from_value::<Config>(Value::Object(trial)).is_err().then(|| key.clone())
    })
}
