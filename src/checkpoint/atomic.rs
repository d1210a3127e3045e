//! Writing files so that a name never stands for half a file: temporary name, write, sync, rename, sync the folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Result};

/// The changes made to a disk, one method each, so that tests can make any of them fail.
pub trait FileSystem: Send + Sync {
    /// Creates a folder and its parents; one that exists is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for writing, emptying it.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>>;
    /// Renames a file over another, or a folder to a free name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and what is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
}

impl<F: FileSystem + ?Sized> FileSystem for Arc<F> {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        (**self).create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        (**self).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (**self).sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        (**self).remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        (**self).remove_dir_all(path)
    }
}

/// A file open for writing.
pub trait SyncWrite: Write {
    /// Makes what was written survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Windows opens no folders as files, and keeps its own journal of names.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

impl SyncWrite for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The length and checksum of a file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Bytes written.
    pub bytes: u64,
    /// Their CRC-32 (IEEE 802.3).
    pub crc32: u32,
}

/// A file being written, hashed on the way.
pub struct Sink {
    path: PathBuf,
    out: BufWriter<Box<dyn SyncWrite>>,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl Sink {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses them.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::io(&self.path, "write"))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes and syncs a file under its own name: for names that nothing reads yet. What `fill` puts is hashed.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`]; the file is then left as it is.
pub fn write_file(
    fs: &dyn FileSystem,
    path: &Path,
    fill: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<Digest> {
    let file = fs.create(path).map_err(Error::io(path, "create"))?;
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut sink = Sink { path: path.to_path_buf(), out, hasher: crc32fast::Hasher::new(), bytes: 0 };
    let written = fill(&mut sink).and_then(|()| {
        sink.out.flush().map_err(Error::io(path, "write"))?;
        sink.out.get_mut().sync().map_err(Error::io(path, "sync"))
    });
    written.map(|()| Digest { bytes: sink.bytes, crc32: sink.hasher.finalize() })
}

/// Writes a file that appears under its name whole or not at all, replacing what was there.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`]; the temporary file is then removed and the old file is as it was.
pub fn write_atomic(
    fs: &dyn FileSystem,
    path: &Path,
    fill: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<Digest> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.partial"));
    let written = write_file(fs, &temporary, fill).and_then(|digest| {
        fs.rename(&temporary, path).map_err(Error::io(path, "rename the finished file to"))?;
        Ok(digest)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs.remove_file(&temporary);
    }
    let digest = written?;
    let folder = parent(path);
    fs.sync_dir(folder).map_err(Error::io(folder, "sync"))?;
    Ok(digest)
}

/// The folder a file is in; the current one for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
