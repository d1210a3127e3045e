//! Text to a folder of token shards.
//!
//! Documents are read on one thread and tokenized on all cores, in bounded chunks; they are parted into train and
//! held-out before they are split into sequences of `[CLS]`, up to `seq_len - 2` tokens, `[SEP]`. By default a sequence
//! holds one document or a piece of one; short ones stay short. With `join` documents follow one another, across
//! files too, so that only the last sequence is short. A tail of fewer than 8 tokens is dropped and counted, unless
//! it is all there is. With `pack` several such sequences stand one after the other in each of T tokens without seeing
//! each other, and no tail is dropped. The folder ([`manifest`]) appears when it is whole.

use std::path::{Path, PathBuf};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{atomic::Ordering, mpsc::sync_channel};

use rayon::prelude::*;
use serde::Serialize;

use super::held_out::{Chooser, Decided, Tokenized};
use super::manifest::{self, FORMAT, Manifest, UNIGRAMS, VERSION, unigram_entropy};
use super::reader::{Document, ReadCounts, ReadOptions, Reader};
use super::sequences::{SequenceWriter, Shape};
use super::shard::{ShardWriter, write_u64s};
use crate::budget;
use crate::hash::fnv1a;
#[cfg(not(target_arch = "wasm32"))]
use crate::store::Disk;
use crate::store::{CHECKSUMS_FILE, Checksums, Memory, NewFolder, Store, write_file};
use crate::text::companions::SPECIAL_TOKENS_FILE;
use crate::text::{SpecialTokens, Tokenizer, tokenizer};
use crate::{Error, Result};

pub use super::held_out::HeldOut;

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
    fn new(part: &manifest::Part, seq_len: usize) -> Self {
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
    pub out: PathBuf,
    /// T.
    pub seq_len: usize,
    /// V.
    pub vocab_size: usize,
    /// What was read and put right.
    pub read: ReadCounts,
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

/// Documents go to the tokenizer in chunks of about this many bytes.
const CHUNK: usize = 4 << 20;

/// Tokenizes `options.inputs` into the folder `options.out`. `progress` is called after every chunk.
///
/// # Errors
/// Bad options, a fault in a file (see [`Reader`]), a corpus without a token, one of which nothing is left to train
/// on, a folder that exists, or a disk that is full. No folder is left behind then.
#[cfg(not(target_arch = "wasm32"))]
pub fn prepare(options: &PrepareOptions, mut progress: impl FnMut(&Progress)) -> Result<Summary> {
    check(options)?;
    let tokenizer = Tokenizer::load_with(&options.tokenizer, options.verify)?;
    let mut reader = Reader::open(&options.inputs, options.read.clone())?;
    let folder = NewFolder::create(&Disk, &options.out)?;
    let mut work = Work::new(options, &tokenizer, (&Disk, folder.path()))?;

    let (bytes, total_bytes) = (reader.bytes_read(), reader.total_bytes());
    std::thread::scope(|scope| {
        // Room for one chunk beside the two being filled and tokenized.
        let (sender, receiver) = sync_channel::<Result<Vec<Document>>>(1);
        let reader = &mut reader;
        scope.spawn(move || {
            while let Some(chunk) = next_chunk(reader).transpose() {
                // The receiver is gone when it met an error; there is nobody left to read for.
                if sender.send(chunk).is_err() {
                    break;
                }
            }
        });
        for chunk in receiver {
            work.take(chunk?)?;
            progress(&work.progress(bytes.load(Ordering::Relaxed), total_bytes));
        }
        Ok(())
    })?;
    let summary = work.finish(reader.counts().clone())?;
    folder.commit()?;
    Ok(summary)
}

/// [`prepare`] from files in memory into a folder in memory; `options.tokenizer` is not looked at.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_in(
    files: &Memory,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    mut progress: impl FnMut(&Progress),
) -> Result<Summary> {
    check(options)?;
    let mut reader = Reader::open_in(files, &options.inputs, options.read.clone())?;
    let folder = NewFolder::create(files, &options.out)?;
    let mut work = Work::new(options, tokenizer, (files, folder.path()))?;
    let total_bytes = reader.total_bytes();
    while let Some(chunk) = next_chunk(&mut reader)? {
        work.take(chunk)?;
        progress(&work.progress(reader.bytes_read_now(), total_bytes));
    }
    let summary = work.finish(reader.counts().clone())?;
    folder.commit()?;
    Ok(summary)
}

fn check(options: &PrepareOptions) -> Result<()> {
    if options.join && options.pack {
        let expected = "one of `join`, where documents see each other, and `pack`, where they do not";
        return Err(Error::config("pack", expected, "both"));
    }
    if (10..=65536).contains(&options.seq_len) {
        return Ok(());
    }
    Err(Error::config("seq-len", "10 to 65536 tokens", options.seq_len))
}

/// About [`CHUNK`] bytes of documents; none at the end.
fn next_chunk(reader: &mut Reader) -> Result<Option<Vec<Document>>> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while bytes < CHUNK.min(budget::batch_limit())
        && let Some(document) = reader.next()
    {
        let document = document?;
        bytes += document.text.len() + size_of::<Document>();
        chunk.push(document);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}

/// The two parts of the data.
struct Parts<'a> {
    train: SequenceWriter<'a>,
    held_out: SequenceWriter<'a>,
}

impl Parts<'_> {
    fn push(&mut self, (held_out, document): &Decided) -> Result<()> {
        if *held_out { self.held_out.push(&document.tokens) } else { self.train.push(&document.tokens) }
    }
}

struct Work<'a> {
    options: &'a PrepareOptions,
    tokenizer: &'a Tokenizer,
    store: &'a dyn Store,
    folder: PathBuf,
    token_bytes: usize,
    chooser: Chooser,
    parts: Parts<'a>,
    counts: Counts,
}

/// What came by so far.
#[derive(Default)]
struct Counts {
    documents: u64,
    empty: u64,
    unknown: u64,
    tokens: u64,
}

impl<'a> Work<'a> {
    fn new(
        options: &'a PrepareOptions,
        tokenizer: &'a Tokenizer,
        (store, folder): (&'a dyn Store, &Path),
    ) -> Result<Self> {
        let &PrepareOptions { join, pack, .. } = options;
        let shape = Shape { body: options.seq_len - 2, join, pack, specials: *tokenizer.specials() };
        let chooser = Chooser::new(options.held_out, shape)?;
        let token_bytes = if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 };
        let cutter = |stem| {
            let writer = ShardWriter::new(store, folder, stem, token_bytes, options.shard_tokens.max(1));
            SequenceWriter::new(shape, writer, tokenizer.vocab_size())
        };
        let parts = Parts { train: cutter("train"), held_out: cutter("held-out") };
        let counts = Counts::default();
        let folder = folder.to_path_buf();
        Ok(Work { options, tokenizer, store, folder, token_bytes, chooser, parts, counts })
    }

    fn progress(&self, bytes: u64, total_bytes: Option<u64>) -> Progress {
        Progress { bytes, total_bytes, documents: self.counts.documents, tokens: self.counts.tokens }
    }

    fn take(&mut self, chunk: Vec<Document>) -> Result<()> {
        let encode = |document: &Document| {
            Ok((fnv1a(document.text.as_bytes()), self.tokenizer.encode(&document.text)?))
        };
        let encoded = chunk.par_iter().map(encode).collect::<Result<Vec<_>>>()?;
        for (hash, tokens) in encoded {
            self.counts.documents += 1;
            self.counts.tokens += tokens.len() as u64;
            let unknown = self.tokenizer.specials().unk;
            self.counts.unknown += tokens.iter().filter(|&&token| token == unknown).count() as u64;
            if tokens.is_empty() {
                self.counts.empty += 1;
                continue;
            }
            let document = Tokenized::new(hash, self.options.seed, self.counts.documents, tokens);
            for decided in self.chooser.push(document) {
                self.parts.push(&decided)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, read: ReadCounts) -> Result<Summary> {
        for decided in self.chooser.finish(self.parts.train.documents()) {
            self.parts.push(&decided)?;
        }
        let (train, train_counts, train_dropped) = self.parts.train.finish()?;
        let (held_out, held_out_counts, held_out_dropped) = self.parts.held_out.finish()?;
        if train.sequences == 0 {
            let found = format!(
                "{} documents with {} tokens, of which {} sequences are held out",
                self.counts.documents, self.counts.tokens, held_out.sequences
            );
            return Err(Error::config("files", "text for at least one sequence to train on", found));
        }
        let unigram_entropy = unigram_entropy(&train_counts, &held_out_counts);
        let counts = train_counts.into_iter().chain(held_out_counts);
        let unigrams_crc32 = write_u64s(self.store, &self.folder.join(UNIGRAMS), counts)?;
        let copy = self.folder.join(tokenizer::FILE);
        let tokenizer_digest = write_file(self.store, &copy, |sink| sink.put(self.tokenizer.json()))?;
        let mut sums = vec![(tokenizer::FILE, tokenizer_digest)];
        let tokens = self.tokenizer.special_tokens();
        if SpecialTokens::of(&serde_json::from_slice(self.tokenizer.json()).unwrap_or_default()) != *tokens {
            // What the file does not say of itself was named by a file beside it.
            let roles =
                tokens.roles().into_iter().filter_map(|(role, token)| Some((role.to_owned(), token?.into())));
            let roles = serde_json::Value::Object(roles.collect()).to_string();
            let path = self.folder.join(SPECIAL_TOKENS_FILE);
            sums.push((
                SPECIAL_TOKENS_FILE,
                write_file(self.store, &path, |sink| sink.put(roles.as_bytes()))?,
            ));
        }
        let summarise = |part: &manifest::Part| PartSummary::new(part, self.options.seq_len);
        let summary = Summary {
            out: self.options.out.clone(),
            seq_len: self.options.seq_len,
            vocab_size: self.tokenizer.vocab_size(),
            read,
            empty_documents: self.counts.empty,
            dropped_tokens: train_dropped + held_out_dropped,
            unknown_tokens: self.counts.unknown,
            train: summarise(&train),
            held_out: summarise(&held_out),
            unigram_entropy,
        };
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            seq_len: self.options.seq_len,
            vocab_size: self.tokenizer.vocab_size(),
            token_bytes: self.token_bytes,
            join: self.options.join,
            pack: self.options.pack,
            seed: self.options.seed,
            tokenizer: format!("{:016x}", self.tokenizer.fingerprint()),
            train,
            held_out,
            unigram_entropy,
            unigrams_crc32,
            tokenizer_crc32: tokenizer_digest.crc32,
        };
        let path = self.folder.join(manifest::FILE);
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::file(&path, "a manifest that can be written", error.to_string()))?;
        sums.push((manifest::FILE, write_file(self.store, &path, |sink| sink.put(&json))?));
        // The manifest lists all other files.
        let sums = Checksums::new(sums).to_json();
        write_file(self.store, &self.folder.join(CHECKSUMS_FILE), |sink| sink.put(&sums))?;
        Ok(summary)
    }
}
