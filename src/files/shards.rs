//! The weights of a folder: one `model.safetensors`, or several files under an index; without those `pytorch_model.bin`,
//! or several of these.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::header::{MAX_HEADER, Unique, foreign};
use super::list::{MODEL_FILE, WeightFiles};
use super::weights::Weights;
use crate::error::quoted;
use crate::store::Store;
use crate::{Error, Result};

#[derive(Deserialize)]
struct Index {
    weight_map: Unique<String>,
}

impl Weights {
    /// Opens the weights of a folder.
    ///
    /// # Errors
    /// As [`Weights::open`] for each file; [`Error::File`] for an index that names files outside the folder, or
    /// tensors that its files do not hold.
    pub fn open_folder(store: &dyn Store, dir: impl AsRef<Path>) -> Result<Weights> {
        let dir = dir.as_ref();
        match WeightFiles::of(|name| store.exists(&dir.join(name))) {
            Some(files) if files.is_index() => open_index(store, dir, &dir.join(files.first())),
            files => Weights::open_on(store, dir.join(files.map_or(MODEL_FILE, WeightFiles::first))),
        }
    }
}

/// Whether the weights of a folder are there, and all of them.
pub(super) fn complete(store: &dyn Store, dir: &Path) -> bool {
    WeightFiles::of(|name| store.exists(&dir.join(name)))
        .is_some_and(|files| !files.is_index() || read_index(store, dir, &dir.join(files.first())).is_ok())
}

/// The contents of an index.
struct Places {
    /// Each tensor with the name of its file.
    tensors: Vec<(String, String)>,
    /// The name and the path of each file.
    files: Vec<(String, PathBuf)>,
}

fn read_index(store: &dyn Store, dir: &Path, path: &Path) -> Result<Places> {
    let wrong = |expected: &str, found: String| Error::file(path, expected, found);
    let bytes = store.read(path)?;
    let size = bytes.len() as u64;
    if size > MAX_HEADER {
        return Err(wrong("an index of at most 100000000 bytes", format!("{size}")));
    }
    if let Some(kind) = foreign(&bytes) {
        return Err(wrong("an index of files of weights", kind.to_string()));
    }
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| wrong("an index of files of weights, in JSON", format!("a fault: {error}")))?;
    let Unique(tensors) = index.weight_map;
    let mut files: Vec<String> = tensors.iter().map(|(_, file)| file.clone()).collect();
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        return Err(wrong("an index of at least one tensor", "none".into()));
    }
    // All names are judged before any file is opened.
    let placed = files.into_iter().map(|file| {
        let path = shard(store, dir, path, &file)?;
        Ok((file, path))
    });
    Ok(Places { files: placed.collect::<Result<_>>()?, tensors })
}

fn open_index(store: &dyn Store, dir: &Path, path: &Path) -> Result<Weights> {
    let wrong = |expected: &str, found: String| Error::file(path, expected, found);
    let Places { tensors: mut places, files } = read_index(store, dir, path)?;
    let parts = files.iter().map(|(_, path)| Weights::open_on(store, path)).collect::<Result<Vec<_>>>()?;
    let mut found: Vec<(String, String)> = Vec::new();
    for ((file, _), part) in files.iter().zip(&parts) {
        found.extend(part.names().map(|name| (name.to_string(), file.clone())));
    }
    places.sort_unstable();
    found.sort_unstable();
    if let Some((name, file)) = places.iter().find(|place| found.binary_search(place).is_err()) {
        return Err(wrong(
            &format!("{} in {file}, as the index says", quoted(name)),
            "no such tensor".into(),
        ));
    }
    if let Some((name, file)) = found.iter().find(|place| places.binary_search(place).is_err()) {
        return Err(wrong(
            "an index of all tensors",
            format!("{} in {file}, not in the index", quoted(name)),
        ));
    }
    Ok(Weights::joined(parts, path.to_path_buf()))
}

/// The path of a file that the index names: one right in the folder, which does not lead out of it.
fn shard(store: &dyn Store, dir: &Path, index: &Path, name: &str) -> Result<PathBuf> {
    let inside = "the names of files in its folder";
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    // What would be a folder or a drive on another system is refused on all.
    if !plain || name.contains(['/', '\\', ':', '\0']) {
        return Err(Error::file(index, inside, quoted(name)));
    }
    let path = dir.join(name);
    // Files in memory cannot be links.
    if !store.is_shared() {
        return Ok(path);
    }
    let real = std::fs::canonicalize(&path).map_err(Error::io(&path, "read"))?;
    let root = root(&std::fs::canonicalize(dir).map_err(Error::io(dir, "read"))?);
    if !real.starts_with(&root) {
        return Err(Error::file(index, inside, format!("{}, a link to {}", quoted(name), real.display())));
    }
    Ok(path)
}

/// The folder that links may not leave: a snapshot in the Hugging Face cache is made of links to `blobs` beside
/// `snapshots`, so there it is the whole model's.
fn root(dir: &Path) -> PathBuf {
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|found| found == name);
    let model = dir.parent().filter(|parent| named(parent, "snapshots")).and_then(Path::parent);
    model.filter(|model| model.join("blobs").is_dir()).unwrap_or(dir).to_path_buf()
}
