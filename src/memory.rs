//! Files held in memory, which is all that a page has, and bytes that come from either place.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Bytes that are mapped from a disk or held in memory.
pub(crate) enum Bytes {
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::Mmap),
    Shared(Arc<Vec<u8>>),
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::Shared(Arc::new(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(not(target_arch = "wasm32"))]
            Bytes::Mapped(map) => map,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_their_files() {
        let files = Memory::default();
        files.insert("a/b/c", vec![1]);
        files.insert("a/b/d/e", vec![2]);
        files.insert("a/bb", vec![3]);
        assert_eq!(files.list("a"), ["b", "bb"]);
        assert_eq!(files.list("a/b"), ["c", "d"]);
        assert!(files.exists("a/b/d") && !files.exists("a/b/x"));
        assert!(files.rename("a/b", "z"));
        assert_eq!(files.get("z/d/e").unwrap().as_slice(), [2]);
        assert_eq!(files.list("a"), ["bb"]);
        assert!(files.rename("z/c", "a/bb") && !files.rename("none", "some"));
        assert_eq!(files.get("a/bb").unwrap().as_slice(), [1]);
        files.remove("z");
        assert_eq!(files.paths(), [PathBuf::from("a/bb")]);
    }
}
