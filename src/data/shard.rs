//! Writing the shards of one part of a data folder.

use std::path::{Path, PathBuf};

use super::manifest::{Part, Segments, Shard, shard_name};
use crate::Result;
use crate::store::{Sink, Store, write_file};

/// Appends sequences to shards of bounded size.
pub(super) struct ShardWriter<'s> {
    store: &'s dyn Store,
    folder: PathBuf,
    stem: &'static str,
    token_bytes: usize,
    shard_tokens: u64,
    part: Part,
    open: Option<OpenShard>,
    bytes: Vec<u8>,
}

struct OpenShard {
    tokens: Sink,
    offsets: Vec<u64>,
    /// Start and number of each segment, one after the other.
    segments: Vec<u64>,
}

impl<'s> ShardWriter<'s> {
    pub(super) fn new(
        store: &'s dyn Store,
        folder: &Path,
        stem: &'static str,
        token_bytes: usize,
        shard_tokens: u64,
    ) -> Self {
        let (folder, part) = (folder.to_path_buf(), Part::default());
        ShardWriter { store, folder, stem, token_bytes, shard_tokens, part, open: None, bytes: Vec::new() }
    }

    pub(super) fn sequences(&self) -> u64 {
        self.part.sequences
    }

    /// Appends a sequence; `segments` are the positions and numbers of its segments, none if it is not packed.
    pub(super) fn push(&mut self, sequence: &[u32], segments: &[(usize, u64)]) -> Result<()> {
        let shard = match &mut self.open {
            Some(shard) => shard,
            none => {
                let name = shard_name(self.stem, self.part.shards.len());
                let tokens = Sink::create(self.store, &self.folder.join(format!("{name}.bin")))?;
                none.insert(OpenShard { tokens, offsets: vec![0], segments: Vec::new() })
            }
        };
        self.bytes.clear();
        for &token in sequence {
            self.bytes.extend_from_slice(&token.to_le_bytes()[..self.token_bytes]);
        }
        shard.tokens.put(&self.bytes)?;
        let start = shard.offsets[shard.offsets.len() - 1];
        let end = start + sequence.len() as u64;
        shard.offsets.push(end);
        for &(position, number) in segments {
            shard.segments.extend([start + position as u64, number]);
        }
        self.part.sequences += 1;
        self.part.segments += segments.len() as u64;
        self.part.tokens += sequence.len() as u64;
        if end >= self.shard_tokens { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut shard) = self.open.take() else { return Ok(()) };
        let name = shard_name(self.stem, self.part.shards.len());
        let path = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        let tokens = shard.offsets[shard.offsets.len() - 1];
        let sequences = shard.offsets.len() as u64 - 1;
        let crc32 = shard.tokens.finish()?.crc32;
        let index_crc32 = write_u64s(self.store, &path("idx"), shard.offsets)?;
        let segments = match shard.segments.len() as u64 / 2 {
            0 => None,
            count => {
                let crc32 = write_u64s(self.store, &path("seg"), shard.segments)?;
                Some(Segments { count, crc32 })
            }
        };
        self.part.shards.push(Shard {
            name,
            sequences,
            tokens,
            crc32,
            index_crc32,
            documents_crc32: None,
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

/// Writes a whole file of little-endian 64-bit integers and returns its CRC-32.
pub(super) fn write_u64s(
    store: &dyn Store,
    path: &Path,
    values: impl IntoIterator<Item = u64>,
) -> Result<u32> {
    let digest = write_file(store, path, |sink| {
        values.into_iter().try_for_each(|value| sink.put(&value.to_le_bytes()))
    });
    Ok(digest?.crc32)
}
