//! Reading text, preparing shards, making batches, and the commands that do so.
#![allow(clippy::unwrap_used)]

mod batches;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod formats;
mod killed;
mod lost_rows;
mod masks;
mod packing;
mod preparing;
mod reading;

use std::path::{Path, PathBuf};

use wgrad::data::{PrepareOptions, Summary, prepare};
use wgrad::text::{Tokenizer, TokenizerOptions};

/// Sentences that differ, from a fixed generator.
pub fn sentences(count: usize) -> Vec<String> {
    const WORDS: [&str; 12] =
        ["the", "dog", "sees", "a", "small", "house", "and", "runs", "over", "green", "hills", "today"];
    let word = |number: usize| WORDS[wgrad::random::mix(number as u64) as usize % WORDS.len()];
    let sentence = |line: usize| {
        let words: Vec<_> = (0..5 + line % 17).map(|index| word(line * 31 + index)).collect();
        format!("{} {line}.", words.join(" "))
    };
    (0..count).map(sentence).collect()
}

/// A small tokenizer, saved in `folder/tok`.
pub fn tokenizer(folder: &Path) -> PathBuf {
    let options = TokenizerOptions { vocab_size: 300, ..Default::default() };
    let place = folder.join("tok");
    let texts = sentences(200).into_iter().map(Ok);
    Tokenizer::train(texts, &options).unwrap().save(&place).unwrap();
    place
}

/// Prepares `text` in `folder/NAME` with a tokenizer made there, after `change` of the defaults (T = 16).
pub fn prepared(
    folder: &Path,
    name: &str,
    text: &str,
    change: impl FnOnce(&mut PrepareOptions),
) -> wgrad::Result<Summary> {
    let file = folder.join(format!("{name}.txt"));
    std::fs::write(&file, text).unwrap();
    let tokenizer = match folder.join("tok") {
        place if place.exists() => place,
        _ => tokenizer(folder),
    };
    let mut options = PrepareOptions {
        inputs: vec![file],
        tokenizer,
        out: folder.join(name),
        seq_len: 16,
        ..Default::default()
    };
    change(&mut options);
    prepare(&options, |_| {})
}
