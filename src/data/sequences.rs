//! Documents split into sequences.

use serde::{Deserialize, Serialize};

use super::manifest::Part;
use super::pack::{Packed, Packer};
use super::shard::{ShardState, ShardWriter};
use crate::Result;
use crate::text::SpecialIds;

/// A tail of a split document, or of everything joined, that has fewer tokens is dropped.
pub(super) const MIN_TAIL: usize = 8;

/// How documents are split into sequences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Tokens between `[CLS]` and `[SEP]`.
    pub body: usize,
    /// Whether documents share sequences and see each other there.
    pub join: bool,
    /// Whether documents share sequences and do not see each other there.
    pub pack: bool,
    pub specials: SpecialIds,
}

impl Shape {
    /// What a document counts for towards [`Shape::unit`] a sequence: tokens where documents share sequences,
    /// else sequences.
    pub(super) fn weigh(&self, tokens: usize) -> u64 {
        match (self.join, self.pack) {
            (true, _) => tokens as u64,
            (_, true) => (tokens + 2 * tokens.div_ceil(self.body)) as u64,
            _ => self.sequences(tokens) as u64,
        }
    }

    /// What a full sequence weighs.
    pub(super) fn unit(&self) -> u64 {
        match (self.join, self.pack) {
            (true, _) => self.body as u64,
            (_, true) => self.body as u64 + 2,
            _ => 1,
        }
    }

    /// How many sequences a document makes of its own.
    pub(super) fn sequences(&self, tokens: usize) -> usize {
        let tail = tokens % self.body;
        let kept = tail >= MIN_TAIL || (tail > 0 && tokens < self.body);
        tokens / self.body + usize::from(kept)
    }
}

/// Splits the documents of one part into sequences and writes them.
pub(super) struct SequenceWriter<'s> {
    shape: Shape,
    writer: ShardWriter<'s>,
    /// Tokens that do not yet fill a sequence; only when joining.
    pending: Vec<u32>,
    /// Sequences being filled; only when packing.
    packer: Option<Packer>,
    documents: u64,
    /// `[V]` how often each id occurs, specials not counted.
    unigrams: Vec<u64>,
    /// Tokens dropped with short tails.
    dropped: u64,
    sequence: Vec<u32>,
}

/// A writer as it stands in the middle of its work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SequenceState {
    /// What is on the disk.
    pub shards: ShardState,
    pending: Vec<u32>,
    packer: Option<Packer>,
    documents: u64,
    unigrams: Vec<u64>,
    dropped: u64,
}

impl<'s> SequenceWriter<'s> {
    pub(super) fn new(shape: Shape, writer: ShardWriter<'s>, vocab_size: usize) -> Self {
        SequenceWriter {
            shape,
            writer,
            pending: Vec::new(),
            packer: shape.pack.then(|| Packer::new(shape.body + 2)),
            documents: 0,
            unigrams: vec![0; vocab_size],
            dropped: 0,
            sequence: Vec::new(),
        }
    }

    /// Documents so far.
    pub(super) fn documents(&self) -> u64 {
        self.documents
    }

    /// Adds a document of at least one token.
    pub(super) fn push(&mut self, document: &[u32]) -> Result<()> {
        let body = self.shape.body;
        self.documents += 1;
        if self.packer.is_some() {
            for piece in document.chunks(body) {
                self.dress(piece);
                let packer = self.packer.as_mut().map(|packer| packer.push(&self.sequence));
                packer.into_iter().flatten().try_for_each(|packed| self.write_packed(&packed))?;
            }
            return Ok(());
        }
        if !self.shape.join {
            for (number, piece) in document.chunks(body).enumerate() {
                if number > 0 && piece.len() < MIN_TAIL {
                    self.dropped += piece.len() as u64;
                } else {
                    self.write(piece)?;
                }
            }
            return Ok(());
        }
        self.pending.extend_from_slice(document);
        if self.pending.len() < body {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let pieces = pending.chunks_exact(body);
        self.pending.extend_from_slice(pieces.remainder());
        for piece in pieces {
            self.write(piece)?;
        }
        Ok(())
    }

    fn write(&mut self, piece: &[u32]) -> Result<()> {
        self.dress(piece);
        self.writer.push(&self.sequence, &[])
    }

    fn write_packed(&mut self, packed: &Packed) -> Result<()> {
        self.writer.push(&packed.tokens, &packed.segments)
    }

    /// Puts a piece between `[CLS]` and `[SEP]`, and counts its tokens.
    fn dress(&mut self, piece: &[u32]) {
        let specials = &self.shape.specials;
        for &token in piece.iter().filter(|token| !specials.contains(**token)) {
            if let Some(count) = self.unigrams.get_mut(token as usize) {
                *count += 1;
            }
        }
        self.sequence.clear();
        self.sequence.push(specials.cls);
        self.sequence.extend_from_slice(piece);
        self.sequence.push(specials.sep);
    }

    /// Syncs what is written, and says what to go on from.
    pub(super) fn save(&mut self) -> Result<SequenceState> {
        Ok(SequenceState {
            shards: self.writer.save()?,
            pending: self.pending.clone(),
            packer: self.packer.clone(),
            documents: self.documents,
            unigrams: self.unigrams.clone(),
            dropped: self.dropped,
        })
    }

    /// Goes on from a state of a writer of the same shape and vocabulary.
    ///
    /// # Errors
    /// As [`ShardWriter::resume`].
    pub(super) fn resume(&mut self, state: SequenceState) -> Result<()> {
        self.writer.resume(state.shards)?;
        self.pending = state.pending;
        self.packer = state.packer;
        self.documents = state.documents;
        self.unigrams = state.unigrams;
        self.dropped = state.dropped;
        Ok(())
    }

    /// Writes what is left and returns the part, the counts of each id and how many tokens were dropped.
    pub(super) fn finish(mut self) -> Result<(Part, Vec<u64>, u64)> {
        if let Some(packer) = self.packer.take() {
            packer.finish().try_for_each(|packed| self.write_packed(&packed))?;
        }
        let pending = std::mem::take(&mut self.pending);
        if pending.len() >= MIN_TAIL || (!pending.is_empty() && self.writer.sequences() == 0) {
            self.write(&pending)?;
        } else {
            self.dropped += pending.len() as u64;
        }
        Ok((self.writer.finish(self.documents)?, self.unigrams, self.dropped))
    }
}
