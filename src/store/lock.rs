//! One process per folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// The file in a folder whose lock stands for the folder's.
pub(super) const LOCK_FILE: &str = "lock";

/// What a lock says after the process's id, so that a folder can be known by it.
const MARK: &str = "wgrad";

/// What a lock's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// A process's id and the mark.
    Marked,
    /// A process's id, as of earlier versions, or nothing, where a process was killed at once.
    Bare,
}

impl Lock {
    /// None for what is no lock.
    fn of(bytes: &[u8]) -> Option<Lock> {
        let mut words = std::str::from_utf8(bytes).ok()?.split_whitespace();
        let id = words.next().is_none_or(|id| id.parse::<u32>().is_ok());
        let marked = words.next().map(|mark| mark == MARK);
        let lock = if marked.is_some() { Lock::Marked } else { Lock::Bare };
        (id && marked != Some(false) && words.next().is_none()).then_some(lock)
    }
}

/// The lock in a folder, which nobody need hold; none where there is none, or something else has its name.
pub(super) fn lock_in(folder: &Path) -> Option<Lock> {
    let path = folder.join(LOCK_FILE);
    // A pipe would be waited on for ever.
    let is_file = path.symlink_metadata().is_ok_and(|about| about.is_file());
    is_file.then(|| begin(&mut File::open(path).ok()?)).flatten()
}

/// What a file that may be a lock begins with.
fn begin(file: &mut File) -> Option<Lock> {
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes).ok()?;
    Lock::of(&bytes)
}

/// An exclusive hold on a folder through its file `lock`. The operating system ends it with the process, however
/// that ends; the file stays.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock, or fails at once with the other process's id.
    ///
    /// # Errors
    /// [`Error::File`] when another process holds it, when it is a link, and when it is a file of another kind;
    /// [`Error::Io`].
    pub fn acquire(folder: &Path) -> Result<FolderLock> {
        Self::attempt(folder)?.map_err(Error::io(&folder.join(LOCK_FILE), "lock"))
    }

    /// As [`FolderLock::acquire`]; none where the file system knows no locks.
    ///
    /// # Errors
    /// As [`FolderLock::acquire`].
    pub fn acquire_if_supported(folder: &Path) -> Result<Option<FolderLock>> {
        let lock = Self::attempt(folder)?.ok();
        if lock.is_none() {
            // A file that stays harms nothing.
            let _ = std::fs::remove_file(folder.join(LOCK_FILE));
        }
        Ok(lock)
    }

    /// Takes the lock, or says why the operating system cannot lock anything there.
    fn attempt(folder: &Path) -> Result<std::io::Result<FolderLock>> {
        let path = folder.join(LOCK_FILE);
        // Following a link would empty a file that is somebody else's.
        if let Ok(about) = path.symlink_metadata()
            && !about.is_file()
        {
            let found = if about.is_symlink() { "a link" } else { "a folder, pipe or device" };
            return Err(Error::file(&path, "a lock, which is a file", found));
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(Error::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where locks are mandatory the id cannot be read.
                let read = file.read_to_string(&mut holder).is_ok();
                let id = holder.split_whitespace().next().filter(|id| read && id.parse::<u32>().is_ok());
                let who = id.map_or("another process".to_owned(), |id| format!("process {id}"));
                return Err(Error::file(
                    folder,
                    "a run folder no process is using",
                    format!("{who} using it"),
                ));
            }
            Err(TryLockError::Error(source)) => return Ok(Err(source)),
        }
        // What another program keeps under this name is not emptied.
        if begin(&mut file).is_none() {
            return Err(Error::file(&path, "a lock, which holds a process's id", "something else"));
        }
        // The id is for the message above, and the mark for whoever asks whose the folder is.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{} {MARK}", std::process::id()));
        Ok(Ok(FolderLock { file }))
    }

    /// Gives up the lock of `folder` and removes its file, so that nothing is left of it.
    pub fn remove(self, folder: &Path) {
        // A file that stays harms nothing. It goes before the hold ends, so that nobody takes it in between.
        let _ = std::fs::remove_file(folder.join(LOCK_FILE));
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone would not do while a child process being started still shares the open file.
        let _ = self.file.unlock();
    }
}
