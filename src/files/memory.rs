//! A disk in memory: what a run in a page is saved to.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic::{Cut, FileBytes, FileSystem, SyncWrite};
use crate::memory::{Bytes, Memory};

/// A file being written. It is there from the start, and holds at any time what was written so far.
struct MemoryFile {
    files: Memory,
    path: PathBuf,
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.edit(&self.path, |file| file.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SyncWrite for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Cut for MemoryFile {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.files.edit(&self.path, |file| file.resize(length as usize, 0));
        Ok(())
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not among the files", path.display()))
}

impl FileSystem for Memory {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SyncWrite>> {
        self.insert(path, Vec::new());
        Ok(Box::new(MemoryFile { files: self.clone(), path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if Memory::rename(self, from, to) { Ok(()) } else { Err(missing(from)) }
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove(path);
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        self.get(path).map(|bytes| FileBytes(Bytes::Shared(bytes))).ok_or_else(|| missing(path))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Cut>> {
        self.edit(path, |_| ());
        Ok(Box::new(MemoryFile { files: self.clone(), path: path.to_path_buf() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
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
}
