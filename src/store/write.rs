//! Writing files so that a name never stands for half a file: temporary name, write, sync, rename, sync the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::memory::Bytes;
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

    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        read_real(path)
    }
    /// Opens a file to write at its end, making it if need be.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Cut>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(file))
    }
    /// The names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
    /// Whether there is a folder of this name.
    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }
    /// Whether other processes may write there too, so that a run must lock its folder.
    fn is_shared(&self) -> bool {
        true
    }
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

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        (**self).read(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Cut>> {
        (**self).append(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        (**self).list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        (**self).exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        (**self).is_dir(path)
    }

    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }
}

/// The bytes of a file, mapped where there is a disk.
pub struct FileBytes(pub(super) Bytes);

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(target_arch = "wasm32")]
fn read_real(path: &Path) -> io::Result<FileBytes> {
    Ok(FileBytes(fs::read(path)?.into()))
}

#[cfg(not(target_arch = "wasm32"))]
fn read_real(path: &Path) -> io::Result<FileBytes> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    // Nothing can be mapped of an empty file, nor of a device.
    if about.len() == 0 || !about.is_file() {
        return Ok(FileBytes(fs::read(path)?.into()));
    }
    // SAFETY: the map is only read; another process that shortens the file meanwhile can end this one with a bus
    // error, which is ruled out for files written by this crate: they are replaced, not written to in place.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(FileBytes(Bytes::Mapped(map?)))
}

/// A file that grows, and can be cut back to what is known to be good.
pub trait Cut: Write + Send {
    /// Shortens the file and goes on writing there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl<F: Cut + ?Sized> Cut for Box<F> {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        (**self).cut(length)
    }
}

impl Cut for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
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
