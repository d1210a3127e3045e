//! By how much a tokenizer's cleaning can lengthen a text, weighed before any text is cleaned.
//!
//! A step that writes two letters for one is harmless; forty of them in a row make a terabyte of a letter. Each kind of step
//! has a bound of its own, and those of a sequence multiply.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex_syntax::hir::Hir;
use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use crate::budget::{self, Turn};
use crate::{Error, Result};

/// Cleaning that may lengthen a text more than this many times is refused. The most of a published tokenizer that was seen is
/// XLM-R's, whose table of forms (NFKC) writes 33 bytes for the 3 of one Arabic ligature.
const MOST: f64 = 1000.0;

/// How many times as many bytes as a text has the cleaning of a `tokenizer.json` may give.
///
/// # Errors
/// More than [`MOST`]: what was expected, and what was found.
pub(super) fn growth(tokenizer: &Value) -> std::result::Result<f64, (String, String)> {
    let mut bound = Bound { growth: 1.0, forms: 1.0 };
    ["normalizer", "pre_tokenizer"]
        .iter()
        .filter_map(|key| tokenizer.get(key))
        .for_each(|step| bound.add(step));
    let growth = bound.growth;
    if growth <= MOST {
        return Ok(growth);
    }
    let expected = format!("cleaning that makes a text at most {MOST} times as long");
    Err((expected, format!("one that could make it {growth:.0} times as long")))
}

/// The bound of the steps so far.
struct Bound {
    growth: f64,
    /// How much of it is Unicode's normal forms since the last step that wrote something of its own: a text that is in one
    /// form already hardly grows by another.
    forms: f64,
}

impl Bound {
    /// One step more, or a sequence of some.
    fn add(&mut self, step: &Value) {
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        // The most that Unicode's tables give for the bytes of a character.
        let form = match text("type") {
            "NFD" | "NFC" => 3.0,
            "NFKD" | "NFKC" => 11.0,
            _ => 1.0,
        };
        if form > self.forms {
            self.growth *= form / self.forms;
            self.forms = form;
        }
        self.growth *= match text("type") {
            "Sequence" => {
                let lists =
                    ["normalizers", "pretokenizers"].map(|key| step.get(key).and_then(Value::as_array));
                lists.into_iter().flatten().flatten().for_each(|step| self.add(step));
                return;
            }
            "Replace" => {
                let content = text("content").len();
                if content > 0 {
                    self.forms = 1.0;
                }
                replaced(step.get("pattern").unwrap_or(&Value::Null), content)
            }
            // Even the shortest text, of one byte, gets all of it.
            "Prepend" => {
                self.forms = 1.0;
                1.0 + text("prepend").len() as f64
            }
            "Precompiled" => {
                self.forms = 1.0;
                precompiled(text("precompiled_charsmap"))
            }
            "Lowercase" => 1.5,
            // A blank of one byte becomes a sign of three.
            "Metaspace" => 3.0,
            // A blank at each side of an ideograph; or accents apart from their letters.
            "BertNormalizer" => 3.0,
            "ByteLevel" => 2.0,
            _ => 1.0,
        };
    }
}

/// The bound of writing `content` bytes for each match of a pattern.
fn replaced(pattern: &Value, content: usize) -> f64 {
    let least = match (pattern.get("String"), pattern.get("Regex")) {
        (Some(text), _) => text.as_str().map_or(0, str::len),
        (_, Some(regex)) => regex.as_str().map_or(0, shortest),
        _ => 0,
    };
    match least {
        // It may match before each byte and leave it there.
        0 => 1.0 + content as f64,
        least => (content as f64 / least as f64).max(1.0),
    }
}

/// The bytes of the shortest text that a pattern matches; 0 for one that only another engine can read.
fn shortest(pattern: &str) -> usize {
    regex_syntax::parse(pattern).ok().and_then(|parsed: Hir| parsed.properties().minimum_len()).unwrap_or(0)
}

/// The bound of SentencePiece's table of forms: a trie of a size that its first four bytes say, then the forms, NUL after
/// each.
fn precompiled(encoded: &str) -> f64 {
    // What is no base64 the crate that reads it refuses.
    let table = STANDARD.decode(encoded).unwrap_or_default();
    let Some((size, rest)) = table.split_first_chunk::<4>() else { return 1.0 };
    let forms = rest.get(u32::from_le_bytes(*size) as usize..).unwrap_or_default();
    let longest = forms.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0);
    // The longest form that Unicode has stands for a character of three bytes.
    if longest <= 33 { 11.0 } else { longest as f64 }
}

/// Waits until there is memory to tokenize `texts`, one or two, whose cleaning may make them `growth` times as long.
///
/// # Errors
/// [`Error::Config`] for what cleaning makes so much longer that it never fits.
pub(super) fn turn(cleaning: Option<&NormalizerWrapper>, growth: f64, texts: &[&str]) -> Result<Turn> {
    let plain = texts.iter().map(|text| text.len()).sum::<usize>() as u64;
    let letters = match cleaning {
        // Taking a text apart writes no letters of its own, and stands at most one for each byte.
        None => plain,
        Some(_) if budget::is_short((plain as f64 * growth) as u64) => (plain as f64 * growth) as u64,
        // The bound is far above what most texts come to: of a long one it is found out before all is cleaned at once.
        Some(cleaning) => texts.iter().map(|text| cleaned(cleaning, text)).sum::<Result<u64>>()?.max(plain),
    };
    if budget::can_be_tokenized(letters) {
        return Ok(budget::tokenizing(letters));
    }
    let expected =
        format!("one that can be tokenized within the memory that texts may take ({})", budget::HINT);
    Err(Error::config("text", expected, format!("at least {letters} letters once it is cleaned")))
}

/// How many letters cleaning leaves of a text, about: it is cleaned a piece at a time, until they are too many. Letters, not
/// bytes, are what words and tokens are made of: blanks around the three bytes of an ideograph, or a syllable of Korean
/// taken apart into three letters of three bytes each, leave three letters.
fn cleaned(cleaning: &NormalizerWrapper, text: &str) -> Result<u64> {
    const PIECE: usize = 4096;
    let (mut letters, mut rest) = (0, text);
    while !rest.is_empty() && budget::can_be_tokenized(letters) {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
        let mut cleaned = NormalizedString::from(piece);
        let failed = |error| Error::config("tokenizer", "cleaning that any text goes through", error);
        // Crafted patterns panic.
        let outcome = catch_unwind(AssertUnwindSafe(|| cleaning.normalize(&mut cleaned)));
        outcome.unwrap_or_else(|_| Err("a pattern that cannot be used".into())).map_err(failed)?;
        letters += cleaned.get().chars().count() as u64;
        rest = after;
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn growth_of(normalizer: &Value) -> Option<f64> {
        growth(&json!({ "normalizer": normalizer })).ok()
    }

    fn replace(kind: &str, pattern: &str, content: &str) -> Value {
        json!({ "type": "Replace", "pattern": { kind: pattern }, "content": content })
    }

    #[test]
    fn fault_59_cleaning_that_blows_up_a_text_is_refused() {
        let doubled = replace("String", "a", "aa");
        let in_a_row = |count: usize| json!({ "type": "Sequence", "normalizers": vec![&doubled; count] });
        assert_eq!(growth_of(&in_a_row(4)), Some(16.0));
        assert_eq!(growth_of(&in_a_row(40)), None);
        // Nested, and by a pattern that matches between letters.
        let nested = json!({ "type": "Sequence", "normalizers": vec![in_a_row(4); 10] });
        assert_eq!(growth_of(&nested), None);
        assert_eq!(growth_of(&replace("String", "a", &"a".repeat(2000))), None);
        assert_eq!(growth_of(&replace("Regex", "", &"a".repeat(2000))), None);
        assert_eq!(growth_of(&replace("Regex", "(?<=a)x*", &"a".repeat(2000))), None);
        assert_eq!(growth_of(&json!({ "type": "Prepend", "prepend": "a".repeat(2000) })), None);
        let table = [&0_u32.to_le_bytes()[..], "a".repeat(2000).as_bytes()].concat();
        let table = STANDARD.encode(table);
        assert_eq!(growth_of(&json!({ "type": "Precompiled", "precompiled_charsmap": table })), None);
    }

    #[test]
    fn usual_cleaning_is_taken() {
        assert_eq!(growth_of(&Value::Null), Some(1.0));
        assert_eq!(growth_of(&replace("Regex", " {2,}", "\u{2581}")), Some(1.5));
        assert_eq!(growth_of(&replace("String", "\u{df}", "ss")), Some(1.0));
        assert_eq!(growth_of(&replace("Regex", r"[^\S\n]+", " ")), Some(1.0));
        // Nothing is written for what a look behind finds.
        assert_eq!(growth_of(&replace("Regex", r"(?<=\p{Latin})\p{Mn}+", "")), Some(1.0));
        assert_eq!(growth_of(&json!({ "type": "BertNormalizer" })), Some(3.0));
        // Composed, in lower case, decomposed, without marks, composed: no letter is written more than once.
        let forms = json!([{ "type": "NFC" }, { "type": "Lowercase" }, { "type": "NFD" }, replace("Regex", "x+", ""),
                           { "type": "NFC" }]);
        assert_eq!(growth_of(&json!({ "type": "Sequence", "normalizers": forms })), Some(4.5));
        let forms = json!([{ "type": "NFC" }, replace("String", "a", "\u{1d160}"), { "type": "NFC" }]);
        assert_eq!(growth_of(&json!({ "type": "Sequence", "normalizers": forms })), Some(36.0));
    }
}
