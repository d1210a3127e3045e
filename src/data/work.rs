//! A preparation of data: documents that come in chunks, and the folder that they become.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::held_out::{Chooser, Decided, Tokenized};
use super::manifest::{self, FORMAT, Manifest, UNIGRAMS, VERSION, unigram_entropy};
use super::preparation::{Earlier, PartSummary, PrepareOptions, Progress, Summary};
use super::reader::{Document, ReadCounts};
use super::resume::{Counts, WorkState};
use super::sequences::{SequenceWriter, Shape};
use super::shard::{ShardWriter, write_u64s};
use crate::hash::fnv1a;
use crate::random::mix;
use crate::store::{CHECKSUMS_FILE, Checksums, Store, write_file};
use crate::text::companions::SPECIAL_TOKENS_FILE;
use crate::text::{SpecialTokens, Tokenizer, tokenizer};
use crate::{Error, Result};

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

pub(super) struct Work<'a> {
    options: &'a PrepareOptions,
    tokenizer: &'a Tokenizer,
    store: &'a dyn Store,
    folder: PathBuf,
    token_bytes: usize,
    chooser: Chooser,
    parts: Parts<'a>,
    counts: Counts,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        options: &'a PrepareOptions,
        tokenizer: &'a Tokenizer,
        (store, folder): (&'a dyn Store, &Path),
    ) -> Result<Self> {
        let &PrepareOptions { join, pack, .. } = options;
        let shape = Shape { body: options.seq_len - 2, join, pack, specials: *tokenizer.specials() };
        let chooser = Chooser::new(options.held_out, shape)?;
        let token_bytes = token_bytes(tokenizer);
        let cutter = |stem| {
            let writer = ShardWriter::new(store, folder, stem, token_bytes, options.shard_tokens.max(1));
            SequenceWriter::new(shape, writer, tokenizer.vocab_size())
        };
        let parts = Parts { train: cutter("train"), held_out: cutter("held-out") };
        let counts = Counts::default();
        let folder = folder.to_path_buf();
        Ok(Work { options, tokenizer, store, folder, token_bytes, chooser, parts, counts })
    }

    /// What to go on from, once everything so far is on the disk.
    pub(super) fn save(&mut self) -> Result<WorkState> {
        Ok(WorkState {
            counts: self.counts.clone(),
            chooser: self.chooser.save(),
            train: self.parts.train.save()?,
            held_out: self.parts.held_out.save()?,
        })
    }

    /// Goes on from a state of the same options and tokenizer.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not what the state says; [`Error::Io`].
    pub(super) fn resume(&mut self, state: WorkState) -> Result<()> {
        self.parts.train.resume(state.train)?;
        self.parts.held_out.resume(state.held_out)?;
        self.chooser.resume(state.chooser);
        self.counts = state.counts;
        Ok(())
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn progress(&self, bytes: u64, total_bytes: Option<u64>, earlier: Earlier) -> Progress {
        let Counts { documents, tokens, .. } = self.counts;
        Progress { bytes, total_bytes, documents, tokens, earlier }
    }

    pub(super) fn take(&mut self, chunk: Vec<Document>) -> Result<()> {
        let encode = |document: &Document| Ok((hash_of(document), self.tokenizer.encode(&document.text)?));
        let encoded = chunk.par_iter().map(encode).collect::<Result<Vec<_>>>()?;
        encoded.into_iter().try_for_each(|(hash, tokens)| self.add(hash, tokens))
    }

    /// Takes a document by the [hash](hash_of) of its text and its tokens.
    pub(super) fn add(&mut self, hash: u64, tokens: Vec<u32>) -> Result<()> {
        self.counts.documents += 1;
        self.counts.digest = mix(self.counts.digest ^ hash);
        self.counts.tokens += tokens.len() as u64;
        let unknown = self.tokenizer.specials().unk;
        self.counts.unknown += tokens.iter().filter(|&&token| token == unknown).count() as u64;
        if tokens.is_empty() {
            self.counts.empty += 1;
            return Ok(());
        }
        let document = Tokenized::new(hash, self.options.seed, self.counts.documents, tokens);
        self.chooser.push(document).iter().try_for_each(|decided| self.parts.push(decided))
    }

    pub(super) fn finish(mut self, read: ReadCounts, earlier: Earlier) -> Result<Summary> {
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
            earlier,
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

/// In how many bytes the ids of a vocabulary are kept.
pub(super) fn token_bytes(tokenizer: &Tokenizer) -> usize {
    if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 }
}

/// The hash of a document's text.
pub(super) fn hash_of(document: &Document) -> u64 {
    fnv1a(document.text.as_bytes())
}

/// The digest that [`Counts`] has after further documents, which is found much faster than their tokens.
pub(super) fn digest_after(digest: u64, documents: &[Document]) -> u64 {
    let hashes: Vec<u64> = documents.par_iter().map(hash_of).collect();
    hashes.into_iter().fold(digest, |digest, hash| mix(digest ^ hash))
}
