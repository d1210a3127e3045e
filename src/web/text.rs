//! Text: a made-up language, tokenizers, data folders.

use std::path::PathBuf;

use serde::Deserialize;
use wasm_bindgen::prelude::*;

use super::{Files, json, settings};
use crate::Result;
use crate::data::grammar::Language;
use crate::data::reader::{Documents, ReadOptions, Reader};
use crate::data::{HeldOut, PrepareOptions, prepare_in};
use crate::text::{self, TokenizerKind, TokenizerOptions};

/// Documents of a small made-up English, one a line: those of `wgrad quickstart`.
#[wasm_bindgen]
pub fn generate_text(words: usize, documents: u64, seed: u64) -> Result<String> {
    let language = Language::new(words)?;
    let lines = (0..documents).map(|index| language.text(&language.sample(seed, index)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// As `wgrad tokenizer train`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerSettings {
    inputs: Vec<PathBuf>,
    vocab_size: usize,
    #[serde(default)]
    word_piece: bool,
    #[serde(default)]
    keep_case: bool,
    #[serde(default)]
    keep_accents: bool,
    #[serde(default)]
    by_paragraph: bool,
    out: String,
}

/// As `wgrad data prepare`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataSettings {
    inputs: Vec<PathBuf>,
    tokenizer: String,
    seq_len: usize,
    #[serde(default)]
    join: bool,
    #[serde(default)]
    pack: bool,
    /// A share below 1, or a number of sequences.
    held_out: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    by_paragraph: bool,
    out: PathBuf,
}

fn read_options(by_paragraph: bool) -> ReadOptions {
    let documents = if by_paragraph { Documents::BlankLine } else { Documents::Line };
    ReadOptions { documents, ..ReadOptions::default() }
}

/// Learns a vocabulary and writes `out/tokenizer.json`; gives back its size.
#[wasm_bindgen]
pub fn train_tokenizer(files: &Files, options: &str) -> Result<usize> {
    let options: TokenizerSettings = settings(options)?;
    let mut reader = Reader::open_in(&files.0, &options.inputs, read_options(options.by_paragraph))?;
    let texts = reader.by_ref().map(|document| Ok(document?.text));
    let kind = if options.word_piece { TokenizerKind::WordPiece } else { TokenizerKind::Bpe };
    let learned = text::Tokenizer::train(
        texts,
        &TokenizerOptions {
            vocab_size: options.vocab_size,
            kind,
            keep_case: options.keep_case,
            keep_accents: options.keep_accents,
        },
    )?;
    files.0.insert(format!("{}/tokenizer.json", options.out), learned.json().to_vec());
    Ok(learned.vocab_size())
}

/// Turns text files into a data folder; gives back what `wgrad data prepare --json` prints.
#[wasm_bindgen]
pub fn prepare_data(files: &Files, options: &str) -> Result<String> {
    let options: DataSettings = settings(options)?;
    let tokenizer = load_tokenizer(files, &options.tokenizer)?;
    let held_out = match options.held_out {
        share if share < 1.0 => HeldOut::Fraction(share),
        count => HeldOut::Sequences(count as u64),
    };
    let options = PrepareOptions {
        inputs: options.inputs,
        out: options.out,
        seq_len: options.seq_len,
        join: options.join,
        pack: options.pack,
        held_out,
        seed: options.seed,
        read: read_options(options.by_paragraph),
        ..PrepareOptions::default()
    };
    Ok(json(&prepare_in(&files.0, &tokenizer, &options, |_| ())?))
}

/// The tokenizer of a folder.
fn load_tokenizer(files: &Files, folder: &str) -> Result<text::Tokenizer> {
    let path = format!("{folder}/tokenizer.json");
    let json = files.0.get(&path);
    let json = json.ok_or_else(|| crate::Error::file(&path, "a tokenizer.json", "none"))?;
    text::Tokenizer::from_bytes(json.to_vec())
}

/// Text to token ids.
#[wasm_bindgen]
pub struct Tokenizer(text::Tokenizer);

#[wasm_bindgen]
impl Tokenizer {
    /// Reads the `tokenizer.json` of a folder.
    pub fn open(files: &Files, folder: &str) -> Result<Tokenizer> {
        Ok(Tokenizer(load_tokenizer(files, folder)?))
    }

    /// The ids of `[CLS] text [SEP]`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.0.encode_with_specials(text)
    }

    /// A token as it is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.0.token(id)
    }
}
