//! The folder that a tokenizer is to be written into, taken before the work of learning it.

use std::path::{Path, PathBuf};

use super::companions::TOKENIZER_FILE;
use crate::Result;
use crate::store::{Disk, FolderLock, Store, holds_only};

/// A folder for a `tokenizer.json`, in which nobody else writes one meanwhile. Dropped without one, nothing is left of it.
#[derive(Debug)]
pub struct Reserved {
    folder: PathBuf,
    /// Whether the folder is the tokenizer's own.
    alone: bool,
    lock: Option<FolderLock>,
    /// Whether the folder was not there before.
    made: bool,
}

impl Reserved {
    /// Takes `folder`, which is created if need be. Where a file system knows no locks, it is done without.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) when another process writes there; [`Error::Io`](crate::Error::Io).
    pub fn new(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        let made = !Disk.exists(&folder);
        Disk.create_dir_all(&folder)?;
        // A list or a lock in another's folder would say that it is ours.
        let alone = holds_only(&folder, &[TOKENIZER_FILE], &Disk.list(&folder)?);
        // It says so of a tokenizer that has no list yet, should this process be killed.
        let lock = if alone { FolderLock::acquire_if_supported(&folder)? } else { None };
        Ok(Reserved { folder, alone, lock, made })
    }

    /// Where the tokenizer is to be.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether nothing else is in the folder.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.remove(&self.folder);
        }
        if self.made {
            // Removes nothing but an empty folder.
            let _ = Disk.remove_dir(&self.folder);
        }
    }
}
