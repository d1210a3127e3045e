//! The names that other tools give to the tensors of a model.

use std::collections::{BTreeSet, HashSet};

use super::Weights;
use crate::error::quoted;
use crate::models::{Config, Head};
#[cfg(not(target_arch = "wasm32"))]
use crate::models::{MAX_LABELS, ProblemType, unnamed};
use crate::{Error, Result};

/// The weights of a file under the names of [`Config::parameters`], and whether there is a pooler put into the
/// configuration. What else is in the file is left out; of that, those that the model's
/// [family](crate::models::Family::parameter) does not know come back by their names in the file.
///
/// # Errors
/// [`Error::File`] when two tensors are the same parameter, or the file holds several models.
pub fn from_hugging_face(weights: Weights, config: &mut Config) -> Result<(Weights, Vec<String>)> {
    let family = config.family();
    let prefix = Prefix::of(&weights, config)?;
    let all: HashSet<String> = weights.names().map(|name| prefix.replaced(name)).collect();
    let parameter = |name: &str| match name.ends_with("embeddings.position_ids") {
        // The numbers from 0 on, which earlier versions of `transformers` saved.
        true => None,
        false => family.parameter(&prefix.replaced(name), config, &all),
    };
    let parameters = weights.names().filter_map(parameter).collect();
    let pooler = format!("{}.pooler.", family.base());
    let mut shape = if lacks_head(config, &parameters, &pooler) { config.encoder() } else { config.clone() };
    shape.pooler = match shape.is_token_classifier() {
        // Some files have one that the head does not read.
        true => family.transforms_tokens(),
        false => family.has_pooler(&shape, &parameters),
    };
    let wanted: HashSet<String> = shape.parameters().into_iter().map(|spec| spec.name).collect();
    // Where something is missing, the message that says so also needs what is there instead.
    let complete = wanted.is_subset(&parameters);
    // A layer or a table of the encoder that the configuration does not know is no other head's: it contradicts it.
    let of_the_encoder = |name: &str| prefix.is_of_the_encoder(name) && !name.starts_with(&pooler);
    let unknown = |name: &str| {
        complete && parameter(name).is_some_and(|name| !wanted.contains(&name) && !of_the_encoder(&name))
    };
    let left_out = weights.names().filter(|name| unknown(name)).map(str::to_owned).collect();
    let weights = weights.renamed(|name| parameter(name).filter(|_| !unknown(name)))?;
    // A page has no room for what its models, which the program has read before, do not need.
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(labels) = counted_labels(&shape, &weights) {
        shape.labels = labels;
    }
    *config = shape;
    Ok((weights, left_out))
}

/// Whether a file has nothing of the head that its configuration names: sentence embedders hold the encoder alone, and many a
/// `config.json` of theirs still names the class that the encoder was pretrained as. This crate's own files are never so.
fn lacks_head(config: &Config, parameters: &HashSet<String>, pooler: &str) -> bool {
    let encoder: HashSet<String> = config.encoder().parameters().into_iter().map(|spec| spec.name).collect();
    let all = config.parameters().into_iter().map(|spec| spec.name);
    let head: Vec<String> = all.filter(|name| !encoder.contains(name) && !name.starts_with(pooler)).collect();
    let foreign = config.family().python().is_none() && config.head() != Some(Head::None);
    foreign && !head.is_empty() && head.iter().all(|name| !parameters.contains(name))
}

/// How many classes a configuration has that names none.
#[cfg(not(target_arch = "wasm32"))]
const UNNAMED: usize = 2;

/// The classes that the head of a file tells apart, where the configuration names none: two are then a guess of
/// `transformers`', which nothing holds to that reads the encoder alone.
#[cfg(not(target_arch = "wasm32"))]
fn counted_labels(config: &Config, weights: &Weights) -> Option<Vec<String>> {
    let count = config.labels.len();
    if count != UNNAMED
        || config.labels != unnamed(count)
        || config.problem_type == Some(ProblemType::Regression)
    {
        return None;
    }
    // The head is what has another shape where there is one class more.
    let more = Config { labels: unnamed(count + 1), ..config.clone() };
    let (of_these, of_more) = (config.parameters(), more.parameters());
    let (head, _) = of_these.iter().zip(&of_more).find(|(one, other)| one.shape != other.shape)?;
    let found = *weights.shape(&head.name)?.first()?;
    (found != count && (1..=MAX_LABELS).contains(&found)).then(|| unnamed(found))
}

/// What stands before the names of a file's tensors: nothing, `module.`, `0.auto_model.`, …
struct Prefix {
    outer: String,
    base: &'static str,
    /// What the names of the encoder begin with after the base.
    parts: Vec<String>,
}

impl Prefix {
    /// That of the table of word embeddings, which every model has.
    ///
    /// # Errors
    /// [`Error::File`] for a file of several models, unless one of them has no prefix.
    fn of(weights: &Weights, config: &Config) -> Result<Self> {
        let base = config.family().base();
        let words = config.word_embeddings();
        let bare = words.strip_prefix(base).and_then(|name| name.strip_prefix('.')).unwrap_or(&words);
        let before = |name: &str| {
            let before = name.strip_suffix(bare)?;
            let outer = before.strip_suffix(&format!("{base}.")).unwrap_or(before);
            (outer.is_empty() || outer.ends_with('.')).then(|| outer.to_owned())
        };
        let outers: BTreeSet<String> = weights.names().filter_map(before).collect();
        let mut outers = outers.into_iter();
        // In the order of the set an empty one comes first.
        let outer = outers.next().unwrap_or_default();
        if let Some(other) = outers.next().filter(|_| !outer.is_empty()) {
            let found = format!("those of {} and of {}", quoted(&outer), quoted(&other));
            return Err(Error::file(weights.path(), "the tensors of one model", found));
        }
        let encoder = config.encoder().parameters();
        let parts = encoder.iter().filter_map(|spec| {
            let bare = spec.name.strip_prefix(base)?.strip_prefix('.')?;
            Some(bare.split_inclusive('.').next()?.to_owned())
        });
        let mut parts: Vec<String> = parts.chain(["pooler.".to_owned()]).collect();
        parts.sort_unstable();
        parts.dedup();
        Ok(Prefix { outer, base, parts })
    }

    /// Whether a parameter is the encoder's.
    fn is_of_the_encoder(&self, parameter: &str) -> bool {
        let bare = parameter.strip_prefix(self.base).and_then(|name| name.strip_prefix('.'));
        bare.is_some_and(|bare| self.parts.iter().any(|part| bare.starts_with(part)))
    }

    /// A name as a Hugging Face model with a head spells it.
    fn replaced(&self, name: &str) -> String {
        let name = name.strip_prefix(&self.outer).unwrap_or(name);
        let bare = self.parts.iter().any(|part| name.starts_with(part));
        if bare { format!("{}.{name}", self.base) } else { name.to_owned() }
    }
}
