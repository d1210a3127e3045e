//! `checksums.json`: what every other file of a checkpoint must be, byte for byte.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::{Digest, Store, read_json};
use crate::{Error, Result};

/// The file, written last: a checkpoint that has it is complete.
pub(super) const CHECKSUMS_FILE: &str = "checksums.json";

/// The version of the layout of a run's folder, its metrics included. Each checkpoint says it in this file and in its
/// state; the states of early checkpoints do not.
pub(super) const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checksums {
    format: u32,
    files: BTreeMap<String, Entry>,
}

/// The length and checksum that a file must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    bytes: u64,
    crc32: String,
}

impl Entry {
    /// The entry of a file that holds these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Digest { bytes: bytes.len() as u64, crc32: crc32fast::hash(bytes) }.into()
    }
}

impl From<Digest> for Entry {
    fn from(digest: Digest) -> Self {
        Entry { bytes: digest.bytes, crc32: format!("{:08x}", digest.crc32) }
    }
}

impl Checksums {
    pub(super) fn new(files: impl IntoIterator<Item = (&'static str, Digest)>) -> Self {
        let files = files.into_iter().map(|(name, digest)| (name.to_string(), digest.into())).collect();
        Checksums { format: FORMAT, files }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and whole numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the list of a checkpoint and compares the files' lengths, which is cheap.
    pub(super) fn of_complete(store: &dyn Store, dir: &Path, names: &[&str]) -> Result<Checksums> {
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

    /// Reads every file and compares its checksum.
    pub(super) fn verify(&self, store: &dyn Store, dir: &Path) -> Result<()> {
        for (name, entry) in &self.files {
            let path = dir.join(name);
            let crc32 = crc32fast::hash(&store.read(&path)?);
            let found = format!("{crc32:08x}");
            if found != entry.crc32 {
                let found = format!("{found}: its bytes have changed since it was saved");
                return Err(Error::file(&path, format!("checksum {}", entry.crc32), found));
            }
        }
        Ok(())
    }
}
