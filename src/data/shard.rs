//! Writing the shards of one part of a data folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Part, Shard, shard_name};
use crate::{Error, Result};

/// A file that knows its checksum.
pub(super) struct Checked {
    path: PathBuf,
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
}

impl Checked {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        Ok(Checked { path, file: BufWriter::with_capacity(1 << 18, file), crc: crc32fast::Hasher::new() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write"))
    }

    /// Puts everything on the disk and returns the CRC-32.
    pub(super) fn finish(mut self) -> Result<u32> {
        self.file.flush().map_err(Error::io(&self.path, "write"))?;
        self.file.get_ref().sync_all().map_err(Error::io(&self.path, "sync"))?;
        Ok(self.crc.finalize())
    }
}

/// Writes a whole file of 64-bit integers and returns its CRC-32.
pub(super) fn write_u64s(path: PathBuf, values: impl IntoIterator<Item = u64>) -> Result<u32> {
    let mut file = Checked::create(path)?;
    for value in values {
        file.write(&value.to_le_bytes())?;
    }
    file.finish()
}

/// Appends sequences to shards of bounded size.
pub(super) struct ShardWriter {
    folder: PathBuf,
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
}

impl ShardWriter {
    pub(super) fn new(folder: &Path, stem: &'static str, token_bytes: usize, shard_tokens: u64) -> Self {
        let (folder, part) = (folder.to_path_buf(), Part::default());
        ShardWriter { folder, stem, token_bytes, shard_tokens, part, open: None, bytes: Vec::new() }
    }

    /// Sequences so far.
    pub(super) fn sequences(&self) -> u64 {
        self.part.sequences
    }

    /// Appends a sequence; `documents` are the positions in it at which documents begin.
    pub(super) fn push(&mut self, sequence: &[u32], documents: impl Iterator<Item = usize>) -> Result<()> {
        let shard = match &mut self.open {
            Some(shard) => shard,
            none => {
                let name = shard_name(self.stem, self.part.shards.len());
                let tokens = Checked::create(self.folder.join(format!("{name}.bin")))?;
                none.insert(OpenShard { tokens, offsets: vec![0], documents: Vec::new() })
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
        self.part.sequences += 1;
        self.part.tokens += sequence.len() as u64;
        if end >= self.shard_tokens { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        let Some(shard) = self.open.take() else { return Ok(()) };
        let name = shard_name(self.stem, self.part.shards.len());
        let tokens = shard.offsets[shard.offsets.len() - 1];
        let (sequences, documents) = (shard.offsets.len() as u64 - 1, shard.documents.len() as u64);
        let crc32 = shard.tokens.finish()?;
        let index_crc32 = write_u64s(self.folder.join(format!("{name}.idx")), shard.offsets)?;
        let documents_crc32 = write_u64s(self.folder.join(format!("{name}.doc")), shard.documents)?;
        self.part.shards.push(Shard {
            name,
            sequences,
            tokens,
            documents,
            crc32,
            index_crc32,
            documents_crc32,
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
