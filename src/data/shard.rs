//! Writing the shards of one part of a data folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{Part, Segments, Shard, shard_name};
use crate::store::{Digest, Sink, Store, write_file};
use crate::{Error, Result};

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
    /// Where each sequence ends, after a zero.
    index: Sink,
    /// Start and number of each segment, one after the other; none where nothing is packed.
    segments: Option<Sink>,
    extent: Extent,
}

/// How much is in a shard.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Extent {
    sequences: u64,
    segments: u64,
    tokens: u64,
}

/// A writer as it stands in the middle of its work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShardState {
    part: Part,
    open: Option<OpenState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenState {
    tokens: Digest,
    index: Digest,
    segments: Option<Digest>,
    extent: Extent,
}

impl ShardState {
    /// The files that the state speaks of; `stem` is the part's.
    pub(super) fn files(&self, stem: &str) -> Vec<String> {
        let mut files = Vec::new();
        let mut add = |name: &str, packed: bool| {
            files.extend([format!("{name}.bin"), format!("{name}.idx")]);
            files.extend(packed.then(|| format!("{name}.seg")));
        };
        self.part.shards.iter().for_each(|shard| add(&shard.name, shard.segments.is_some()));
        if let Some(open) = &self.open {
            add(&shard_name(stem, self.part.shards.len()), open.segments.is_some());
        }
        files
    }
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

    /// The path of a file of the shard that is or will be open.
    fn path(&self, ending: &str) -> PathBuf {
        let name = shard_name(self.stem, self.part.shards.len());
        self.folder.join(format!("{name}.{ending}"))
    }

    fn open(&self) -> Result<OpenShard> {
        let tokens = Sink::create(self.store, &self.path("bin"))?;
        let mut index = Sink::create(self.store, &self.path("idx"))?;
        index.put(&0_u64.to_le_bytes())?;
        Ok(OpenShard { tokens, index, segments: None, extent: Extent::default() })
    }

    /// Appends a sequence; `segments` are the positions and numbers of its segments, none if it is not packed.
    pub(super) fn push(&mut self, sequence: &[u32], segments: &[(usize, u64)]) -> Result<()> {
        let mut shard = match self.open.take() {
            Some(shard) => shard,
            None => self.open()?,
        };
        self.bytes.clear();
        for &token in sequence {
            self.bytes.extend_from_slice(&token.to_le_bytes()[..self.token_bytes]);
        }
        shard.tokens.put(&self.bytes)?;
        let start = shard.extent.tokens;
        let end = start + sequence.len() as u64;
        shard.index.put(&end.to_le_bytes())?;
        if !segments.is_empty() && shard.segments.is_none() {
            shard.segments = Some(Sink::create(self.store, &self.path("seg"))?);
        }
        if let Some(sink) = &mut shard.segments {
            for &(position, number) in segments {
                sink.put(&(start + position as u64).to_le_bytes())?;
                sink.put(&number.to_le_bytes())?;
            }
        }
        shard.extent = Extent {
            sequences: shard.extent.sequences + 1,
            segments: shard.extent.segments + segments.len() as u64,
            tokens: end,
        };
        self.open = Some(shard);
        self.part.sequences += 1;
        self.part.segments += segments.len() as u64;
        self.part.tokens += sequence.len() as u64;
        if end >= self.shard_tokens { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut shard) = self.open.take() else { return Ok(()) };
        let count = shard.extent.segments;
        let segments = match &mut shard.segments {
            None => None,
            Some(sink) => Some(Segments { count, crc32: sink.finish()?.crc32 }),
        };
        self.part.shards.push(Shard {
            name: shard_name(self.stem, self.part.shards.len()),
            sequences: shard.extent.sequences,
            tokens: shard.extent.tokens,
            crc32: shard.tokens.finish()?.crc32,
            index_crc32: shard.index.finish()?.crc32,
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

    /// Syncs what is written, and says what to go on from.
    pub(super) fn save(&mut self) -> Result<ShardState> {
        let open = match &mut self.open {
            None => None,
            Some(shard) => Some(OpenState {
                tokens: shard.tokens.finish()?,
                index: shard.index.finish()?,
                segments: shard.segments.as_mut().map(Sink::finish).transpose()?,
                extent: shard.extent,
            }),
        };
        Ok(ShardState { part: self.part.clone(), open })
    }

    /// Goes on from a state. Finished shards are read and compared with their checksums; of the one that was open, what
    /// was written after the state is cut off.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is not what the state says; [`Error::Io`].
    pub(super) fn resume(&mut self, state: ShardState) -> Result<()> {
        for shard in &state.part.shards {
            let segments = shard.segments.as_ref().map(|segments| ("seg", segments.crc32));
            for (ending, crc32) in
                [("bin", shard.crc32), ("idx", shard.index_crc32)].into_iter().chain(segments)
            {
                let path = self.folder.join(format!("{}.{ending}", shard.name));
                if crate::store::checksums::crc32(&self.store.read(&path)?) != crc32 {
                    return Err(Error::file(path, format!("checksum {crc32:08x}"), "another"));
                }
            }
        }
        self.part = state.part;
        if let Some(OpenState { tokens, index, segments, extent }) = state.open {
            let reopen = |ending, digest| Sink::reopen(self.store, &self.path(ending), digest);
            let segments = segments.map(|digest| reopen("seg", digest)).transpose()?;
            let (tokens, index) = (reopen("bin", tokens)?, reopen("idx", index)?);
            self.open = Some(OpenShard { tokens, index, segments, extent });
        }
        Ok(())
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
