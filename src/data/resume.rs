//! What a preparation that is killed or fails leaves to go on from: a file in its folder, replaced from time to time.
//!
//! It holds what is in memory between two chunks of documents, and how long each file was then, with its checksum. The place
//! in the input is a number of documents and the hash of their texts: whoever goes on reads those again, which takes a
//! small part of the time that tokenizing takes, and sees by it that they are the same.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::held_out::ChooserState;
use super::preparation::PrepareOptions;
use super::sequences::SequenceState;
use crate::Result;
use crate::store::{Store, write_atomic};
use crate::text::Tokenizer;

/// The file's name.
pub(super) const FILE: &str = "going-on.json";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    /// What the data follows from beside the documents.
    pub settings: String,
    pub work: WorkState,
}

/// What came by so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub documents: u64,
    /// The texts of the documents, in their order, hashed.
    pub digest: u64,
    pub empty: u64,
    pub unknown: u64,
    pub tokens: u64,
}

/// The work as it stands between two chunks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkState {
    pub counts: Counts,
    pub chooser: ChooserState,
    pub train: SequenceState,
    pub held_out: SequenceState,
}

impl WorkState {
    /// Whether a file of the folder is one to go on with.
    pub(super) fn needs(&self, name: &str) -> bool {
        let parts = [(&self.train, "train"), (&self.held_out, "held-out")];
        name == FILE
            || parts.iter().any(|(part, stem)| part.shards.files(stem).iter().any(|file| file == name))
    }
}

/// All that the data follows from, but the documents. How they are read is not part of it, as it is known by what is read; but
/// where long ones are split, which also follows from the memory there is, may show in none of those that were read.
pub(super) fn settings(options: &PrepareOptions, tokenizer: &Tokenizer) -> String {
    let PrepareOptions { seq_len, join, pack, held_out, seed, shard_tokens, read, .. } = options;
    let split_at = read.document_limit;
    format!(
        "{} {:016x} {:?} {seq_len} {join} {pack} {held_out:?} {seed} {shard_tokens} {split_at}",
        env!("CARGO_PKG_VERSION"),
        tokenizer.fingerprint(),
        tokenizer.specials(),
    )
}

/// Replaces the file of `folder`.
pub(super) fn save(store: &dyn Store, folder: &Path, saved: &Saved) -> Result<()> {
    // Numbers, strings and lists always serialise.
    let json = serde_json::to_vec(saved).unwrap_or_default();
    let sum = format!("{:08x}\n", crc32fast::hash(&json));
    write_atomic(store, &folder.join(FILE), |sink| {
        sink.put(sum.as_bytes())?;
        sink.put(&json)
    })?;
    Ok(())
}

/// What the file of `folder` holds; none where it is damaged.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub(super) fn load(store: &dyn Store, folder: &Path) -> Result<Option<Saved>> {
    let bytes = store.read(&folder.join(FILE))?;
    let parts = bytes.split_at_checked(9);
    let whole = parts.filter(|(sum, json)| *sum == format!("{:08x}\n", crc32fast::hash(json)).as_bytes());
    Ok(whole.and_then(|(_, json)| serde_json::from_slice(json).ok()))
}
