//! A folder that appears whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const LOCK: &str = ".lock";

/// A folder being written under another name beside its place; removed if dropped before [`NewFolder::commit`].
pub(super) struct NewFolder {
    place: PathBuf,
    partial: PathBuf,
    lock: Option<File>,
}

impl NewFolder {
    /// Begins `place`, which must not exist or be an empty folder. What a killed run left is cleared away.
    pub(super) fn create(place: &Path) -> Result<Self> {
        let (Some(name), parent) = (place.file_name(), place.parent()) else {
            return Err(Error::config("out", "the name of a folder to make", place.display()));
        };
        if fs::symlink_metadata(place).is_ok()
            && !fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none())
        {
            let expected = "a folder that does not exist yet (remove it, or choose another)";
            return Err(Error::file(place, expected, "one with something in it"));
        }
        if let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(Error::io(parent, "create the folder"))?;
        }
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let partial = place.with_file_name(partial_name);
        fs::create_dir_all(&partial).map_err(Error::io(&partial, "create the folder"))?;
        let lock_path = partial.join(LOCK);
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path, "create"))?;
        if lock.try_lock().is_err() {
            return Err(Error::file(
                &partial,
                "a folder that no other run is writing",
                "one that is being written",
            ));
        }
        let folder = NewFolder { place: place.to_path_buf(), partial, lock: Some(lock) };
        folder.clear()?;
        Ok(folder)
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    fn clear(&self) -> Result<()> {
        let entries = fs::read_dir(&self.partial).map_err(Error::io(&self.partial, "read the folder"))?;
        for entry in entries.flatten().filter(|entry| entry.file_name() != LOCK) {
            fs::remove_file(entry.path()).map_err(Error::io(entry.path(), "remove"))?;
        }
        Ok(())
    }

    /// Gives the folder its name. Its files must be synced.
    pub(super) fn commit(mut self) -> Result<()> {
        // Open handles keep some systems from renaming.
        self.lock = None;
        let lock = self.partial.join(LOCK);
        fs::remove_file(&lock).map_err(Error::io(&lock, "remove"))?;
        sync_folder(&self.partial)?;
        if self.place.exists() {
            fs::remove_dir(&self.place).map_err(Error::io(&self.place, "replace the folder"))?;
        }
        fs::rename(&self.partial, &self.place).map_err(Error::io(&self.place, "rename the folder"))?;
        match self.place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
            _ => sync_folder(Path::new(".")),
        }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.lock.take().is_some() {
            // Best effort: the next run clears what is left.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Puts a folder's entries on the disk, where the system can.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io(folder, "sync the folder"))?;
    }
    Ok(())
}
