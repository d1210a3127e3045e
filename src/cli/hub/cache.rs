//! The folder that Python's `huggingface_hub` keeps models in: `models--org--name` with `blobs`, the files under their
//! hashes; `snapshots`, links to them for each commit; and `refs`, the commits of branches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use wgrad::files::SentenceFolder;
use wgrad::store::{Disk, Store, write_atomic};

use super::Id;
use super::api::RemoteFile;
use crate::cli::folders::{caches, named};

pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Where `HF_HUB_CACHE`, `HF_HOME` or the user's cache folder say.
    pub fn find() -> anyhow::Result<Cache> {
        let hugging_face = || named("HF_HOME").or_else(|| caches().map(|caches| caches.join("huggingface")));
        let root = named("HF_HUB_CACHE").or_else(|| hugging_face().map(|home| home.join("hub")));
        Ok(Cache { root: root.context("no home folder for the Hugging Face cache: set HF_HOME")? })
    }

    /// The folder of a model.
    pub fn model(&self, id: &Id) -> PathBuf {
        self.root.join(format!("models--{}", id.name.replace('/', "--")))
    }

    /// Where its files are kept.
    pub fn blobs(&self, id: &Id) -> PathBuf {
        self.model(id).join("blobs")
    }

    /// The files of a commit.
    pub fn commit(&self, id: &Id, commit: &str) -> PathBuf {
        self.model(id).join("snapshots").join(commit)
    }

    /// The files of the revision, if they are all there.
    pub fn snapshot(&self, id: &Id) -> Option<PathBuf> {
        let named = fs::read_to_string(self.model(id).join("refs").join(&id.revision)).ok();
        let commit = named.map_or(id.revision.clone(), |commit| commit.trim().to_string());
        // A commit with a slash in it would lead out of the cache.
        let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        let snapshot = self.commit(id, &commit);
        (plain && SentenceFolder::is_whole(&snapshot)).then_some(snapshot)
    }

    /// Whether it is known that a commit has no file of this name. Python's library keeps such knowledge here, too.
    pub fn is_known_to_lack(&self, id: &Id, commit: &str, name: &str) -> bool {
        self.model(id).join(".no_exist").join(commit).join(name).exists()
    }

    /// Notes that a commit has no file of this name.
    pub fn note_lack(&self, id: &Id, commit: &str, name: &str) -> anyhow::Result<()> {
        let path = self.model(id).join(".no_exist").join(commit).join(name);
        let say = || format!("{}: cannot note that there is no such file", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(say)?;
        }
        fs::write(&path, []).with_context(say)
    }

    /// Puts a blob under its name into a commit's folder: a link, or where there are none the file itself.
    pub fn link(&self, id: &Id, commit: &str, file: &RemoteFile, blob: &Path) -> anyhow::Result<()> {
        let path = self.commit(id, commit).join(&file.name);
        let say = || format!("{}: cannot put it into the cache", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(say)?;
        }
        // `exists` follows links: it overlooks one whose blob was removed, which is in the way all the same.
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).with_context(say)?;
        }
        #[cfg(unix)]
        {
            let up = "../".repeat(2 + file.name.matches('/').count());
            let target = format!("{up}blobs/{}", file.hash);
            std::os::unix::fs::symlink(target, &path).with_context(say)?;
            anyhow::ensure!(fs::canonicalize(&path).ok() == fs::canonicalize(blob).ok(), say());
        }
        #[cfg(not(unix))]
        fs::rename(blob, &path).with_context(say)?;
        Ok(())
    }

    /// Makes a revision stand for a commit.
    pub fn point(&self, id: &Id, commit: &str) -> anyhow::Result<()> {
        // One with slashes lies in folders, as Python's library puts it: `refs/refs/pr/4`.
        let path = self.model(id).join("refs").join(&id.revision);
        if let Some(parent) = path.parent() {
            Disk.create_dir_all(parent)?;
        }
        write_atomic(&Disk, &path, |sink| sink.put(commit.as_bytes()))?;
        Ok(())
    }
}
