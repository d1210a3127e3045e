//! Text to a folder of token shards.
//!
//! Documents are read on one thread and tokenized on all cores, in bounded chunks; they are parted into train and
//! held-out before they are split into sequences of `[CLS]`, up to `seq_len - 2` tokens, `[SEP]`. By default a sequence
//! holds one document or a piece of one; short ones stay short. With `join` documents follow one another, across
//! files too, so that only the last sequence is short. A tail of fewer than 8 tokens is dropped and counted, unless
//! it is all there is. With `pack` several such sequences stand one after the other in each of T tokens without seeing
//! each other, and no tail is dropped. The folder ([`manifest`]) appears when it is whole.
//!
//! Until then it has a name of its own, and from time to time a file that says how far it is. A run that was killed is
//! gone on with from there by the next one of the same settings, to the same bits: the documents it had are read again and
//! compared, not tokenized.

use std::path::PathBuf;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{atomic::Ordering, mpsc::sync_channel};
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use serde::Serialize;

use super::manifest;
use super::reader::{Document, ReadCounts, ReadOptions, Reader};
#[cfg(not(target_arch = "wasm32"))]
use super::resume::{self, Saved};
use super::work::Work;
#[cfg(not(target_arch = "wasm32"))]
use super::work::digest_after;
#[cfg(not(target_arch = "wasm32"))]
use crate::store::Disk;
use crate::store::{Memory, NewFolder};
use crate::text::Tokenizer;
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
    /// What became of an earlier run that was killed.
    pub earlier: Earlier,
}

/// What became of an earlier run for the same folder that was killed.
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
    pub out: PathBuf,
    /// T.
    pub seq_len: usize,
    /// V.
    pub vocab_size: usize,
    /// What was read and put right.
    pub read: ReadCounts,
    /// What became of an earlier run that was killed.
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

/// Tokenizes `options.inputs` into the folder `options.out`. `progress` is called after every chunk.
///
/// What a killed run of the same settings did is not done again, if the texts are still the same.
///
/// # Errors
/// Bad options, a fault in a file (see [`Reader`]), a corpus without a token, one of which nothing is left to train
/// on, a folder that exists, or a disk that is full. No folder is left behind then.
#[cfg(not(target_arch = "wasm32"))]
pub fn prepare(options: &PrepareOptions, mut progress: impl FnMut(&Progress)) -> Result<Summary> {
    check(options)?;
    let tokenizer = Tokenizer::load_with(&options.tokenizer, options.verify)?;
    let mut reader = Reader::open(&options.inputs, options.read.clone())?;
    let folder = NewFolder::adopt(&Disk, &options.out, resume::FILE)?;
    let settings = resume::settings(options, &tokenizer);
    let (mut work, mut earlier) = begin(options, &tokenizer, &folder, &settings)?;
    if !run(options, &mut reader, &mut work, (&folder, &settings, earlier), &mut progress)? {
        const CHANGED: &str = "the texts have changed";
        if reader.total_bytes().is_none() {
            let expected = "the texts of the run that was killed";
            return Err(Error::config("files", expected, "others, from a pipe (the next run begins anew)"));
        }
        folder.clear(|_| false)?;
        reader = Reader::open(&options.inputs, options.read.clone())?;
        work = Work::new(options, &tokenizer, (&Disk, folder.path()))?;
        earlier = Earlier { begun_anew: Some(CHANGED), ..Earlier::default() };
        run(options, &mut reader, &mut work, (&folder, &settings, earlier), &mut progress)?;
    }
    let summary = work.finish(reader.counts().clone(), earlier)?;
    folder.clear(|name| name != resume::FILE)?;
    folder.commit()?;
    Ok(summary)
}

/// The work at its beginning, or where a killed run left it.
#[cfg(not(target_arch = "wasm32"))]
fn begin<'a>(
    options: &'a PrepareOptions,
    tokenizer: &'a Tokenizer,
    folder: &NewFolder,
    settings: &str,
) -> Result<(Work<'a>, Earlier)> {
    let new = || Work::new(options, tokenizer, (&Disk, folder.path()));
    if !folder.is_adopted() {
        return Ok((new()?, Earlier::default()));
    }
    let begun_anew = match resume::load(&Disk, folder.path()) {
        Some(saved) if saved.settings == settings => {
            folder.clear(|name| saved.work.needs(name))?;
            let mut work = new()?;
            match work.resume(saved.work) {
                Ok(()) => {
                    let resumed_documents = work.counts().documents;
                    return Ok((work, Earlier { resumed_documents, begun_anew: None }));
                }
                Err(_) => "what it left is damaged",
            }
        }
        Some(_) => "the settings or the tokenizer have changed",
        None => "what it left is damaged",
    };
    folder.clear(|_| false)?;
    Ok((new()?, Earlier { resumed_documents: 0, begun_anew: Some(begun_anew) }))
}

/// Takes all documents of `reader` that `work` does not have yet. Tells whether those that it has are the same.
#[cfg(not(target_arch = "wasm32"))]
fn run(
    options: &PrepareOptions,
    reader: &mut Reader,
    work: &mut Work,
    (folder, settings, earlier): (&NewFolder, &str, Earlier),
    progress: &mut impl FnMut(&Progress),
) -> Result<bool> {
    let (bytes, total_bytes) = (reader.bytes_read(), reader.total_bytes());
    let (known, digest) = (work.counts().documents, work.counts().digest);
    std::thread::scope(|scope| {
        // Room for one chunk beside the two being filled and tokenized.
        let (sender, receiver) = sync_channel::<Result<Vec<Document>>>(1);
        scope.spawn(move || {
            while let Some(chunk) = next_chunk(reader, options.chunk_bytes).transpose() {
                // The receiver is gone when it met an error; there is nobody left to read for.
                if sender.send(chunk).is_err() {
                    break;
                }
            }
        });
        let (mut passed, mut passed_digest) = (0, 0);
        let mut saved = Instant::now();
        for chunk in receiver {
            let mut chunk = chunk?;
            if passed < known {
                let left = usize::try_from(known - passed).unwrap_or(usize::MAX);
                let new = chunk.split_off(left.min(chunk.len()));
                passed += chunk.len() as u64;
                passed_digest = digest_after(passed_digest, &chunk);
                if passed == known && passed_digest != digest {
                    return Ok(false);
                }
                chunk = new;
            }
            if !chunk.is_empty() {
                work.take(chunk)?;
                if saved.elapsed() >= options.save_every {
                    let state = Saved { settings: settings.to_owned(), work: work.save()? };
                    resume::save(&Disk, folder.path(), &state)?;
                    saved = Instant::now();
                }
            }
            progress(&work.progress(bytes.load(Ordering::Relaxed), total_bytes, earlier));
        }
        Ok(passed == known)
    })
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
    let (total_bytes, earlier) = (reader.total_bytes(), Earlier::default());
    while let Some(chunk) = next_chunk(&mut reader, options.chunk_bytes)? {
        work.take(chunk)?;
        progress(&work.progress(reader.bytes_read_now(), total_bytes, earlier));
    }
    let summary = work.finish(reader.counts().clone(), earlier)?;
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

/// About so many bytes of documents; none at the end.
fn next_chunk(reader: &mut Reader, chunk_bytes: usize) -> Result<Option<Vec<Document>>> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while bytes < chunk_bytes.max(1)
        && let Some(document) = reader.next()
    {
        let document = document?;
        bytes += document.text.len() + size_of::<Document>();
        chunk.push(document);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}
