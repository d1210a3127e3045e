//! `dataset.json`: what a data folder holds.
//!
//! Beside it lie, for each part (`train`, `held-out`) and number: `PART-00000.bin`, the token ids of the sequences
//! one after the other, `[CLS]` and `[SEP]` included, as little-endian integers of `token_bytes` bytes; `.idx`, the
//! offset of each sequence in tokens and at last their count. Versions before the third also have `.doc`, which nothing
//! reads any more.
//! Packed sequences are of segments, each `[CLS]`, a document or a piece of one, `[SEP]`, that do not see each other:
//! `.seg` has the offset and the number of each, by which its masks are drawn. Numbers count the pieces as they came.
//! `unigrams.bin` counts every id among the tokens of `train`, then of `held-out`, specials not counted. Offsets
//! and counts are little-endian 64-bit integers. `tokenizer.json` is a copy.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::store::{Store, format_of, refuse_newer};
use crate::{Error, Result};

/// The manifest's name in a data folder.
pub const FILE: &str = "dataset.json";
/// The counts of each id.
pub const UNIGRAMS: &str = "unigrams.bin";
/// What `format` says.
pub const FORMAT: &str = "wgrad-dataset";
/// What `version` says. The second brought packed sequences, the third gave up the starts of documents.
pub const VERSION: u32 = 3;

/// A data folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// 1 to [`VERSION`].
    pub version: u32,
    /// T: no sequence is longer.
    pub seq_len: usize,
    /// V: every id is below.
    pub vocab_size: usize,
    /// Bytes per token id, 2 or 4.
    pub token_bytes: usize,
    /// Whether documents share sequences and see each other there.
    pub join: bool,
    /// Whether sequences are packed with segments.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pack: bool,
    /// What chose the documents held out.
    pub seed: u64,
    /// The tokenizer's fingerprint, hexadecimal.
    pub tokenizer: String,
    /// The sequences to train on.
    pub train: Part,
    /// The sequences to measure on.
    pub held_out: Part,
    /// The cross entropy in nats of the held-out tokens under the counts of the train tokens, each raised by one;
    /// none if nothing was held out.
    pub unigram_entropy: Option<f64>,
    /// CRC-32 of [`UNIGRAMS`].
    pub unigrams_crc32: u32,
    /// CRC-32 of `tokenizer.json`.
    pub tokenizer_crc32: u32,
}

/// One part of the data.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Documents.
    pub documents: u64,
    /// Sequences.
    pub sequences: u64,
    /// Tokens, `[CLS]` and `[SEP]` included.
    pub tokens: u64,
    /// Segments, where sequences are packed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub segments: u64,
    /// The files.
    pub shards: Vec<Shard>,
}

/// One shard: two files of the same stem, three where it is packed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Shard {
    /// The stem: `train-00000`.
    pub name: String,
    /// Sequences.
    pub sequences: u64,
    /// Tokens.
    pub tokens: u64,
    /// CRC-32 of the `.bin` file.
    pub crc32: u32,
    /// CRC-32 of the `.idx` file.
    pub index_crc32: u32,
    /// CRC-32 of the `.doc` file of an earlier version. The data's fingerprint follows from it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents_crc32: Option<u32>,
    /// The `.seg` file of a packed shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Segments>,
}

/// The segments of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// How many.
    pub count: u64,
    /// CRC-32 of the `.seg` file.
    pub crc32: u32,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Manifest {
    /// Reads and checks the manifest of a data folder.
    ///
    /// # Errors
    /// A folder without one, or one that is broken or of another version.
    pub(super) fn read(store: &dyn Store, folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if store.is_dir(folder) && !store.exists(&path) {
            let expected = format!("a folder made by `wgrad data prepare`, with {FILE}");
            return Err(Error::file(folder, expected, "a folder without one"));
        }
        let text = store.read(&path)?;
        let broken = |found: String| Error::file(&path, "the manifest of a data folder", found);
        refuse_newer(&path, "a data folder", format_of(&text, "version"), VERSION)?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(broken(format!("the format {}", quoted(&manifest.format))));
        }
        if ![2, 4].contains(&manifest.token_bytes) || manifest.seq_len < 3 || manifest.vocab_size == 0 {
            return Err(broken("sizes that cannot be".to_owned()));
        }
        for (part, stem) in [(&manifest.train, "train"), (&manifest.held_out, "held-out")] {
            for (number, shard) in part.shards.iter().enumerate() {
                if shard.name != shard_name(stem, number) {
                    return Err(broken(format!("a shard called {:?}", shard.name)));
                }
                if shard.segments.is_some() != manifest.pack {
                    let lacks = if manifest.pack { "without" } else { "with" };
                    return Err(broken(format!("{} {lacks} segments", shard.name)));
                }
            }
            let sum = |count: fn(&Shard) -> u64| {
                part.shards.iter().try_fold(0_u64, |sum, shard| sum.checked_add(count(shard)))
            };
            let sums = [
                sum(|shard| shard.sequences),
                sum(|shard| shard.tokens),
                sum(|shard| shard.segments.map_or(0, |segments| segments.count)),
            ];
            if sums != [part.sequences, part.tokens, part.segments].map(Some) {
                return Err(broken(format!("{stem} counts that differ from those of its shards")));
            }
        }
        Ok(manifest)
    }
}

/// The stem of a shard's files.
pub(super) fn shard_name(part: &str, number: usize) -> String {
    format!("{part}-{number:05}")
}

/// The cross entropy in nats of tokens counted in `held_out` under the counts in `train`, each raised by one.
pub(super) fn unigram_entropy(train: &[u64], held_out: &[u64]) -> Option<f64> {
    let total: u64 = held_out.iter().sum();
    let mass = train.iter().sum::<u64>() as f64 + train.len() as f64;
    let bits = |(&seen, &count): (&u64, &u64)| count as f64 * ((seen + 1) as f64 / mass).ln();
    (total > 0).then(|| -train.iter().zip(held_out).map(bits).sum::<f64>() / total as f64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn unigram_entropy_by_hand() {
        // p = (2/4, 1/4, 1/4): half of the held-out tokens cost ln 2, half ln 4.
        let entropy = super::unigram_entropy(&[1, 0, 0], &[1, 1, 0]).unwrap();
        assert!((entropy - 1.5 * 2_f64.ln()).abs() < 1e-12);
        assert_eq!(super::unigram_entropy(&[1, 2], &[0, 0]), None);
    }
}
