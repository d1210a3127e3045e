//! Preparations that several processes divide among them.
//!
//! Tokenizing takes the time, so each process reads all documents, which tells it which are its own, and tokenizes those. Its
//! [part](crate::store::PartWriter) holds their tokens. What is held out, how sequences are filled and in what order they
//! stand follows from all documents: that is decided when the parts are put together, by the code and in the order of
//! [`prepare`](super::prepare::prepare), and so the folder is the same to the bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::held_out::HeldOut;
use super::preparation::{Earlier, PrepareOptions, Progress, Summary};
use super::prepare::{check, each_chunk};
use super::reader::{ReadCounts, Reader};
use super::resume;
use super::work::{Work, hash_of, token_bytes};
use crate::store::{
    Disk, Making, NewFolder, PartWriter, Parts, Purpose, Seen, Store, WorkShard, claim, parent,
};
use crate::text::{SpecialTokens, Tokenizer, tokenizer};
use crate::{Error, Result};

/// What the parts of a preparation are of.
pub const DOCUMENTS: &str = "documents";

/// What stands before the tokens of a document: the hash of its text, and how many there are.
const HEAD: usize = 8 + 4;

/// What is needed to go on from tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    seq_len: usize,
    join: bool,
    pack: bool,
    held_out: HeldOut,
    seed: u64,
    shard_tokens: u64,
    tokenizer: String,
    special_tokens: SpecialTokens,
    read: ReadCounts,
}

/// What a process did of a preparation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardSummary {
    /// The file made.
    #[serde(serialize_with = "crate::format::shown_path")]
    pub part: PathBuf,
    /// Which share it is: `I/N`.
    pub shard: WorkShard,
    /// Documents in it.
    pub documents: u64,
    /// Tokens in it.
    pub tokens: u64,
    /// What was read, the documents of other shares with it.
    pub read: ReadCounts,
}

/// Tokenizes the documents of `shard` among those of `options.inputs` into its part of the folder `options.out`.
/// `progress` is called after every chunk. Nothing is kept of a process that is killed.
///
/// # Errors
/// As [`prepare`](super::prepare::prepare), but for what follows from all documents.
pub fn prepare_shard(
    options: &PrepareOptions,
    shard: WorkShard,
    mut progress: impl FnMut(&Progress),
) -> Result<ShardSummary> {
    check(options)?;
    options.held_out.check()?;
    // Whoever puts the parts together would be told, hours later.
    claim(&Disk, &options.out, Purpose::New, false)?;
    shard.part(&options.out)?;
    let tokenizer = Tokenizer::load_with(&options.tokenizer, options.verify)?;
    let mut reader = Reader::open(&options.inputs, options.read.clone())?;
    // As the folder that one process begins.
    Disk.create_dir_all(parent(&options.out))?;
    let mut part = PartWriter::create(&options.out, shard)?;
    let (bytes, total_bytes) = (reader.bytes_read(), reader.total_bytes());
    let width = token_bytes(&tokenizer);
    let (mut seen, mut documents, mut tokens) = (Seen::default(), 0, 0);
    each_chunk(&mut reader, options.chunk_bytes, |chunk| {
        let first = seen.items;
        let numbered = chunk.par_iter().enumerate();
        let encode = |(index, document)| {
            let own = shard.has(first + index as u64);
            let encode = |document: &super::Document| tokenizer.encode(&document.text);
            Ok((hash_of(document), own.then(|| encode(document)).transpose()?))
        };
        for (hash, own) in numbered.map(encode).collect::<Result<Vec<_>>>()? {
            seen.add(hash);
            let Some(ids) = own else { continue };
            documents += 1;
            tokens += ids.len() as u64;
            part.put(1, &record(hash, &ids, width))?;
        }
        let bytes = bytes.load(Ordering::Relaxed);
        progress(&Progress { bytes, total_bytes, documents, tokens, earlier: Earlier::default() });
        Ok(true)
    })?;
    let read = reader.counts().clone();
    let path = part.path().to_path_buf();
    // A tokenizer may take 17 MB, and is needed once.
    let details = match shard.number() {
        1 => details(options, &tokenizer, read.clone())?,
        _ => serde_json::Value::Null,
    };
    // The settings name the version of the program, and the tokenizer by its fingerprint.
    let same = BTreeMap::from([("settings".to_owned(), resume::settings(options, &tokenizer))]);
    part.finish(seen, Making { kind: DOCUMENTS.to_owned(), same, device: None, details })?;
    Ok(ShardSummary { part: path, shard, documents, tokens, read })
}

/// A document in a part: its head, then each token in as many bytes as in a data folder.
fn record(hash: u64, ids: &[u32], width: usize) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + ids.len() * width);
    record.extend(hash.to_le_bytes());
    record.extend((ids.len() as u32).to_le_bytes());
    ids.iter().for_each(|id| record.extend(&id.to_le_bytes()[..width]));
    record
}

fn details(options: &PrepareOptions, tokenizer: &Tokenizer, read: ReadCounts) -> Result<serde_json::Value> {
    let &PrepareOptions { seq_len, join, pack, held_out, seed, shard_tokens, .. } = options;
    let wrong = |found: String| Error::file(&options.tokenizer, "a tokenizer in JSON", found);
    let json = String::from_utf8(tokenizer.json().to_vec()).map_err(|error| wrong(error.to_string()))?;
    let special_tokens = tokenizer.special_tokens().clone();
    let details =
        Details { seq_len, join, pack, held_out, seed, shard_tokens, tokenizer: json, special_tokens, read };
    serde_json::to_value(details).map_err(|error| wrong(error.to_string()))
}

/// Puts the parts of the folder `out` together: the folder is that which one process would have made.
///
/// # Errors
/// Those of [`prepare`](super::prepare::prepare) that follow from all documents; [`Error::File`] for parts that hold other
/// documents than they say.
pub fn merge_documents(
    out: &Path,
    parts: &mut Parts,
    mut progress: impl FnMut(&Progress),
) -> Result<Summary> {
    let wrong = |found: String| Error::file(out, "parts of a preparation of data", found);
    let details: Details =
        serde_json::from_value(parts.details().clone()).map_err(|error| wrong(error.to_string()))?;
    let json = details.tokenizer.into_bytes();
    let tokenizer = Tokenizer::with_roles(json, &out.join(tokenizer::FILE), &details.special_tokens)?;
    let options = PrepareOptions {
        out: out.to_path_buf(),
        seq_len: details.seq_len,
        join: details.join,
        pack: details.pack,
        held_out: details.held_out,
        seed: details.seed,
        shard_tokens: details.shard_tokens,
        ..PrepareOptions::default()
    };
    check(&options)?;
    let folder = NewFolder::create(&Disk, out)?;
    let mut work = Work::new(&options, &tokenizer, (&Disk, folder.path()))?;
    let (width, total) = (token_bytes(&tokenizer), parts.seen());
    let vocabulary = tokenizer.vocab_size() as u32;
    while let Some(records) = parts.next_item() {
        let mut head = [0; HEAD];
        records.exact(&mut head)?;
        let (hash, count) = head.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        let mut ids = vec![0; number(count) as usize * width];
        records.exact(&mut ids)?;
        let ids: Vec<u32> = ids.chunks_exact(width).map(|id| number(id) as u32).collect();
        if let Some(id) = ids.iter().find(|&&id| id >= vocabulary) {
            return Err(wrong(format!("the token {id} in a vocabulary of {vocabulary}")));
        }
        work.add(number(hash), ids)?;
        if work.counts().documents.is_multiple_of(4096) {
            progress(&work.progress(0, None, Earlier::default()));
        }
    }
    parts.finish()?;
    if work.counts().digest != total.digest {
        return Err(wrong("documents in another order, or others".to_owned()));
    }
    let summary = work.finish(details.read, Earlier::default())?;
    folder.commit()?;
    Ok(summary)
}
