//! Models and data sets by name: from the cache, or downloaded into it.

mod api;
mod cache;
pub mod dataset;
mod digest;
mod download;
mod http;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::print;
use api::{Hub, Listing, RemoteFile};
use cache::Cache;
use download::Download;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// In sentences.
    fn name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Dataset => "data set",
        }
    }

    /// In the paths of the hub's API.
    fn in_api(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    /// Before a repository's name in the paths of its files.
    fn in_paths(self) -> &'static str {
        match self {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Id {
    kind: Kind,
    /// `org/name`, or the name alone.
    name: String,
    /// A branch, tag or commit.
    revision: String,
}

/// The folder of a model: `model` itself where it is one, else the model with that name (`org/name`, with
/// `@revision` if need be) from the Hugging Face cache, which is filled first if the model is not there.
pub fn folder(model: &Path) -> anyhow::Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_path_buf());
    }
    // What is no name is a path, and the error about it names it.
    let Some(id) = model.to_str().and_then(|name| Id::parse(Kind::Model, name)) else {
        return Ok(model.to_path_buf());
    };
    let cache = Cache::find()?;
    if let Some(snapshot) = cache.snapshot(&id) {
        return Ok(snapshot);
    }
    if is_offline() {
        bail!("{}: neither a folder nor in the Hugging Face cache, and HF_HUB_OFFLINE is set", id.name);
    }
    fetch(&cache, &id).with_context(|| {
        format!("{}: no folder, not in the Hugging Face cache, and not downloaded", model.display())
    })
}

/// Whether the environment forbids to ask the hub.
fn is_offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| !["", "0"].contains(&value.as_str()))
}

/// Downloads the files of a model that [`MODEL_FILES`](wgrad::files::MODEL_FILES) lists.
fn fetch(cache: &Cache, id: &Id) -> anyhow::Result<PathBuf> {
    let hub = Hub::new();
    let listing = hub.list(id)?;
    let mut files = listing.wanted()?;
    // Weights come last: a snapshot that has them has everything.
    files.sort_by_key(|file| (file.is_weights(), file.name.clone()));
    let total: u64 = files.iter().map(|file| file.size).sum();
    print::note(format_args!(
        "downloading {} ({} files, {:.1} MB) into {}",
        id.name,
        files.len(),
        total as f64 / 1e6,
        cache.model(id).display()
    ));
    let bar = print::Bytes::new(Some(total), None);
    let mut before = 0;
    for file in &files {
        let tell = |bytes: u64| bar.set(before + bytes, file.name.clone());
        let blob = blob(&hub, id, &listing, file, &cache.blobs(id), &tell)?;
        cache.link(id, &listing.commit, file, &blob)?;
        before += file.size;
    }
    bar.end();
    cache.point(id, &listing.commit)?;
    Ok(cache.commit(id, &listing.commit))
}

/// The blob of `file`, downloaded if it is not there.
fn blob(
    hub: &Hub,
    id: &Id,
    listing: &Listing,
    file: &RemoteFile,
    blobs: &Path,
    tell: &dyn Fn(u64),
) -> anyhow::Result<PathBuf> {
    let place = blobs.join(&file.hash);
    if std::fs::metadata(&place).is_ok_and(|about| about.len() == file.size) {
        tell(file.size);
        return Ok(place);
    }
    // The name is that of `huggingface_hub`, so that whichever program comes next goes on from what is there.
    let partial = blobs.join(format!("{}.incomplete", file.hash));
    let commit = &listing.commit;
    Download { hub, id, commit, file, partial, place: place.clone(), tell }.run()?;
    Ok(place)
}

impl Id {
    /// A name as the hub allows it.
    fn parse(kind: Kind, text: &str) -> Option<Id> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let sound = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.len() <= 96 && !part.starts_with(['.', '-']) && part.chars().all(allowed)
        };
        let parts: Vec<&str> = name.split('/').collect();
        let known = (1..=2).contains(&parts.len()) && parts.iter().all(|part| sound(part)) && sound(revision);
        known.then(|| Id { kind, name: name.into(), revision: revision.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let parse = |text: &str| Id::parse(Kind::Model, text);
        let id = |name: &str, revision: &str| {
            Some(Id { kind: Kind::Model, name: name.into(), revision: revision.into() })
        };
        assert_eq!(parse("a/b-c_d.e"), id("a/b-c_d.e", "main"));
        assert_eq!(parse("bert-base-uncased"), id("bert-base-uncased", "main"));
        assert_eq!(parse("a/b@v1.0"), id("a/b", "v1.0"));
        for path in
            ["", "/a/b", "../a", "./a", "a/b/c", "a//b", "a/", "a\\b", "c:a", "a/..", "a@", "a b", "~/a"]
        {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
