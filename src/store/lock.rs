//! One process per folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// The file in a folder whose lock stands for the folder's.
pub(super) const LOCK_FILE: &str = "lock";

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
    /// [`Error::File`] when another process holds it, and when it is a link; [`Error::Io`].
    pub fn acquire(folder: &Path) -> Result<FolderLock> {
        let path = folder.join(LOCK_FILE);
        // Following a link would empty a file that is somebody else's.
        if path.symlink_metadata().is_ok_and(|about| about.is_symlink()) {
            return Err(Error::file(&path, "a lock, which is a file", "a link"));
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(Error::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Where locks are mandatory the id cannot be read.
                let known = file.read_to_string(&mut holder).is_ok() && holder.trim().parse::<u32>().is_ok();
                let who = if known { format!("process {}", holder.trim()) } else { "another process".into() };
                return Err(Error::file(
                    folder,
                    "a run folder no process is using",
                    format!("{who} using it"),
                ));
            }
            Err(TryLockError::Error(source)) => return Err(Error::io(&path, "lock")(source)),
        }
        // The id is only for the message above.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(FolderLock { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone would not do while a child process being started still shares the open file.
        let _ = self.file.unlock();
    }
}
