//! A folder that appears whole or not at all.

use std::path::{Path, PathBuf};

use super::aside::{temporaries, temporary};
use super::lock::{FolderLock, LOCK_FILE};
use super::{Store, parent};
use crate::{Error, Result};

/// A folder being written under a temporary name beside its place; removed if dropped before [`NewFolder::commit`].
pub struct NewFolder<'s> {
    store: &'s dyn Store,
    place: PathBuf,
    partial: PathBuf,
    lock: Option<FolderLock>,
    committed: bool,
}

impl<'s> NewFolder<'s> {
    /// Begins `place`, which must not exist or be an empty folder. What a killed run left is cleared away.
    ///
    /// # Errors
    /// [`Error::File`] when there is something in `place`, or another run is writing it; [`Error::Io`].
    pub fn create(store: &'s dyn Store, place: &Path) -> Result<Self> {
        if place.file_name().is_none() {
            return Err(Error::config("out", "the name of a folder to make", place.display()));
        }
        refuse_filled(store, place)?;
        store.create_dir_all(parent(place))?;
        for left in temporaries(store, place) {
            // Whoever gets the lock knows that nobody writes there any more.
            drop(lock(store, &left, place)?);
            store.remove_dir_all(&left)?;
        }
        let partial = temporary(place);
        store.create_dir_all(&partial)?;
        let lock = lock(store, &partial, place)?;
        Ok(NewFolder { store, place: place.to_path_buf(), partial, lock, committed: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the folder its name. Its files must be synced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(mut self) -> Result<()> {
        // Open handles keep some systems from renaming.
        if self.lock.take().is_some() {
            self.store.remove_file(&self.partial.join(LOCK_FILE))?;
        }
        self.store.sync_dir(&self.partial)?;
        if self.store.exists(&self.place) {
            refuse_filled(self.store, &self.place)?;
            self.store.remove_dir_all(&self.place)?;
        }
        self.store.rename(&self.partial, &self.place)?;
        self.committed = true;
        self.store.sync_dir(parent(&self.place))
    }
}

/// A new folder takes the place of nothing, or of an empty folder.
fn refuse_filled(store: &dyn Store, place: &Path) -> Result<()> {
    let found = match store.list(place) {
        // A link could not be replaced by a folder, though it may lead to an empty one.
        _ if store.is_shared() && place.is_symlink() => "a link",
        Ok(names) if names.is_empty() => return Ok(()),
        Err(_) if !store.exists(place) => return Ok(()),
        _ => "one with something in it",
    };
    Err(Error::file(place, "a folder that does not exist yet (remove it, or choose another)", found))
}

fn lock(store: &dyn Store, folder: &Path, place: &Path) -> Result<Option<FolderLock>> {
    if !store.is_shared() {
        return Ok(None);
    }
    FolderLock::acquire(folder).map(Some).map_err(|error| match error {
        // A person knows the folder by the name that it is to have.
        Error::File { found, .. } => Error::file(place, "a folder that no other run is writing", found),
        other => other,
    })
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.lock = None;
            // An error that led here is the one to tell; the next run clears what is left.
            let _ = self.store.remove_dir_all(&self.partial);
        }
    }
}
