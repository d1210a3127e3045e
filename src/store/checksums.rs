//! `checksums.json`: what the other files of a folder must be, byte for byte.
//!
//! Every folder that this crate writes has one. It is written last and, where files are replaced, removed first, so that a
//! process killed in between leaves a folder without one, which is taken as it is, like what others wrote.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Digest, Store, format_of, read_json, refuse_newer, write_atomic};
use crate::error::quoted;
use crate::{Error, Result};

/// The file's name.
pub const CHECKSUMS_FILE: &str = "checksums.json";

/// The version of the layout of a folder, a run's metrics included. Each checkpoint says it in this file and in its
/// state; the states of early checkpoints do not.
pub const FORMAT: u32 = 1;

/// The list of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksums {
    format: u32,
    files: BTreeMap<String, Entry>,
}

/// The length and checksum that a file must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    bytes: u64,
    crc32: String,
}

impl Entry {
    /// The entry of a file that holds these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest { bytes: bytes.len() as u64, crc32: crc32(bytes) }.into()
    }
}

impl From<Digest> for Entry {
    fn from(digest: Digest) -> Self {
        Entry { bytes: digest.bytes, crc32: format!("{:08x}", digest.crc32) }
    }
}

/// The CRC-32 of bytes, computed on all cores.
pub fn crc32(bytes: &[u8]) -> u32 {
    let part = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes);
        hasher
    };
    let joined = |mut before: crc32fast::Hasher, after: crc32fast::Hasher| {
        before.combine(&after);
        before
    };
    bytes.par_chunks(16 << 20).map(part).reduce(crc32fast::Hasher::new, joined).finalize()
}

/// Whether only people look at files of this name: a change in one is told, and hinders nothing.
fn is_for_people(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ["md", "svg", "png", "html", "csv", "jsonl", "tsv"].contains(&ending)
}

impl Checksums {
    /// A list of these files.
    pub fn new<N: Into<String>>(files: impl IntoIterator<Item = (N, Digest)>) -> Self {
        let files = files.into_iter().map(|(name, digest)| (name.into(), digest.into())).collect();
        Checksums { format: FORMAT, files }
    }

    /// Whether all of these files are in the list.
    pub(super) fn lists(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.files.contains_key(*name))
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and whole numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The list of a folder; none where there is none.
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::File`] for a list that is broken; [`Error::Io`].
    pub fn of(store: &dyn Store, dir: &Path) -> Result<Option<Checksums>> {
        let path = dir.join(CHECKSUMS_FILE);
        if !store.exists(&path) {
            return Ok(None);
        }
        refuse_newer(&path, "a list of checksums", format_of(&store.read(&path)?, "format"), FORMAT)?;
        read_json(store, &path, "a list of checksums").map(Some)
    }

    /// Reads the list of a checkpoint, of files of these names, and compares the files' lengths, which is cheap.
    ///
    /// # Errors
    /// [`Error::File`] for the first thing that differs; [`Error::Io`].
    pub fn of_complete(store: &dyn Store, dir: &Path, names: &[&str]) -> Result<Checksums> {
        let path = dir.join(CHECKSUMS_FILE);
        let sums: Checksums = read_json(store, &path, "the checksums of a checkpoint")?;
        if sums.format != FORMAT {
            let expected = format!("a checkpoint of format {FORMAT}");
            return Err(Error::file(&path, expected, format!("format {}", sums.format)));
        }
        if !sums.files.keys().map(String::as_str).eq(names.iter().copied()) {
            return Err(Error::file(&path, format!("checksums of {}", names.join(", ")), "other files"));
        }
        for (name, entry) in &sums.files {
            let path = dir.join(name);
            let bytes = store.read(&path)?.len() as u64;
            if bytes != entry.bytes {
                return Err(Error::file(&path, format!("{} bytes", entry.bytes), format!("{bytes}")));
            }
        }
        Ok(sums)
    }

    /// Reads every file and compares its length and checksum.
    ///
    /// # Errors
    /// [`Error::File`] naming the first file that differs; [`Error::Io`].
    pub fn verify(&self, store: &dyn Store, dir: &Path) -> Result<()> {
        self.files.iter().try_for_each(|(name, entry)| entry.verify(store, &dir.join(name)))
    }
}

impl Entry {
    fn verify(&self, store: &dyn Store, path: &Path) -> Result<()> {
        let found = Entry::of(&store.read(path)?);
        if found == *self {
            return Ok(());
        }
        let found = match found.bytes == self.bytes {
            true => format!("{}: its bytes have changed since it was saved", found.crc32),
            false => {
                format!("{} bytes instead of {}: it has changed since it was saved", found.bytes, self.bytes)
            }
        };
        Err(Error::file(path, format!("checksum {}", self.crc32), found))
    }
}

/// Compares the files of a folder with its list, if it has one. `wanted` says which files are looked at, and `needed` which
/// of them must be listed. Gives what a person should know: files for people that have changed.
///
/// # Errors
/// [`Error::File`] naming a file that has changed or is not there, and how to go on; [`Error::Newer`]; [`Error::Io`].
pub fn verify(
    store: &dyn Store,
    dir: &Path,
    needed: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let list = dir.join(CHECKSUMS_FILE);
    let way_out = |error| match error {
        Error::File { path, expected, found } => {
            let advice = if path == list { "remove it" } else { "if that was meant to be, remove" };
            let rest = if path == list { String::new() } else { format!(" {}", list.display()) };
            Error::File { path, expected, found: format!("{found}; {advice}{rest}, or say --no-verify") }
        }
        other => other,
    };
    let Some(sums) = Checksums::of(store, dir).map_err(way_out)? else { return Ok(Vec::new()) };
    // A name that was spoiled would leave its file unlooked at.
    if let Some(name) = needed.iter().find(|name| !sums.lists(&[*name])) {
        return Err(way_out(Error::file(&list, format!("the checksum of {name}"), "none")));
    }
    let mut notes = Vec::new();
    for (name, entry) in sums.files.iter().filter(|(name, _)| wanted(name)) {
        let path = dir.join(name);
        // A list that was tampered with leads to no file outside of its folder.
        if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            let found = format!("the file {}", quoted(name));
            return Err(way_out(Error::file(&list, "files inside of its folder", found)));
        }
        let for_people = is_for_people(name);
        if !store.exists(&path) {
            if for_people {
                continue;
            }
            let expected = format!("the file that {CHECKSUMS_FILE} lists");
            return Err(way_out(Error::file(path, expected, "nothing there")));
        }
        match entry.verify(store, &path) {
            Err(Error::File { path, .. }) if for_people => {
                notes.push(format!("{} has changed since it was saved", path.display()));
            }
            other => other.map_err(way_out)?,
        }
    }
    Ok(notes)
}

/// Replaces files of a folder, which `write` does and names with their digests: the list is removed before and written
/// anew after it, with what it had of other files.
///
/// # Errors
/// Those of `write`, and [`Error::Io`]; the folder then has no list.
pub fn replacing<N: Into<String>>(
    store: &dyn Store,
    dir: &Path,
    write: impl FnOnce() -> Result<Vec<(N, Digest)>>,
) -> Result<()> {
    let path = dir.join(CHECKSUMS_FILE);
    // A list that is broken says nothing about other files.
    let old = Checksums::of(store, dir).unwrap_or_default();
    if store.exists(&path) {
        store.remove_file(&path)?;
        store.sync_dir(dir)?;
    }
    let mut sums = old.unwrap_or_else(|| Checksums::new::<String>([]));
    sums.files.extend(write()?.into_iter().map(|(name, digest)| (name.into(), digest.into())));
    sums.files.retain(|name, _| store.exists(&dir.join(name)));
    write_atomic(store, &path, |sink| sink.put(&sums.to_json())).map(drop)
}

/// Enters files of a folder as they are now into its list, if it has one; those that are not there are left out.
///
/// # Errors
/// [`Error::Io`].
pub fn enlist(store: &dyn Store, dir: &Path, names: &[&str]) -> Result<()> {
    if !store.exists(&dir.join(CHECKSUMS_FILE)) {
        return Ok(());
    }
    replacing(store, dir, || digests(store, dir, names))
}

/// The digests of files of a folder as they are now; those that are not there are left out.
///
/// # Errors
/// [`Error::Io`].
pub fn digests<'n>(store: &dyn Store, dir: &Path, names: &[&'n str]) -> Result<Vec<(&'n str, Digest)>> {
    let there = names.iter().filter(|name| store.exists(&dir.join(name)));
    let digest = |name: &&'n str| {
        let bytes = store.read(&dir.join(name))?;
        Ok((*name, Digest { bytes: bytes.len() as u64, crc32: crc32(&bytes) }))
    };
    there.map(digest).collect()
}

/// Forgets what the list of a folder says of files for people, which a run that goes on is about to change.
///
/// # Errors
/// [`Error::Io`].
pub fn forget_for_people(store: &dyn Store, dir: &Path) -> Result<()> {
    let Some(mut sums) = Checksums::of(store, dir).unwrap_or_default() else { return Ok(()) };
    let before = sums.files.len();
    sums.files.retain(|name, _| !is_for_people(name));
    if sums.files.len() == before {
        return Ok(());
    }
    write_atomic(store, &dir.join(CHECKSUMS_FILE), |sink| sink.put(&sums.to_json())).map(drop)
}
