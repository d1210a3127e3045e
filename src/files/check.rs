//! Whether the files of a model fit each other, decided before anything reaches a GPU.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::error::quoted;
use crate::models::Config;
use crate::nn::ParameterSpec;
use crate::{Error, Result};

/// Checks that a file holds the expected tensors, with their shapes, and no others; `path` is for the messages.
///
/// # Errors
/// [`Error::File`]: first for a shape that differs, then with the missing and the unexpected names together.
pub fn check_tensors<'a>(
    expected: &[ParameterSpec],
    found: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let found: HashMap<&str, &[usize]> = found.into_iter().collect();
    for spec in expected {
        if let Some(shape) = found.get(spec.name.as_str()).filter(|shape| **shape != spec.shape) {
            let expected = format!("{} {:?}, as config.json says", quoted(&spec.name), spec.shape);
            return Err(Error::file(path, expected, format!("{shape:?}")));
        }
    }
    let known: HashSet<&str> = expected.iter().map(|spec| spec.name.as_str()).collect();
    let missing: Vec<&str> =
        expected.iter().map(|spec| spec.name.as_str()).filter(|n| !found.contains_key(n)).collect();
    let mut unexpected: Vec<&str> = found.into_keys().filter(|name| !known.contains(name)).collect();
    unexpected.sort_unstable();
    let parts = [("missing", missing), ("unexpected", unexpected)];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("{word} {}", listed(names)))
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(Error::file(path, format!("the {} tensors config.json asks for", expected.len()), parts.join("; ")))
}

/// Names for a message: the first few, and how many more.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let first = names.iter().take(SHOWN).map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The vocabulary a `tokenizer.json` needs: its largest token id plus one, added tokens included.
///
/// # Errors
/// [`Error::File`] when the bytes are not such a file.
pub fn tokenizer_vocabulary(json: &[u8], path: impl AsRef<Path>) -> Result<usize> {
    let path = path.as_ref();
    let wrong = |found: String| Error::file(path, "a tokenizer.json", found);
    let tokenizer: Value = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    let vocabulary = tokenizer.pointer("/model/vocab");
    let mut ids: Vec<Option<u64>> = match vocabulary {
        Some(Value::Object(tokens)) => tokens.values().map(Value::as_u64).collect(),
        // A unigram model lists its tokens in the order of their ids.
        Some(Value::Array(tokens)) => (0..tokens.len() as u64).map(Some).collect(),
        _ => return Err(wrong("no `vocab` in its `model`".into())),
    };
    if let Some(added) = tokenizer.get("added_tokens").and_then(Value::as_array) {
        ids.extend(added.iter().map(|token| token.get("id").and_then(Value::as_u64)));
    }
    let mut largest = None;
    for id in ids {
        let id = id.filter(|id| *id < u64::from(u32::MAX));
        let id = id.ok_or_else(|| wrong("a token id that is not a number below 2^32".into()))?;
        largest = largest.max(Some(id));
    }
    largest.map(|id| id as usize + 1).ok_or_else(|| wrong("no tokens".into()))
}

/// Checks that the model has an embedding for every token; it may have more, as tables are made larger so that their
/// sizes suit some hardware. `path` is the tokenizer's, for the message.
///
/// # Errors
/// [`Error::File`] where it lacks some.
pub fn check_vocabulary(config: &Config, tokenizer_vocabulary: usize, path: impl AsRef<Path>) -> Result<()> {
    if tokenizer_vocabulary <= config.vocab_size {
        return Ok(());
    }
    let expected = format!("at most {} tokens, the `vocab_size` of config.json", config.vocab_size);
    Err(Error::file(path, expected, tokenizer_vocabulary.to_string()))
}
