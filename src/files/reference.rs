//! `reference_vectors.json`: what a model's vectors of some texts are, so that a device which computes wrong is noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SentenceFolder;
use super::fingerprint::files;
use super::list::REFERENCE_FILE;
use crate::models::Poolings;
use crate::store::checksums::{Entry, enlist};
use crate::store::{Store, format_of, refuse_newer, write_atomic};
use crate::{Error, Result};

/// The layout this code writes and reads.
const FORMAT: u32 = 1;

/// Texts with the vectors that a model makes of them, computed in f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceVectors {
    format: u32,
    /// The version of `wgrad` that computed them.
    pub wgrad: String,
    /// The adapter that computed them.
    pub device: String,
    /// Length and checksum of each file that the vectors follow from, by its name.
    files: BTreeMap<String, Entry>,
    /// How vectors were made of hidden states.
    embedding: Embedding,
    /// The texts.
    pub texts: Vec<String>,
    /// `[texts, C]`
    pub vectors: Vec<Vec<f32>>,
}

/// What a folder says about embedding, as far as vectors follow from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedding {
    pooling: Poolings,
    normalize: bool,
    max_tokens: usize,
    lower_case: bool,
    prompt: String,
    /// Whether the tokens of the prompt are pooled.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    include_prompt: bool,
    /// How many numbers of a vector are kept, unless all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl Embedding {
    fn of(folder: &SentenceFolder) -> Self {
        Embedding {
            pooling: folder.pooling,
            normalize: folder.normalize,
            max_tokens: folder.max_tokens,
            lower_case: folder.lower_case,
            prompt: folder.prompt().to_owned(),
            include_prompt: folder.include_prompt,
            dimensions: folder.dimensions,
        }
    }
}

impl ReferenceVectors {
    /// Ties `vectors` of `texts` to the folder that they were computed with.
    ///
    /// # Errors
    /// [`Error::Io`] when a file of the folder cannot be read.
    pub fn new(
        store: &dyn Store,
        folder: &SentenceFolder,
        device: &str,
        texts: Vec<String>,
        vectors: Vec<Vec<f32>>,
    ) -> Result<Self> {
        Ok(ReferenceVectors {
            format: FORMAT,
            wgrad: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.to_owned(),
            files: files(store, &folder.model, &folder.further_weights)?,
            embedding: Embedding::of(folder),
            texts,
            vectors,
        })
    }

    /// Where a folder has the file, whether it is there or not.
    pub fn path(folder: &SentenceFolder) -> PathBuf {
        folder.model.path.join(REFERENCE_FILE)
    }

    /// Reads the file of a folder; none where there is none.
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::File`] for a file that is broken; [`Error::Io`].
    pub fn load(store: &dyn Store, folder: &SentenceFolder) -> Result<Option<Self>> {
        let path = Self::path(folder);
        if !store.exists(&path) {
            return Ok(None);
        }
        let json = store.read(&path)?;
        let wrong = |found: String| Error::file(&path, "reference vectors", found);
        // A newer file may have other fields, so that its version is looked at first.
        refuse_newer(&path, "reference vectors", format_of(&json, "format"), FORMAT)?;
        let read: Self = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        let width = folder.width();
        if read.texts.is_empty() || read.texts.len() != read.vectors.len() {
            return Err(wrong(format!("{} texts and {} vectors", read.texts.len(), read.vectors.len())));
        }
        match read.vectors.iter().find(|vector| vector.len() != width) {
            Some(vector) => {
                let expected = format!("vectors of {width} numbers, as the model gives");
                Err(Error::file(&path, expected, format!("one of {}", vector.len())))
            }
            None => Ok(Some(read)),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, store: &dyn Store, path: &Path) -> Result<()> {
        // Texts and finite numbers always serialise.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        write_atomic(store, path, |sink| sink.put(&json))?;
        let (dir, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        enlist(store, dir, &[&name.to_string_lossy()])
    }

    /// What has changed in the folder since the vectors were computed with it: they then say nothing about a device.
    ///
    /// # Errors
    /// [`Error::Io`] when a file of the folder cannot be read.
    pub fn stale(&self, store: &dyn Store, folder: &SentenceFolder) -> Result<Option<String>> {
        let found = files(store, &folder.model, &folder.further_weights)?;
        let changed =
            self.files.keys().chain(found.keys()).find(|name| self.files.get(*name) != found.get(*name));
        if let Some(name) = changed {
            return Ok(Some(name.clone()));
        }
        Ok((self.embedding != Embedding::of(folder))
            .then(|| "how the folder says to cut and pool texts".to_owned()))
    }
}
