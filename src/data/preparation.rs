//! What a preparation of data is asked for, and what it tells.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::held_out::HeldOut;
use super::manifest;
use super::reader::{ReadCounts, ReadOptions};

/// What to prepare, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareOptions {
    /// Files, folders or `-`; see [`Reader::open`](super::Reader::open).
    pub inputs: Vec<PathBuf>,
    /// The folder or file of the tokenizer.
    pub tokenizer: PathBuf,
    /// Whether the tokenizer is compared with its checksum.
    pub verify: bool,
    /// The folder to make.
    pub out: PathBuf,
    /// T, `[CLS]` and `[SEP]` included: 10 to 65536.
    pub seq_len: usize,
    /// Let documents share sequences and see each other there, so that no sequence needs padding.
    pub join: bool,
    /// Let documents share sequences without seeing each other; not with `join`.
    pub pack: bool,
    /// How much is kept from training.
    pub held_out: HeldOut,
    /// Chooses the documents that are held out.
    pub seed: u64,
    /// How files are read.
    pub read: ReadOptions,
    /// Tokens per shard, about.
    pub shard_tokens: u64,
    /// Bytes of text that are tokenized at once, about. The data does not depend on it.
    pub chunk_bytes: usize,
    /// How much work a process that is killed may lose. The data does not depend on it.
    pub save_every: Duration,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        PrepareOptions {
            inputs: Vec::new(),
            tokenizer: PathBuf::new(),
            verify: true,
            out: PathBuf::new(),
            seq_len: 128,
            join: false,
            pack: false,
            held_out: HeldOut::Fraction(0.01),
            seed: 0,
            read: ReadOptions::default(),
            shard_tokens: 1 << 27,
            chunk_bytes: 4 << 20,
            save_every: Duration::from_secs(20),
        }
    }
}

/// How far a preparation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the disk.
    pub bytes: u64,
    /// Bytes on the disk; none with the standard input.
    pub total_bytes: Option<u64>,
    /// Documents tokenized.
    pub documents: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// What became of an earlier run that was not finished, once it is known: see [`Earlier`].
    pub earlier: Earlier,
}

/// What became of an earlier run for the same folder that was killed or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Earlier {
    /// As many documents were taken over from it.
    pub resumed_documents: u64,
    /// Why nothing was, where there was something.
    pub begun_anew: Option<&'static str>,
}

/// What one part came to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PartSummary {
    /// Documents.
    pub documents: u64,
    /// Sequences.
    pub sequences: u64,
    /// Documents and pieces of documents between `[CLS]` and `[SEP]`: several to a sequence where they are packed.
    pub segments: u64,
    /// Tokens, `[CLS]` and `[SEP]` included.
    pub tokens: u64,
    /// The share of the sequences that is tokens; the rest is padding.
    pub fill: f64,
    /// Tokens of padding that the segments would take in sequences of their own and do not take.
    pub padding_avoided: u64,
}

impl PartSummary {
    pub(super) fn new(part: &manifest::Part, seq_len: usize) -> Self {
        let manifest::Part { documents, sequences, tokens, .. } = *part;
        let segments = if part.segments > 0 { part.segments } else { sequences };
        let room = sequences.max(1) * seq_len as u64;
        let padding_avoided = (segments - sequences) * seq_len as u64;
        let fill = tokens as f64 / room as f64;
        PartSummary { documents, sequences, segments, tokens, fill, padding_avoided }
    }
}

/// What a preparation came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The folder made.
    #[serde(serialize_with = "crate::format::shown_path")]
    pub out: PathBuf,
    /// T.
    pub seq_len: usize,
    /// V.
    pub vocab_size: usize,
    /// What was read and put right.
    pub read: ReadCounts,
    /// What became of an earlier run that was not finished.
    #[serde(flatten)]
    pub earlier: Earlier,
    /// Documents without a single token, passed over.
    pub empty_documents: u64,
    /// Tokens in tails too short to keep.
    pub dropped_tokens: u64,
    /// `[UNK]` among the tokens.
    pub unknown_tokens: u64,
    /// The sequences to train on.
    pub train: PartSummary,
    /// The sequences to measure on.
    pub held_out: PartSummary,
    /// The loss in nats of guessing held-out tokens by their frequency alone; none if nothing was held out.
    pub unigram_entropy: Option<f64>,
}
