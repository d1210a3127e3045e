//! What must hold of a `tokenizer.json` before the `tokenizers` crate may build it: the crate trusts the file
//! and would panic, or read out of bounds, on a crafted one.

use std::collections::HashSet;

use serde_json::Value;

use super::growth::growth;
use crate::format::shortened;
use crate::json::{key_twice, weigh};

/// No vocabulary has more ids than this.
const MAX_IDS: u64 = 1 << 24;

/// No word that is split into pieces has more letters. Published tokenizers say 100, a few 200.
const MAX_WORD: u64 = 1000;
/// No piece of a Unigram model has more bytes: the crate keeps pieces in a tree with a level for each, which it drops level
/// within level, so that one of a hundred thousand overflows the stack. Published ones have a few dozen.
const MAX_PIECE: usize = 4096;
/// No template has more pieces, nor a special token of it more ids.
const MAX_PIECES: usize = 32;

/// What was expected and what was found.
pub(super) type Complaint = (String, String);

fn complaint<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Complaint> {
    Err((expected.into(), found.into()))
}

/// Checks the text of a `tokenizer.json`.
///
/// Gives back how many times as many bytes as a text has its cleaning may give.
pub(super) fn check(bytes: &[u8]) -> Result<f64, Complaint> {
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"version https://git-lfs") {
        return complaint("a tokenizer.json", "a Git LFS pointer (run `git lfs pull`)");
    }
    if start.starts_with(b"<") {
        return complaint("a tokenizer.json", "an HTML page (a download that failed)");
    }
    weigh(bytes)?;
    let json: Value = match serde_json::from_slice(bytes) {
        Ok(json) => json,
        Err(error) => return complaint("a tokenizer.json", format!("broken JSON ({error})")),
    };
    if let Some(key) = key_twice(bytes) {
        return complaint("keys, and tokens, that come once", format!("`{}` twice", shortened(&key, 40)));
    }
    let Some(model) = json.get("model").and_then(Value::as_object) else {
        return complaint("a tokenizer.json with a `model`", "JSON without one");
    };
    let vocab = model.get("vocab").and_then(Value::as_object);
    if let Some(vocab) = vocab {
        let mut ids = HashSet::with_capacity(vocab.len());
        for (token, id) in vocab {
            match id.as_u64() {
                Some(id) if id < MAX_IDS => {
                    if !ids.insert(id) {
                        return complaint("a vocabulary with one token per id", format!("id {id} twice"));
                    }
                }
                _ => {
                    let expected = format!("token ids below {MAX_IDS}");
                    return complaint(expected, format!("`{token}` with the id {id}"));
                }
            }
        }
    }
    let listed = model.get("vocab").and_then(Value::as_array).into_iter().flatten();
    let mut tokens = HashSet::new();
    for token in listed.filter_map(|entry| entry.get(0)?.as_str()) {
        if token.len() > MAX_PIECE {
            return complaint("pieces of at most 4096 bytes", "a longer one");
        }
        if !tokens.insert(token) {
            return complaint("tokens that come once", format!("`{}` twice", shortened(token, 40)));
        }
    }
    // The longest piece of a word is looked for from each of its letters.
    let longest = model.get("max_input_chars_per_word").and_then(Value::as_u64).unwrap_or(0);
    if longest > MAX_WORD {
        return complaint(format!("words of at most {MAX_WORD} letters"), longest.to_string());
    }
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("");
    for (index, merge) in model.get("merges").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let known = |token: &str| vocab.is_some_and(|vocab| vocab.contains_key(token));
        let fits = merge_parts(merge).is_some_and(|(left, right)| {
            let joined = right.strip_prefix(prefix).map(|rest| format!("{left}{rest}"));
            known(left) && known(right) && joined.is_some_and(|joined| known(&joined))
        });
        if !fits {
            let expected = format!("merges of two tokens of the vocabulary, the second with `{prefix}`");
            return complaint(expected, format!("merge {index}: {merge}"));
        }
    }
    match json.get("post_processor").and_then(unknown_special) {
        Some(token) => complaint("a template of known special tokens", format!("`{token}`")),
        None if json.get("post_processor").is_some_and(is_long) => {
            complaint(format!("templates of at most {MAX_PIECES} pieces"), "more of them")
        }
        None => growth(&json),
    }
}

/// Whether a template puts more around each text than a sentence or two.
fn is_long(processor: &Value) -> bool {
    let long =
        |list: Option<&Value>| list.and_then(Value::as_array).is_some_and(|list| list.len() > MAX_PIECES);
    let known = processor.get("special_tokens").and_then(Value::as_object);
    let parts = processor.get("processors").and_then(Value::as_array);
    long(processor.get("single"))
        || long(processor.get("pair"))
        || known.is_some_and(|known| known.values().any(|token| long(token.get("ids"))))
        || parts.is_some_and(|parts| parts.len() > MAX_PIECES || parts.iter().any(is_long))
}

/// A special token that a template names without defining it; the crate would panic at the first text.
fn unknown_special(processor: &Value) -> Option<String> {
    if let Some(parts) = processor.get("processors").and_then(Value::as_array) {
        return parts.iter().find_map(unknown_special);
    }
    let pieces = ["single", "pair"].into_iter().filter_map(|name| processor.get(name)?.as_array()).flatten();
    let mut named = pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    let defined =
        |token: &str| processor.get("special_tokens").is_some_and(|known| known.get(token).is_some());
    named.find(|token| !defined(token)).map(str::to_owned)
}

/// The two sides of a merge, written as a pair or as one string with a space.
fn merge_parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}
