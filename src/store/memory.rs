//! Files held in memory, which is all that a page has.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Bytes, OpenFile, Store};
use crate::{Error, Result};

/// A tree of files in memory. Cheap to clone; all clones are the same tree.
///
/// A folder is there as long as a file is in it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file in, in place of one of that name.
    pub fn insert(&self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.files().insert(path.into(), Arc::new(bytes));
    }

    /// Changes the bytes of a file, which is made if need be. Who holds them goes on seeing the old ones.
    pub fn edit(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files();
        change(Arc::make_mut(files.entry(path.as_ref().to_path_buf()).or_default()));
    }

    /// The bytes of a file.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<Arc<Vec<u8>>> {
        self.files().get(path.as_ref()).cloned()
    }

    /// All files, by path.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files().keys().cloned().collect()
    }

    /// Whether there is a file of that name, or one below it.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        self.files().keys().any(|file| file.starts_with(path))
    }

    /// The names right below a folder, each once, in order.
    pub fn list(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let folder = folder.as_ref();
        let below = |file: &PathBuf| {
            let first = file.strip_prefix(folder).ok()?.components().next()?;
            Some(first.as_os_str().to_string_lossy().into_owned())
        };
        let mut names: Vec<String> = self.files().keys().filter_map(below).collect();
        names.dedup();
        names
    }

    /// Removes a file, or a folder with all in it.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.files().retain(|file, _| !file.starts_with(path));
    }

    /// Gives a file or folder another name; a file there is replaced. Says whether there was anything.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> bool {
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut files = self.files();
        let moved: Vec<PathBuf> = files.keys().filter(|file| file.starts_with(from)).cloned().collect();
        for file in &moved {
            let Some(bytes) = files.remove(file) else { continue };
            let target = match file.strip_prefix(from) {
                Ok(rest) if rest.as_os_str().is_empty() => to.to_path_buf(),
                Ok(rest) => to.join(rest),
                Err(_) => continue,
            };
            files.insert(target, bytes);
        }
        !moved.is_empty()
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not among the files", path.display()))
}

impl Store for Memory {
    fn create_dir_all(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        if Memory::exists(self, path) {
            return Err(Error::io(path, "create")(ErrorKind::AlreadyExists.into()));
        }
        self.append(path)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        let mut at = 0;
        self.edit(path, |bytes| at = bytes.len());
        Ok(Box::new(MemoryFile { files: self.clone(), path: path.to_path_buf(), at }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if Memory::rename(self, from, to) { Ok(()) } else { Err(Error::io(from, "rename")(missing(from))) }
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        match Memory::exists(self, path) {
            // A folder without files is none.
            false => Ok(()),
            true => Err(Error::io(path, "remove")(ErrorKind::DirectoryNotEmpty.into())),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.remove(path);
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Bytes> {
        self.get(path).map(Bytes::from).ok_or_else(|| Error::io(path, "read")(missing(path)))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        Ok(Memory::list(self, path))
    }

    fn exists(&self, path: &Path) -> bool {
        Memory::exists(self, path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        Memory::exists(self, path) && self.get(path).is_none()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn remove_abandoned(&self, _: &Path) {}
}

/// A file being written. It is there from the start, and holds at any time what was written so far.
#[derive(Debug)]
struct MemoryFile {
    files: Memory,
    path: PathBuf,
    /// Where the next byte goes.
    at: usize,
}

impl MemoryFile {
    /// Changes the bytes of the file, unless it was removed or renamed.
    fn edit<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut files = self.files.files();
        let file = files.get_mut(&self.path).ok_or_else(|| missing(&self.path))?;
        Ok(change(Arc::make_mut(file)))
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.at;
        self.edit(|file| {
            let end = at + bytes.len();
            file.resize(file.len().max(end), 0);
            file[at..end].copy_from_slice(bytes);
        })?;
        self.at += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for MemoryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.edit(|file| file.len())? as u64;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => length.checked_add_signed(by),
            SeekFrom::Current(by) => (self.at as u64).checked_add_signed(by),
        };
        let at = at.ok_or(ErrorKind::InvalidInput)?;
        self.at = at as usize;
        Ok(at)
    }
}

impl OpenFile for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.at = length as usize;
        let at = self.at;
        self.edit(|file| file.resize(at, 0))
    }
}
