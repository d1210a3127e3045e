//! The real disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::Path;

use super::{Bytes, OpenFile, Store};
use crate::{Error, Result};

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Store for Disk {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).map_err(Error::io(path, "create the folder"))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        let create = || -> io::Result<File> {
            let file = OpenOptions::new().write(true).create_new(true).open(path)?;
            // The lock tells others that the file has an owner; it ends with the process, however that ends. Where a
            // file system has no locks, no file is ever taken for abandoned either.
            let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            // Between creating and locking another process may have taken the file for abandoned.
            if taken || !path.exists() { Err(ErrorKind::AlreadyExists.into()) } else { Ok(file) }
        };
        Ok(Box::new(create().map_err(Error::io(path, "create"))?))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(Error::io(path, "create"))?;
        file.seek(SeekFrom::End(0)).map_err(Error::io(path, "open"))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io(from, "rename"))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        // Windows opens no folders as files, and keeps its own journal of names.
        if cfg!(not(unix)) {
            return Ok(());
        }
        File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io(path, "sync"))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io(path, "remove"))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        fs::remove_dir(path).map_err(Error::io(path, "remove"))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path).map_err(Error::io(path, "remove"))
    }

    fn read(&self, path: &Path) -> Result<Bytes> {
        read(path).map_err(Error::io(path, "read"))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let entries = entries.map_err(Error::io(path, "read the folder"))?;
        Ok(entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn remove_abandoned(&self, path: &Path) {
        let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
        if file.try_lock().is_ok() {
            // The lock is held until the file is gone, so that its creator cannot take it in between.
            let _ = fs::remove_file(path);
        }
    }
}

impl OpenFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }
}

#[cfg(target_arch = "wasm32")]
fn read(path: &Path) -> io::Result<Bytes> {
    Ok(fs::read(path)?.into())
}

#[cfg(not(target_arch = "wasm32"))]
fn read(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    // Nothing can be mapped of an empty file, nor of a device.
    if about.len() == 0 || !about.is_file() {
        return Ok(fs::read(path)?.into());
    }
    // SAFETY: the map is only read; another process that shortens the file meanwhile can end this one with a bus
    // error, which is ruled out for files written by this crate: they are replaced, not written to in place.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(map?.into())
}
