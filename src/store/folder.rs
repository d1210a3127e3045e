//! A folder that appears whole or not at all.

use std::path::{Path, PathBuf};

use super::aside::{temporaries, temporary};
use super::lock::{FolderLock, LOCK_FILE};
use super::{Purpose, Store, claim, parent};
use crate::{Error, Result};

/// A folder being written under a temporary name beside its place. Dropped without [`NewFolder::commit`] it is removed, unless
/// the next run can go on from it: see [`NewFolder::adopt`].
#[derive(Debug)]
pub struct NewFolder<'s> {
    store: &'s dyn Store,
    place: PathBuf,
    partial: PathBuf,
    lock: Option<FolderLock>,
    keep: bool,
    adopted: bool,
    /// The name of the file by which the next run can go on.
    state: Option<String>,
}

impl<'s> NewFolder<'s> {
    /// Begins `place`, which must not exist or be an empty folder. What a killed run left is cleared away.
    ///
    /// # Errors
    /// [`Error::File`] when there is something in `place`, or another run is writing it; [`Error::Io`].
    pub fn create(store: &'s dyn Store, place: &Path) -> Result<Self> {
        Self::begin(store, place, None)
    }

    /// As [`NewFolder::create`], but of what runs left that were killed or failed, the first that has a file of the name
    /// `state` is taken up. With this file the folder stays where it is when it is dropped, and [`NewFolder::commit`] removes
    /// the file last of all, so that nothing is lost wherever a process is killed.
    ///
    /// # Errors
    /// As [`NewFolder::create`].
    pub fn adopt(store: &'s dyn Store, place: &Path, state: &str) -> Result<Self> {
        Self::begin(store, place, Some(state))
    }

    fn begin(store: &'s dyn Store, place: &Path, state: Option<&str>) -> Result<Self> {
        if place.file_name().is_none() {
            return Err(Error::config("out", "the name of a folder to make", place.display()));
        }
        claim(store, place, Purpose::New, false)?;
        store.create_dir_all(parent(place))?;
        let mut adopted = None;
        for left in temporaries(store, place) {
            // Every folder that this crate begins has a lock in it; one without may be a person's own.
            if store.is_shared() && !store.exists(&left.join(LOCK_FILE)) {
                // Removes nothing but what a process left that was killed before it took the lock.
                let _ = store.remove_dir(&left);
                continue;
            }
            let held = lock(store, &left, place)?;
            if adopted.is_none() && state.is_some_and(|state| store.exists(&left.join(state))) {
                adopted = Some((left, held));
                continue;
            }
            // The lock is held until the folder is gone, so that nobody takes it in between. Where an open file keeps
            // its folder from being removed, it has to go first.
            let held = held.filter(|_| cfg!(unix));
            store.remove_dir_all(&left)?;
            drop(held);
        }
        if let Some((partial, lock)) = adopted {
            let place = place.to_path_buf();
            let state = state.map(str::to_owned);
            return Ok(NewFolder { store, place, partial, lock, keep: false, adopted: true, state });
        }
        let mut attempts = 0;
        loop {
            let partial = temporary(place);
            store.create_dir_all(&partial)?;
            attempts += 1;
            let lock = lock(store, &partial, place);
            // Between creating and locking another process may have taken the folder for one that was left.
            let whole = lock.is_ok() && (!store.is_shared() || partial.join(LOCK_FILE).exists());
            if whole || attempts == 4 {
                let place = place.to_path_buf();
                let (lock, state) = (lock?, state.map(str::to_owned));
                return Ok(NewFolder { store, place, partial, lock, keep: false, adopted: false, state });
            }
        }
    }

    /// Whether a run left a folder for `place` that the next one can take up by its file `state`, and no other is writing it.
    pub fn is_left(store: &dyn Store, place: &Path, state: &str) -> bool {
        let free = |left: &PathBuf| store.exists(&left.join(state)) && lock(store, left, place).is_ok();
        !store.exists(place) && temporaries(store, place).iter().any(free)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Whether a run that was killed, or failed, began the folder.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Removes every file but those that `known` says are needed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self, known: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.store.list(&self.partial)? {
            if name != LOCK_FILE && !known(&name) {
                self.store.remove_file(&self.partial.join(name))?;
            }
        }
        Ok(())
    }

    /// Gives the folder its name. Its files must be synced.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] where something has come to stand in its place meanwhile. What was written then
    /// stays under its temporary name, which the error tells, until the next run for the same place.
    pub fn commit(mut self) -> Result<()> {
        // What took long to write is not thrown away because its name could not be given.
        self.keep = true;
        self.store.sync_dir(&self.partial)?;
        if cfg!(not(unix)) {
            // Open files keep some systems from renaming their folder.
            self.unlock();
        }
        let renamed = self.replace();
        renamed.map_err(|error| match error {
            Error::File { path, expected, found } => Error::File {
                path,
                expected,
                found: format!("{found}; what was written is in {}", self.partial.display()),
            },
            Error::Io { cause, .. } => {
                let action = "rename the finished folder to its place from";
                Error::io(&self.partial, action)(cause)
            }
            other => other,
        })?;
        self.partial = self.place.clone();
        if let Some(state) = &self.state {
            // As a lock, it harms nothing where it stays.
            let _ = self.store.remove_file(&self.partial.join(state));
        }
        self.unlock();
        self.store.sync_dir(parent(&self.place))
    }

    fn replace(&self) -> Result<()> {
        if self.store.exists(&self.place) {
            claim(self.store, &self.place, Purpose::New, false)?;
            // Removes nothing but an empty folder, whatever has happened since.
            self.store.remove_dir(&self.place)?;
        }
        self.store.rename(&self.partial, &self.place)
    }

    fn unlock(&mut self) {
        if self.lock.take().is_some() {
            // A lock file that stays harms nothing.
            let _ = self.store.remove_file(&self.partial.join(LOCK_FILE));
        }
    }
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
        if !self.keep {
            let state = self.state.as_ref();
            let can_go_on = state.is_some_and(|state| self.store.exists(&self.partial.join(state)));
            self.lock = None;
            if !can_go_on {
                // An error that led here is the one to tell; the next run clears what is left.
                let _ = self.store.remove_dir_all(&self.partial);
            }
        }
    }
}
