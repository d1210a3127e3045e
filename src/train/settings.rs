//! Recipes from presets, files and single settings, with errors that name the key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use strsim::levenshtein;

use super::config::{OptimizerConfig, TrainConfig};
use crate::data::Dataset;
use crate::error::quoted;
use crate::format::shortened;
use crate::json::leaves;
use crate::models::{Config, LocalAttention};
use crate::store::refuse_newer;
use crate::{Error, Result};

/// The key of a file that says which preset its other keys change.
const PRESET: &str = "preset";
/// The key of a file that says the version of recipes that it is of.
const FORMAT_KEY: &str = "format";
/// The version of recipes that is written.
pub(super) const FORMAT: u32 = 1;
/// Two ways to say one thing: giving one takes the other back.
const BUDGETS: [&str; 2] = ["steps", "sequences"];
/// The key that names the model which a run starts from.
const FROM: &str = "from";
/// The number of layers, and what they are where some attend to what is near alone.
const LAYERS: &str = "model.num_hidden_layers";
const LOCAL: &str = "model.rotary.local";
const LOCAL_LAYERS: &str = "model.rotary.local.layers";
/// Keys that recipes may leave out, beside those of the optimizer, and what their values are.
const OPTIONAL: &[(&str, &str)] = &[
    ("decay_steps", "a number of steps"),
    (FROM, "a model's folder or name"),
    ("freeze", "`nothing`, `embeddings` or a number of layers"),
    ("recompute", "a number of layers"),
    ("blocks", "a number of blocks"),
    // A page has no other ranks, and knows no such setting.
    #[cfg(not(target_arch = "wasm32"))]
    ("sync", "every=STEPS, as `every=50,after=500`"),
    #[cfg(not(target_arch = "wasm32"))]
    ("wire", "`f32` or `f16`"),
    ("kernels", "forms of kernels, as `sums=whole attention.short=fused`"),
];

/// A recipe being put together. It remembers which keys were asked for by name, because only those may disagree
/// with the data.
#[derive(Debug, Clone)]
pub struct Settings {
    tree: Value,
    /// The keys given in a file or one by one, and the file they came from.
    given: BTreeMap<String, Option<PathBuf>>,
}

#[cfg(not(target_arch = "wasm32"))]
fn toml_keys(text: &str) -> Result<Map<String, Value>, String> {
    toml::from_str(text).map_err(|error| crate::format::one_line(&error.to_string()))
}

#[cfg(target_arch = "wasm32")]
fn toml_keys(_: &str) -> Result<Map<String, Value>, String> {
    Err("TOML, which a page does not read: write JSON".to_owned())
}

impl Settings {
    /// Starts from a preset.
    ///
    /// # Errors
    /// As [`TrainConfig::preset`].
    pub fn preset(name: &str) -> Result<Self> {
        Ok(Settings { tree: tree(&TrainConfig::preset(name)?), given: BTreeMap::new() })
    }

    /// Starts from the recipe for going on from a model: see [`TrainConfig::going_on`] and [`Settings::start_from`].
    ///
    /// # Errors
    /// As [`TrainConfig::going_on`].
    pub fn going_on() -> Result<Self> {
        Ok(Settings { tree: tree(&TrainConfig::going_on()?), given: BTreeMap::new() })
    }

    /// Reads a file: JSON when its name ends in `.json`, else TOML. Its key `preset` names the recipe that gives
    /// what the file leaves out; without it the file must hold every key.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Newer`]; [`Error::File`] for broken syntax, an unknown key (with the closest known one), a value of
    /// the wrong type, or keys left out.
    pub fn file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return Self::json(&text, path);
        }
        let keys = toml_keys(&text).map_err(|found| Error::file(path, "settings in TOML", found))?;
        Self::of_keys(keys, path)
    }

    /// [`Settings::file`] for the text of a JSON file; `path` is for the messages.
    ///
    /// # Errors
    /// As [`Settings::file`].
    pub fn json(text: &str, path: &Path) -> Result<Self> {
        let keys = serde_json::from_str(text)
            .map_err(|error| Error::file(path, "settings in JSON", error.to_string()))?;
        Self::of_keys(keys, path)
    }

    fn of_keys(mut keys: Map<String, Value>, path: &Path) -> Result<Self> {
        match keys.remove(FORMAT_KEY).map(|format| format.as_u64().ok_or(format)) {
            Some(Err(other)) => {
                return Err(Error::file(path, "`format` to be a whole number", other.to_string()));
            }
            format => refuse_newer(path, "a recipe", format.and_then(Result::ok).unwrap_or(1), FORMAT)?,
        }
        // Only the file of a model says so at its top; its first key would be told as an unknown setting. A page reads no files.
        #[cfg(not(target_arch = "wasm32"))]
        if keys.contains_key("model_type") {
            let found = "the config.json of a model (--from takes its folder and starts from its weights; its keys \
                         under `model` describe a new one)";
            return Err(Error::file(path, "a recipe of pretraining", found));
        }
        let preset = match keys.remove(PRESET) {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(Error::file(path, "`preset` to be a name", other.to_string())),
        };
        let mut settings =
            Self::preset(preset.as_deref().unwrap_or("micro")).map_err(|e| in_file(e, path))?;
        // Families have keys of their own, so a model that is described whole takes the place of the preset's.
        if let Some(model) = keys.get("model").and_then(|model| Config::deserialize(model).ok()) {
            settings.tree["model"] = serde_json::to_value(model).unwrap_or_default();
        }
        // A group that no recipe has is one unknown key.
        let group = |key: &str| lookup(&settings.tree, key).is_some_and(Value::is_object);
        let mut leaves = leaves(&keys, &|key, _| group(key));
        if BUDGETS.iter().all(|budget| leaves.iter().any(|(key, value)| key == budget && !value.is_null())) {
            return Err(Error::file(path, "one of `steps` and `sequences`", "both"));
        }
        // What is not set, set last, would take the other back.
        leaves.retain(|(key, value)| !(BUDGETS.contains(&key.as_str()) && value.is_null()));
        for (key, value) in leaves {
            settings.put(&key, value.clone()).map_err(|error| in_file(error, path))?;
            settings.given.insert(key, Some(path.to_path_buf()));
        }
        if preset.is_none() {
            let budget = BUDGETS.iter().any(|key| settings.given.contains_key(*key));
            let known = |key: &String| {
                settings.given.contains_key(key)
                    || (budget && BUDGETS.contains(&key.as_str()))
                    || optional(key).is_some()
            };
            let missing: Vec<_> =
                settings.keys().into_iter().filter(|key| !known(key)).map(|k| quoted(&k)).collect();
            if !missing.is_empty() {
                let expected = "every key, or `preset` to name a recipe for the rest";
                return Err(Error::file(path, expected, format!("no {}", missing.join(", "))));
            }
        }
        Ok(settings)
    }

    /// Applies one `key=value`, the key dotted. The value is JSON; what is no JSON is text.
    ///
    /// # Errors
    /// [`Error::Config`] without a `=`, for an unknown key (listing the known ones) and for a value of the wrong
    /// type.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(Error::config("set", "key=value", quoted(assignment)));
        };
        let (key, text) = (key.trim(), text.trim());
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        if let Some(Value::Object(_)) = lookup(&self.tree, key) {
            let inside = self.keys().into_iter().filter(|known| known.starts_with(&format!("{key}.")));
            let inside: Vec<_> = inside.map(|key| quoted(&key)).collect();
            return Err(Error::config(key, format!("one of {}", inside.join(", ")), "a group of settings"));
        }
        self.put(key, value).map_err(|error| match error {
            Error::Config { field, expected, found } if lookup(&self.tree, key).is_none() => {
                let known: Vec<_> = self.keys().iter().map(|key| quoted(key)).collect();
                let expected = format!("{expected} (there are {})", known.join(", "));
                Error::Config { field, expected, found }
            }
            other => other,
        })?;
        self.given.insert(key.to_owned(), None);
        Ok(())
    }

    /// Whether a file, or a single setting, has said what a key is.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// The model that the run starts from, where the recipe names one.
    pub fn from(&self) -> Option<&str> {
        lookup(&self.tree, FROM).and_then(Value::as_str)
    }

    /// Makes the run start from the model that is called `name`, whose shape takes the place of the recipe's.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::File`] for a key from a file, when a part of the model was given and is another.
    pub fn start_from(&mut self, name: &str, model: &Config) -> Result<()> {
        let model = serde_json::to_value(model).unwrap_or_default();
        for (key, file) in &self.given {
            let Some(inner) = key.strip_prefix("model.") else { continue };
            let (given, fact) = (lookup(&self.tree, key), lookup(&model, inner));
            if given != fact {
                let expected = format!("{}, the model's", fact.unwrap_or(&Value::Null));
                let error = Error::config(key, expected, given.unwrap_or(&Value::Null));
                return Err(match file {
                    Some(path) => in_file(error, path),
                    None => error,
                });
            }
        }
        self.tree["model"] = model;
        let inside: Vec<String> = self.keys().into_iter().filter(|key| key.starts_with("model.")).collect();
        self.given.extend(inside.into_iter().map(|key| (key, None)));
        self.put(FROM, Value::from(name))
    }

    /// Every key, dotted.
    pub fn keys(&self) -> BTreeSet<String> {
        let fields = self.tree.as_object().into_iter();
        fields.flat_map(|fields| leaves(fields, &|_, _| true)).map(|(key, _)| key).collect()
    }

    /// The recipe for `data`: vocabulary, special tokens and T are the data's.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::File`] for a key from a file, when one of these was given and is another;
    /// those of [`TrainConfig::check`].
    pub fn for_data(mut self, data: &Dataset) -> Result<TrainConfig> {
        let specials = data.table().specials();
        let facts = [
            ("model.vocab_size", data.vocab_size() as u64, "the tokenizer's"),
            ("model.pad_token_id", u64::from(specials.pad), "the tokenizer's padding token"),
            ("model.cls_token_id", u64::from(specials.cls), "the tokenizer's first token"),
            ("model.sep_token_id", u64::from(specials.sep), "the tokenizer's separator"),
            ("model.mask_token_id", u64::from(specials.mask), "the tokenizer's mask"),
            ("seq_len", data.seq_len() as u64, "the data's"),
        ];
        for (key, fact, whose) in facts {
            // A model that was made elsewhere may have more embeddings than tokens.
            let rows = lookup(&self.tree, key).and_then(Value::as_u64);
            if key == "model.vocab_size" && self.from().is_some() && rows.is_some_and(|rows| rows >= fact) {
                continue;
            }
            let value = lookup(&self.tree, key).cloned().unwrap_or_default();
            if let Some(file) = self.given.get(key).filter(|_| value.as_u64() != Some(fact)) {
                let error = Error::config(key, format!("{fact}, {whose}"), value);
                return Err(match file {
                    Some(path) => in_file(error, path),
                    None => error,
                });
            }
            self.put(key, Value::from(fact))?;
        }
        if !self.given.contains_key("model.max_position_embeddings") {
            self.put("model.max_position_embeddings", Value::from(data.seq_len()))?;
        }
        let config = self.config()?;
        let masked = data.masked(&config.masking)?;
        Ok(TrainConfig { masked, ..config })
    }

    /// The recipe without data.
    ///
    /// # Errors
    /// Those of [`TrainConfig::check`].
    pub fn config(&self) -> Result<TrainConfig> {
        let mut config: TrainConfig = serde_json::from_value(self.tree.clone())
            .map_err(|error| Error::config("config", "a recipe", error))?;
        // A preset's warm-up is made for the preset's length. A run that was made so short that the warm-up would be most
        // of it takes a tenth of its steps.
        let short = config.steps.filter(|steps| 2 * config.warmup_steps > *steps);
        if let Some(steps) = short.filter(|_| !self.given.contains_key("warmup_steps")) {
            config.warmup_steps = steps / 10;
        }
        config.check()?;
        Ok(config)
    }

    /// Changes one leaf after checking that it exists and that the value has its type.
    fn put(&mut self, key: &str, value: Value) -> Result<()> {
        let Some(old) = lookup(&self.tree, key).filter(|old| !old.is_object()) else {
            let close = closest(key, self.keys()).map(|close| format!(", perhaps {}", quoted(&close)));
            let expected = format!("a known setting{}", close.unwrap_or_default());
            return Err(Error::config(key, expected, "an unknown one"));
        };
        let expected = match optional(key) {
            Some(what) => what.to_owned(),
            _ if !old.is_null() => format!("a value like {old}"),
            None => "a whole number".to_owned(),
        };
        let mut changed = self.tree.clone();
        if let Some(other) = BUDGETS.iter().position(|budget| *budget == key) {
            assign(&mut changed, BUDGETS[1 - other], Value::Null);
        }
        let shown = shortened(&value.to_string(), 80);
        if key == LAYERS {
            self.follow_layers(&mut changed, &value);
        }
        assign(&mut changed, key, value);
        if let Err(error) = serde_json::from_value::<TrainConfig>(changed.clone()) {
            return Err(Error::config(key, expected, format!("{shown} ({error})")));
        }
        self.tree = changed;
        Ok(())
    }

    /// Which layers attend to what is near follows their number, unless it is said, too.
    fn follow_layers(&self, changed: &mut Value, layers: &Value) {
        let now = lookup(changed, LAYERS);
        let unchanged = now == Some(layers) || self.given.contains_key(LOCAL_LAYERS);
        let Some(layers) = layers.as_u64().and_then(|layers| layers.try_into().ok()).filter(|_| !unchanged)
        else {
            return;
        };
        let local = lookup(changed, LOCAL).and_then(|local| LocalAttention::deserialize(local).ok());
        if let Some(local) = local.and_then(|local| local.for_layers(layers)) {
            assign(changed, LOCAL_LAYERS, Value::from(local.layers));
        }
    }
}

fn tree(config: &TrainConfig) -> Value {
    // A struct of numbers, booleans and unit variants always serialises.
    let mut tree = serde_json::to_value(config).unwrap_or_default();
    config.optimizer.fill(&mut tree["optimizer"]);
    tree["freeze"] = Value::from(config.freeze.to_string());
    tree["recompute"] = Value::from(config.recompute);
    tree["blocks"] = Value::from(config.blocks);
    tree["kernels"] = Value::from(config.kernels.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    {
        tree["wire"] = Value::from(config.wire.to_string());
    }
    if let Some(keys) = tree.as_object_mut() {
        for (key, _) in OPTIONAL {
            keys.entry(*key).or_insert(Value::Null);
        }
    }
    tree
}

/// What the value of a key is that recipes may leave out.
fn optional(key: &str) -> Option<&'static str> {
    let own = OPTIONAL.iter().find(|(known, _)| *known == key).map(|(_, what)| *what);
    own.or_else(|| OptimizerConfig::optional().find(|(known, _)| known == key).map(|(_, what)| what))
}

fn lookup<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |node, part| node.as_object()?.get(part))
}

fn assign(tree: &mut Value, key: &str, value: Value) {
    let place = key.split('.').try_fold(tree, |node, part| node.as_object_mut()?.get_mut(part));
    if let Some(place) = place {
        *place = value;
    }
}

/// The known key that looks most like `key`, if one looks like it: as a whole or in its last part.
fn closest(key: &str, known: BTreeSet<String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let far = |known: &str| levenshtein(key, known).min(levenshtein(&last(key), &last(known)) + 1);
    let nearest = known.into_iter().min_by_key(|known| far(known))?;
    (far(&nearest) <= 1 + key.len() / 3).then_some(nearest)
}

/// An error about a setting as one about the file it stands in.
fn in_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Config { field, expected, found } => {
            Error::file(path, format!("{} to be {expected}", quoted(&field)), found)
        }
        other => other,
    }
}
