//! Text to a folder of token shards.
//!
//! Documents are read on one thread and tokenized on all cores, in bounded chunks; they are parted into train and
//! held-out before they are split into sequences of `[CLS]`, up to `seq_len - 2` tokens, `[SEP]`. By default a sequence
//! holds one document or a piece of one; short ones stay short. With `join` documents follow one another, across
//! files too, so that only the last sequence is short. A tail of fewer than 8 tokens is dropped and counted, unless
//! it is all there is. With `pack` several such sequences stand one after the other in each of T tokens without seeing
//! each other, and no tail is dropped. The folder ([`manifest`](super::manifest)) appears when it is whole.
//!
//! Until then it has a name of its own, and from time to time a file that says how far it is. A run that was killed, or
//! ended with an error, is gone on with from there by the next one of the same settings, to the same bits: the documents it
//! had are read again and compared, not tokenized.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::{atomic::Ordering, mpsc::sync_channel};
#[cfg(not(target_arch = "wasm32"))]
use std::{path::Path, time::Instant};

use super::reader::{Document, Reader};
#[cfg(not(target_arch = "wasm32"))]
use super::resume::{self, Saved};
use super::work::Work;
#[cfg(not(target_arch = "wasm32"))]
use super::work::digest_after;
use crate::budget;
#[cfg(not(target_arch = "wasm32"))]
use crate::store::Disk;
use crate::store::{Memory, NewFolder};
use crate::text::Tokenizer;
use crate::{Error, Result};

pub use super::held_out::HeldOut;
pub use super::preparation::{Earlier, PartSummary, PrepareOptions, Progress, Summary};

/// Tokenizes `options.inputs` into the folder `options.out`. `progress` is called after every chunk.
///
/// What a run of the same settings did that was killed or failed is not done again, if the texts are still the same.
///
/// # Errors
/// Bad options, a fault in a file (see [`Reader`]), a corpus without a token, one of which nothing is left to train
/// on, a folder that exists, or a disk that is full. What was saved until then is kept: see [`can_go_on`].
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
            folder.clear(|_| false)?;
            let expected = "the texts of the run that was not finished";
            return Err(Error::config("files", expected, "others, from a pipe (the next run begins anew)"));
        }
        folder.clear(|_| false)?;
        reader = Reader::open(&options.inputs, options.read.clone())?;
        work = Work::new(options, &tokenizer, (&Disk, folder.path()))?;
        earlier = Earlier { begun_anew: Some(CHANGED), ..Earlier::default() };
        run(options, &mut reader, &mut work, (&folder, &settings, earlier), &mut progress)?;
    }
    let summary = work.finish(reader.counts().clone(), earlier)?;
    folder.commit()?;
    Ok(summary)
}

/// Whether there is something for the next run for `out` to go on from.
#[cfg(not(target_arch = "wasm32"))]
pub fn can_go_on(out: &Path) -> bool {
    NewFolder::is_left(&Disk, out, resume::FILE)
}

/// The work at its beginning, or where the last run left it.
///
/// # Errors
/// A disk that cannot be read, which does not make what lies on it worthless.
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
    let begun_anew = match resume::load(&Disk, folder.path())? {
        Some(saved) if saved.settings == settings => {
            folder.clear(|name| saved.work.needs(name))?;
            let mut work = new()?;
            match work.resume(saved.work) {
                Ok(()) => {
                    let resumed_documents = work.counts().documents;
                    return Ok((work, Earlier { resumed_documents, begun_anew: None }));
                }
                Err(error) if !is_damage(&error) => return Err(error),
                Err(_) => "what it left is damaged",
            }
        }
        Some(_) => "the settings or the tokenizer have changed",
        None => "what it left is damaged",
    };
    folder.clear(|_| false)?;
    Ok((new()?, Earlier { resumed_documents: 0, begun_anew: Some(begun_anew) }))
}

/// Whether an error says that a file is missing or other than it was left, and not that it could not be read.
#[cfg(not(target_arch = "wasm32"))]
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Io { cause, .. } => cause.kind() == std::io::ErrorKind::NotFound,
        _ => true,
    }
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
    let (mut passed, mut passed_digest) = (0, 0);
    let mut saved = Instant::now();
    let whole = each_chunk(reader, options.chunk_bytes, |mut chunk| {
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
        // Before all were compared nobody knows whether any is taken over.
        let earlier = if passed < known { Earlier::default() } else { earlier };
        progress(&work.progress(bytes.load(Ordering::Relaxed), total_bytes, earlier));
        Ok(true)
    })?;
    Ok(whole && passed == known)
}

/// Hands chunks of documents to `take` until it says false, while the next one is read. Tells whether it took all.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn each_chunk(
    reader: &mut Reader,
    chunk_bytes: usize,
    mut take: impl FnMut(Vec<Document>) -> Result<bool>,
) -> Result<bool> {
    std::thread::scope(|scope| {
        // Room for one chunk beside the two being filled and tokenized.
        let (sender, receiver) = sync_channel::<Result<Vec<Document>>>(1);
        scope.spawn(move || {
            while let Some(chunk) = next_chunk(reader, chunk_bytes).transpose() {
                // The receiver is gone when it met an error; there is nobody left to read for.
                if sender.send(chunk).is_err() {
                    break;
                }
            }
        });
        for chunk in receiver {
            if !take(chunk?)? {
                return Ok(false);
            }
        }
        Ok(true)
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

pub(super) fn check(options: &PrepareOptions) -> Result<()> {
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
    while bytes < chunk_bytes.min(budget::batch_limit()).max(1)
        && let Some(document) = reader.next()
    {
        let document = document?;
        bytes += document.text.len() + size_of::<Document>();
        chunk.push(document);
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}
