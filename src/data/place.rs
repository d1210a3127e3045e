//! Where the files of a data folder lie: on a disk, or in memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::memory::{Bytes, Memory};
use crate::{Error, Result};

/// A data folder.
#[derive(Debug, Clone)]
pub(super) struct Place {
    folder: PathBuf,
    /// Where the folder is in memory, if it is not on the disk.
    memory: Option<Memory>,
}

impl Place {
    pub(super) fn disk(folder: &Path) -> Self {
        Place { folder: folder.to_path_buf(), memory: None }
    }

    pub(super) fn memory(files: &Memory, folder: &Path) -> Self {
        Place { folder: folder.to_path_buf(), memory: Some(files.clone()) }
    }

    /// The folder itself, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the folder is there and has no file of that name.
    pub(super) fn lacks(&self, name: &str) -> bool {
        match &self.memory {
            Some(files) => files.exists(&self.folder) && files.get(self.join(name)).is_none(),
            None => self.folder.is_dir() && !self.join(name).exists(),
        }
    }

    /// All bytes of a file, mapped if it is on the disk.
    pub(super) fn read(&self, name: &str) -> Result<Bytes> {
        let path = self.join(name);
        match &self.memory {
            Some(files) => match files.get(&path) {
                Some(bytes) => Ok(Bytes::Shared(bytes)),
                None => Err(Error::file(&path, "a file of a data folder", "none")),
            },
            None => map(&path),
        }
    }

    /// Begins a file.
    pub(super) fn create(&self, name: &str) -> Result<Checked> {
        let path = self.join(name);
        let out: Box<dyn Output> = match &self.memory {
            Some(files) => Box::new(InMemory { files: files.clone(), path: path.clone(), bytes: Vec::new() }),
            None => {
                let file = File::create(&path).map_err(Error::io(&path, "create"))?;
                Box::new(BufWriter::with_capacity(1 << 18, file))
            }
        };
        Ok(Checked { path, out, crc: crc32fast::Hasher::new() })
    }

    /// Writes a whole file of 64-bit integers and returns its CRC-32.
    pub(super) fn write_u64s(&self, name: &str, values: impl IntoIterator<Item = u64>) -> Result<u32> {
        let mut file = self.create(name)?;
        for value in values {
            file.write(&value.to_le_bytes())?;
        }
        file.finish()
    }
}

#[cfg(target_arch = "wasm32")]
fn map(path: &Path) -> Result<Bytes> {
    Ok(std::fs::read(path).map_err(Error::io(path, "read"))?.into())
}

#[cfg(not(target_arch = "wasm32"))]
fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    // SAFETY: the bytes are only read. Another program that changes the file meanwhile may give other tokens,
    // which are checked as they are read; one that cuts it short ends the process, as with any mapped file.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path, "map"))?;
    Ok(Bytes::Mapped(map))
}

/// A file that knows its checksum.
pub(super) struct Checked {
    path: PathBuf,
    out: Box<dyn Output>,
    crc: crc32fast::Hasher,
}

/// What a file is written to.
trait Output: Write {
    /// Puts everything where it stays.
    fn finish(&mut self) -> std::io::Result<()>;
}

impl Output for BufWriter<File> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.flush()?;
        self.get_ref().sync_all()
    }
}

struct InMemory {
    files: Memory,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Write for InMemory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output for InMemory {
    fn finish(&mut self) -> std::io::Result<()> {
        self.files.insert(&self.path, std::mem::take(&mut self.bytes));
        Ok(())
    }
}

impl Checked {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.out.write_all(bytes).map_err(Error::io(&self.path, "write"))
    }

    /// Puts everything where it stays and returns the CRC-32.
    pub(super) fn finish(mut self) -> Result<u32> {
        self.out.finish().map_err(Error::io(&self.path, "sync"))?;
        Ok(self.crc.finalize())
    }
}
