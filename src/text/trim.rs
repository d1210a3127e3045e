//! A tokenizer without the tokens that some text does not need.
//!
//! Which tokens may go follows from how each kind of model splits words, so that text splits into the same tokens as
//! before, as long as all of these are kept:
//!
//! - **Unigram** takes the likeliest way through a word. That way is still there, and none that was less likely has
//!   become likelier. The least likely token stays, because what is unknown is weighed by it.
//! - **WordPiece** takes the longest piece first. The longest piece is still there, and none longer has come.
//! - **BPE** merges the pair that was learned first. A token stays together with those that it is merged from, so the
//!   pairs that made it come up in the same order, and none before them.
//! - **WordLevel** takes whole words.
//!
//! Special tokens, the tokens of bytes and the single characters of what is kept stay as well. [`Trimming::apply`] gives the
//! tokens new ids, in the order of the old.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::tokenizer::Tokenizer;
use crate::error::quoted;
use crate::{Error, Result};

/// What is to be kept of a tokenizer.
#[derive(Debug)]
pub struct Trimming {
    tokenizer: Tokenizer,
    file: Value,
    /// Every token with its id.
    vocabulary: Vec<(String, u32)>,
    /// Ids that are kept.
    kept: BTreeSet<u32>,
    /// Words that the tokenizer does not know and that were seen to.
    unknown: HashSet<String>,
}

/// A tokenizer with fewer tokens.
#[derive(Debug)]
pub struct Trimmed {
    /// The bytes of its `tokenizer.json`.
    pub json: Vec<u8>,
    /// The ids that its tokens had before: token i is what token `kept[i]` was.
    pub kept: Vec<u32>,
}

/// The kinds of models that can be trimmed.
const KINDS: [&str; 4] = ["Unigram", "WordPiece", "BPE", "WordLevel"];

impl Trimming {
    /// Begins with the special tokens alone.
    ///
    /// # Errors
    /// [`Error::Config`] for a tokenizer whose model is of another kind.
    pub fn new(tokenizer: Tokenizer) -> Result<Self> {
        let broken = |found: String| Error::config("tokenizer", "a tokenizer.json", found);
        let file: Value =
            serde_json::from_slice(tokenizer.json()).map_err(|error| broken(error.to_string()))?;
        let kind = kind(&file);
        if !KINDS.contains(&kind) {
            let expected = format!("a model of one of the kinds {}", KINDS.join(", "));
            return Err(Error::config("tokenizer", expected, quoted(kind)));
        }
        let kept = tokenizer.specials().sorted().into_iter().collect();
        let vocabulary = vocabulary(&file);
        Ok(Trimming { tokenizer, file, vocabulary, kept, unknown: HashSet::new() })
    }

    /// Keeps the tokens with ids up to and including `last`.
    pub fn keep_up_to(&mut self, last: u32) {
        self.kept.extend(0..=last);
    }

    /// Keeps the tokens that a text needs.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn keep_text(&mut self, text: &str) -> Result<()> {
        let tokens = self.tokenizer.encode_with_offsets(text)?;
        self.kept.extend(tokens.iter().map(|(id, _)| *id));
        if kind(&self.file) == "WordPiece" {
            let unknown = self.tokenizer.specials().unk;
            let words = tokens.into_iter().filter(|(id, _)| *id == unknown);
            for word in words.filter_map(|(_, range)| text.get(range)) {
                // The vocabulary is gone through once for each word.
                if self.unknown.insert(word.to_owned()) {
                    self.keep_within(&self.tokenizer.normalized(word)?);
                }
            }
        }
        Ok(())
    }

    /// Keeps all pieces that may begin a part of a word which WordPiece does not know. It gave up behind one of them, and
    /// without that one it might get through. `word` is as the tokenizer's normalizer leaves it.
    fn keep_within(&mut self, word: &str) {
        let prefix = prefix(&self.file);
        let within = |token: &str| word.contains(token.strip_prefix(prefix).unwrap_or(token));
        self.kept.extend(self.vocabulary.iter().filter(|(token, _)| within(token)).map(|(_, id)| *id));
    }

    /// The tokenizer with what was kept, and what that needs.
    ///
    /// # Errors
    /// [`Error::Config`] for a file whose parts contradict each other.
    pub fn apply(mut self) -> Result<Trimmed> {
        self.keep_what_is_needed();
        let vocabulary = &self.vocabulary;
        let ids: HashMap<&str, u32> = vocabulary.iter().map(|(token, id)| (token.as_str(), *id)).collect();
        if kind(&self.file) == "BPE" {
            keep_parts(&self.file, &ids, &mut self.kept);
        }
        // Ids between tokens stand for nothing.
        let known: BTreeSet<u32> = vocabulary.iter().map(|(_, id)| *id).collect();
        let kept: Vec<u32> = self.kept.intersection(&known).copied().collect();
        let new: HashMap<u32, u32> = (0..).zip(&kept).map(|(new, &old)| (old, new)).collect();
        let mut file = self.file.clone();
        renumber(&mut file, &new, &ids);
        let json = serde_json::to_vec(&file)
            .map_err(|error| Error::config("tokenizer", "one that can be written", error))?;
        Ok(Trimmed { json, kept })
    }

    /// Keeps added tokens, those of bytes, those of the characters that kept ones have, and the least likely one.
    fn keep_what_is_needed(&mut self) {
        let vocabulary = &self.vocabulary;
        let model = &self.file["model"];
        let of_kept = vocabulary.iter().filter(|(_, id)| self.kept.contains(id));
        let characters: BTreeSet<char> = of_kept.flat_map(|(token, _)| token.chars()).collect();
        let added = self.file["added_tokens"].as_array().into_iter().flatten();
        self.kept.extend(added.filter_map(|token| token["id"].as_u64()).map(|id| id as u32));
        let prefix = model["continuing_subword_prefix"].as_str().filter(|prefix| !prefix.is_empty());
        let bytes = byte_characters();
        let by_bytes = by_bytes(&self.file);
        let needed = |token: &str| {
            let bare = prefix.and_then(|prefix| token.strip_prefix(prefix)).unwrap_or(token);
            let one = |text: &str| {
                let mut characters = text.chars();
                characters.next().filter(|_| characters.next().is_none())
            };
            let of_text = one(bare).is_some_and(|c| characters.contains(&c));
            // SentencePiece marks the beginning of a word.
            let marked = token
                .strip_prefix('▁')
                .is_some_and(|rest| rest.is_empty() || one(rest).is_some_and(|c| characters.contains(&c)));
            let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            let alphabet = by_bytes && one(bare).is_some_and(|c| bytes.contains(&c));
            of_text || marked || byte || alphabet
        };
        let needed = vocabulary.iter().filter(|(token, _)| needed(token)).map(|(_, id)| *id);
        self.kept.extend(needed.collect::<Vec<_>>());
        if let Some(list) = model["vocab"].as_array() {
            let score = |entry: &Value| entry[1].as_f64().unwrap_or(0.0);
            let least = (0..).zip(list).min_by(|(_, a), (_, b)| score(a).total_cmp(&score(b)));
            self.kept.extend(least.map(|(id, _)| id));
            self.kept.extend(model["unk_id"].as_u64().map(|id| id as u32));
        }
    }
}

fn kind(file: &Value) -> &str {
    let model = &file["model"];
    match model["type"].as_str() {
        Some(kind) => kind,
        // Files of earlier versions do not say it.
        None if model["vocab"].is_array() => "Unigram",
        None if model.get("merges").is_some() => "BPE",
        None if model.get("continuing_subword_prefix").is_some() => "WordPiece",
        None => "unknown",
    }
}

/// Every token with its id, those that were added to the model's included.
fn vocabulary(file: &Value) -> Vec<(String, u32)> {
    let model = &file["model"]["vocab"];
    let listed = model.as_array().into_iter().flatten().zip(0..);
    let listed = listed.filter_map(|(entry, id)| Some((entry[0].as_str()?.to_owned(), id)));
    let named = model.as_object().into_iter().flatten();
    let named = named.filter_map(|(token, id)| Some((token.clone(), id.as_u64()? as u32)));
    let added = file["added_tokens"].as_array().into_iter().flatten();
    let added = added.filter_map(|t| Some((t["content"].as_str()?.to_owned(), t["id"].as_u64()? as u32)));
    listed.chain(named).chain(added).collect()
}

/// Whether words are split into bytes, each written as a character.
fn by_bytes(file: &Value) -> bool {
    let level = |part: &Value| part["type"] == "ByteLevel";
    ["pre_tokenizer", "normalizer", "decoder"].into_iter().any(|key| {
        let part = &file[key];
        let parts = ["pretokenizers", "normalizers", "decoders"];
        level(part)
            || parts.iter().any(|inner| part[*inner].as_array().is_some_and(|all| all.iter().any(level)))
    })
}

/// The characters that stand for bytes.
fn byte_characters() -> BTreeSet<char> {
    tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect()
}

/// The two sides of a merge and what they make.
fn merged<'a>(merge: &'a Value, prefix: &str) -> Option<(&'a str, &'a str, String)> {
    let (left, right) = match merge {
        Value::String(text) => text.split_once(' ')?,
        _ => (merge[0].as_str()?, merge[1].as_str()?),
    };
    Some((left, right, format!("{left}{}", right.strip_prefix(prefix).unwrap_or(right))))
}

/// What the second token of a merge begins with, which the result does not have.
fn prefix(file: &Value) -> &str {
    file["model"]["continuing_subword_prefix"].as_str().unwrap_or_default()
}

/// Keeps the tokens that kept ones are merged from.
fn keep_parts(file: &Value, ids: &HashMap<&str, u32>, kept: &mut BTreeSet<u32>) {
    let mut parts: HashMap<u32, Vec<u32>> = HashMap::new();
    for merge in file["model"]["merges"].as_array().into_iter().flatten() {
        let Some((left, right, whole)) = merged(merge, prefix(file)) else { continue };
        let id = |token: &str| ids.get(token).copied();
        if let (Some(left), Some(right), Some(whole)) = (id(left), id(right), id(&whole)) {
            parts.entry(whole).or_default().extend([left, right]);
        }
    }
    let mut left: Vec<u32> = kept.iter().copied().collect();
    while let Some(token) = left.pop() {
        let parts = parts.get(&token).into_iter().flatten();
        left.extend(parts.filter(|part| kept.insert(**part)));
    }
}

/// Leaves out the tokens that have no new id, and gives the others theirs.
fn renumber(file: &mut Value, new: &HashMap<u32, u32>, ids: &HashMap<&str, u32>) {
    let old = |value: &Value| value.as_u64().and_then(|id| new.get(&(id as u32)).copied());
    let named = |token: &str| ids.get(token).and_then(|id| new.get(id)).copied();
    let prefix = prefix(file).to_owned();
    let model = &mut file["model"];
    if let Some(id) = old(&model["unk_id"]) {
        model["unk_id"] = json!(id);
    }
    match &mut model["vocab"] {
        Value::Array(list) => {
            let mut id = 0;
            list.retain(|_| (new.contains_key(&id), id += 1).0);
        }
        Value::Object(tokens) => {
            let mut kept: Vec<(String, u32)> = std::mem::take(tokens)
                .into_iter()
                .filter_map(|(token, id)| Some((token, old(&id)?)))
                .collect();
            kept.sort_by_key(|(_, id)| *id);
            *tokens = kept.into_iter().map(|(token, id)| (token, json!(id))).collect();
        }
        _ => {}
    }
    if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut) {
        merges.retain(|merge| {
            let parts = merged(merge, &prefix);
            parts.is_some_and(|(left, right, whole)| {
                [left, right, &whole].into_iter().all(|t| named(t).is_some())
            })
        });
    }
    for token in file.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(id) = old(&token["id"]) {
            token["id"] = json!(id);
        }
    }
    if let Some(id) = file["padding"]["pad_id"].as_u64().and_then(|id| new.get(&(id as u32))) {
        file["padding"]["pad_id"] = json!(id);
    }
    if let Some(processor) = file.get_mut("post_processor") {
        renumber_template(processor, &old);
    }
}

/// The ids of special tokens in a template.
fn renumber_template(processor: &mut Value, old: &impl Fn(&Value) -> Option<u32>) {
    let Some(keys) = processor.as_object_mut() else { return };
    for part in keys.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten() {
        renumber_template(part, old);
    }
    for token in
        keys.get_mut("special_tokens").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        for id in token["ids"].as_array_mut().into_iter().flatten() {
            *id = json!(old(id).unwrap_or_default());
        }
    }
    // The processors of BERT and RoBERTa have a name and an id of each.
    for key in ["cls", "sep"] {
        if let Some(id) = keys.get_mut(key).and_then(|pair| pair.get_mut(1)) {
            *id = json!(old(id).unwrap_or_default());
        }
    }
}
