//! A file that is hashed while it is written.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{OpenFile, Store};
use crate::{Error, Result};

/// The length and checksum of a file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Bytes written.
    pub bytes: u64,
    /// Their CRC-32 (IEEE 802.3).
    pub crc32: u32,
}

/// A file being written, hashed on the way.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    out: BufWriter<Box<dyn OpenFile>>,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl Sink {
    /// Creates a file that is not there yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(store: &dyn Store, path: &Path) -> Result<Sink> {
        Ok(Self::of(store.create(path)?, path))
    }

    /// Writes to an open file; `path` is for the messages.
    pub(super) fn of(file: Box<dyn OpenFile>, path: &Path) -> Sink {
        let out = BufWriter::with_capacity(1 << 20, file);
        Sink { path: path.to_path_buf(), out, hasher: crc32fast::Hasher::new(), bytes: 0 }
    }

    /// Goes on with a file of which the beginning is known by its digest. What follows it is cut off.
    ///
    /// # Errors
    /// [`Error::File`] where the file does not begin so; [`Error::Io`].
    pub fn reopen(store: &dyn Store, path: &Path, digest: Digest) -> Result<Sink> {
        let bytes = store.read(path)?;
        let begin = usize::try_from(digest.bytes).ok().and_then(|length| bytes.get(..length));
        if begin.map(crc32fast::hash) != Some(digest.crc32) {
            let expected = format!("{} bytes of checksum {:08x} to go on from", digest.bytes, digest.crc32);
            return Err(Error::file(path, expected, "others"));
        }
        // A file that is mapped cannot be shortened everywhere.
        drop(bytes);
        let mut file = store.append(path)?;
        file.truncate(digest.bytes).map_err(Error::io(path, "shorten"))?;
        let hasher = crc32fast::Hasher::new_with_initial_len(digest.crc32, digest.bytes);
        Ok(Sink { hasher, bytes: digest.bytes, ..Self::of(file, path) })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the store refuses them.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::io(&self.path, "write"))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes over the first bytes, which are then not those that were hashed.
    pub(super) fn put_first(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.seek(SeekFrom::Start(0)).and_then(|_| self.out.write_all(bytes));
        written.map_err(Error::io(&self.path, "write"))
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything so far survive a power cut. More may follow.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self) -> Result<Digest> {
        self.out.flush().map_err(Error::io(&self.path, "write"))?;
        self.out.get_mut().sync().map_err(Error::io(&self.path, "sync"))?;
        Ok(Digest { bytes: self.bytes, crc32: self.hasher.clone().finalize() })
    }
}

/// Writes and syncs a file under its own name: for new names in a folder that nothing reads yet.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`]; the file is then left as it is.
pub fn write_file(
    store: &dyn Store,
    path: &Path,
    fill: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<Digest> {
    let mut sink = Sink::create(store, path)?;
    fill(&mut sink)?;
    sink.finish()
}
