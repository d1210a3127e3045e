//! Writing the shards of one part of a data folder.

use super::manifest::{Part, Segments, Shard, shard_name};
use super::place::{Checked, Place};
use crate::Result;

/// Appends sequences to shards of bounded size.
pub(super) struct ShardWriter {
    place: Place,
    stem: &'static str,
    token_bytes: usize,
    shard_tokens: u64,
    part: Part,
    open: Option<OpenShard>,
    bytes: Vec<u8>,
}

struct OpenShard {
    tokens: Checked,
    offsets: Vec<u64>,
    documents: Vec<u64>,
    /// Start and number of each segment, one after the other.
    segments: Vec<u64>,
}

impl ShardWriter {
    pub(super) fn new(place: &Place, stem: &'static str, token_bytes: usize, shard_tokens: u64) -> Self {
        let (place, part) = (place.clone(), Part::default());
        ShardWriter { place, stem, token_bytes, shard_tokens, part, open: None, bytes: Vec::new() }
    }

    /// Sequences so far.
    pub(super) fn sequences(&self) -> u64 {
        self.part.sequences
    }

    /// Appends a sequence; `documents` are the positions in it at which documents begin, `segments` the positions
    /// and numbers of its segments, none if it is not packed.
    pub(super) fn push(
        &mut self,
        sequence: &[u32],
        documents: impl Iterator<Item = usize>,
        segments: &[(usize, u64)],
    ) -> Result<()> {
        let shard = match &mut self.open {
            Some(shard) => shard,
            none => {
                let name = shard_name(self.stem, self.part.shards.len());
                let tokens = self.place.create(&format!("{name}.bin"))?;
                none.insert(OpenShard {
                    tokens,
                    offsets: vec![0],
                    documents: Vec::new(),
                    segments: Vec::new(),
                })
            }
        };
        self.bytes.clear();
        for &token in sequence {
            self.bytes.extend_from_slice(&token.to_le_bytes()[..self.token_bytes]);
        }
        shard.tokens.write(&self.bytes)?;
        let start = shard.offsets[shard.offsets.len() - 1];
        let end = start + sequence.len() as u64;
        shard.offsets.push(end);
        shard.documents.extend(documents.map(|position| start + position as u64));
        for &(position, number) in segments {
            shard.segments.extend([start + position as u64, number]);
        }
        self.part.sequences += 1;
        self.part.segments += segments.len() as u64;
        self.part.tokens += sequence.len() as u64;
        if end >= self.shard_tokens { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        let Some(shard) = self.open.take() else { return Ok(()) };
        let name = shard_name(self.stem, self.part.shards.len());
        let tokens = shard.offsets[shard.offsets.len() - 1];
        let (sequences, documents) = (shard.offsets.len() as u64 - 1, shard.documents.len() as u64);
        let crc32 = shard.tokens.finish()?;
        let index_crc32 = self.place.write_u64s(&format!("{name}.idx"), shard.offsets)?;
        let documents_crc32 = self.place.write_u64s(&format!("{name}.doc"), shard.documents)?;
        let segments = match shard.segments.len() as u64 / 2 {
            0 => None,
            count => {
                let crc32 = self.place.write_u64s(&format!("{name}.seg"), shard.segments)?;
                Some(Segments { count, crc32 })
            }
        };
        self.part.shards.push(Shard {
            name,
            sequences,
            tokens,
            documents,
            crc32,
            index_crc32,
            documents_crc32,
            segments,
        });
        Ok(())
    }

    /// Closes the last shard; `documents` is how many the part has.
    pub(super) fn finish(mut self, documents: u64) -> Result<Part> {
        self.close()?;
        self.part.documents = documents;
        Ok(self.part)
    }
}
