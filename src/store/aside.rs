//! Writing files so that a name never stands for half a file: temporary name, write, sync, rename, sync the folder.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Digest, OpenFile, Sink, Store, parent};
use crate::{Error, Result};

/// How temporary names end. Before it stand a dot, the name to be, a dot, and sixteen hexadecimal digits.
const ENDING: &str = ".wgrad-partial";

/// A name beside `path` that nothing has.
pub(super) fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Its keys differ from process to process. A page has no process that it could ask for a number.
    let random = RandomState::new().hash_one(count);
    path.with_file_name(format!(".{}.{random:016x}{ENDING}", name_of(path)))
}

/// The temporary names of `path` that are in its folder.
pub(super) fn temporaries(store: &dyn Store, path: &Path) -> Vec<PathBuf> {
    let of = name_of(path);
    let names = store.list(parent(path)).unwrap_or_default();
    names.iter().filter(|name| is_temporary(name, &of)).map(|name| path.with_file_name(name)).collect()
}

/// Whether a name is a temporary one of the name `of`.
pub(super) fn is_temporary(name: &str, of: &str) -> bool {
    let rest = name.strip_prefix('.').and_then(|rest| rest.strip_prefix(of));
    let middle = rest.and_then(|rest| rest.strip_prefix('.')?.strip_suffix(ENDING));
    middle.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file under a temporary name, which takes its own when it is whole. Dropped before that, it is removed.
#[derive(Debug)]
pub struct Aside<'s> {
    store: &'s dyn Store,
    path: PathBuf,
    temporary: PathBuf,
    sink: Sink,
    renamed: bool,
}

impl<'s> Aside<'s> {
    /// Begins a file that will be called `path`. What killed processes left of earlier attempts is removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(store: &'s dyn Store, path: &Path) -> Result<Self> {
        temporaries(store, path).iter().for_each(|left| store.remove_abandoned(left));
        let (temporary, file) = create(store, path)?;
        let sink = Sink::of(file, path);
        Ok(Aside { store, path: path.to_path_buf(), temporary, sink, renamed: false })
    }

    /// Where to write.
    pub fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    /// Gives the file its name, which replaces what had it. Its [`Sink`] must be finished. The name survives a power
    /// cut when the folder has been synced.
    ///
    /// # Errors
    /// [`Error::Io`]; what had the name is then untouched.
    pub fn rename(mut self) -> Result<()> {
        let renamed = self.store.rename(&self.temporary, &self.path);
        renamed.map_err(|error| match error {
            // A person knows the file by the name that it was to have.
            Error::Io { cause, .. } => Error::io(&self.path, "rename the finished file to")(cause),
            other => other,
        })?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // An error that led here is the one to tell.
            let _ = self.store.remove_file(&self.temporary);
        }
    }
}

fn create(store: &dyn Store, path: &Path) -> Result<(PathBuf, Box<dyn OpenFile>)> {
    let mut attempts = 0;
    loop {
        let temporary = temporary(path);
        attempts += 1;
        match store.create(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Another process may have taken the new file for an abandoned one.
            Err(Error::Io { cause, .. }) if cause.kind() == ErrorKind::AlreadyExists && attempts < 4 => {}
            // A person knows the file by the name that it was to have.
            Err(Error::Io { cause, action, .. }) => return Err(Error::io(path, action)(cause)),
            Err(error) => return Err(error),
        }
    }
}

/// Writes a file that appears under its name whole or not at all, replacing what was there.
///
/// # Errors
/// Those of `fill`, and [`Error::Io`]; the temporary file is then removed and the old file is as it was.
pub fn write_atomic(
    store: &dyn Store,
    path: &Path,
    fill: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<Digest> {
    let mut file = Aside::begin(store, path)?;
    fill(&mut file.sink)?;
    let digest = file.sink.finish()?;
    file.rename()?;
    store.sync_dir(parent(path))?;
    Ok(digest)
}
