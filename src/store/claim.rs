//! Whether a folder may be written into: it is empty, or what lies there was written by this crate for the same purpose.

use std::path::Path;

use super::aside::is_temporary;
use super::lock::{LOCK_FILE, Lock, lock_in};
use super::{CHECKSUMS_FILE, Checksums, Store};
use crate::error::quoted;
use crate::{Error, Result};

/// What a folder is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A new folder, which takes nothing's place.
    New,
    /// A training run, which may go on, and begin again where it was killed before its first checkpoint.
    Run,
    /// These files and no others, which may be replaced.
    Only(&'static [&'static str]),
}

/// Where a run keeps its checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// Refuses a folder that holds what is not ours, unless `force` says that files of the same names may be replaced. A
/// folder that is not there, or is empty, is free. Memory belongs to the program alone, and everything there is ours.
///
/// # Errors
/// [`Error::File`], which names some of what is there.
pub fn claim(store: &dyn Store, folder: &Path, purpose: Purpose, force: bool) -> Result<()> {
    let refused = |expected: String, found: String| Err(Error::file(folder, expected, found));
    let new = "a folder that does not exist yet (remove it, or choose another)";
    // A link could not be replaced by a folder, though it may lead to an empty one.
    if purpose == Purpose::New && store.is_shared() && folder.is_symlink() {
        return refused(new.to_owned(), "a link".to_owned());
    }
    let mut names = match store.list(folder) {
        Ok(names) => names,
        Err(_) if !store.exists(folder) => return Ok(()),
        Err(_) if purpose == Purpose::New => return refused(new.to_owned(), "a file".to_owned()),
        Err(_) => return refused("a folder".to_owned(), "a file".to_owned()),
    };
    if names.is_empty() {
        return Ok(());
    }
    if purpose == Purpose::New {
        return refused(new.to_owned(), "one with something in it".to_owned());
    }
    if force || !store.is_shared() || is_ours(store, folder, purpose, &names) {
        return Ok(());
    }
    names.sort();
    let ours = match purpose {
        Purpose::Only(files) => format!("one with nothing but {}", files.join(" and ")),
        _ => "a run's".to_owned(),
    };
    let expected = format!(
        "a new or empty folder, or {ours} (choose another, or --force to write among what is there and replace files of \
         the same names)"
    );
    refused(expected, listed(&names))
}

/// Whether the names in a folder are those of `files`, of their list, and what is left of a process that was killed while
/// it wrote them.
pub fn holds_only(folder: &Path, files: &[&str], names: &[String]) -> bool {
    let known = |name: &String| {
        let mut files = files.iter().chain(&[CHECKSUMS_FILE]);
        files.any(|file| name == file || is_temporary(name, file))
            || (name == LOCK_FILE && lock_in(folder).is_some())
    };
    names.iter().all(known)
}

/// Whether what lies in a folder was written for this purpose. This is decided by what files hold, never by a name that
/// anybody may have chosen.
fn is_ours(store: &dyn Store, folder: &Path, purpose: Purpose, names: &[String]) -> bool {
    match purpose {
        Purpose::New => false,
        // The list says that they are ours, if it speaks of them.
        Purpose::Only(files) if holds_only(folder, files, names) => {
            let listed = || matches!(Checksums::of(store, folder), Ok(Some(sums)) if sums.lists(files));
            let finished = names.iter().any(|name| name == CHECKSUMS_FILE || files.contains(&name.as_str()));
            // Without a list they are ours where a process of ours was killed before it had written one.
            !finished || lock_in(folder) == Some(Lock::Marked) || listed()
        }
        Purpose::Only(_) => false,
        Purpose::Run => {
            let has = |name: &str| names.iter().any(|known| known == name);
            let checkpoints = folder.join(CHECKPOINTS);
            let kept = store.list(&checkpoints).unwrap_or_default();
            // A process that was killed at once leaves these, which hold nothing.
            let bare = kept.is_empty() && names.iter().all(|name| name == LOCK_FILE || name == CHECKPOINTS);
            let saved = kept.iter().any(|name| {
                name.starts_with("step-") && store.exists(&checkpoints.join(name).join(CHECKSUMS_FILE))
            });
            match lock_in(folder) {
                Some(Lock::Marked) => true,
                // The locks of earlier versions are a bare number, which another program may write too.
                Some(Lock::Bare) => bare || saved || has(CHECKPOINTS),
                None => saved || (bare && !has(LOCK_FILE)),
            }
        }
    }
}

/// The first few names, and how many more.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("one with {}{more}", first.join(", "))
}
