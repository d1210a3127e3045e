//! Models and data sets by name: from the cache, or downloaded into it.

mod api;
mod cache;
pub mod dataset;
mod digest;
mod download;
mod http;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use wgrad::files::list::PICKLE_FILE;
use wgrad::files::{MODEL_FILES, module_folders};

use super::print;
use api::{Hub, RemoteFile};
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
    /// A branch, tag or commit, or what is proposed: `refs/pr/4`.
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
    let offline = is_offline();
    if let Some(snapshot) = cache.snapshot(&id) {
        complete(&cache, &id, &snapshot, offline);
        return Ok(snapshot);
    }
    if offline {
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
    let mut folders = Vec::new();
    if let Some(modules) = listing.named(MODULES)? {
        let blob = blob(&hub, id, &listing.commit, &modules, &cache.blobs(id), &|_| {})?;
        folders = module_folders(&fs::read(&blob).with_context(|| blob.display().to_string())?);
        cache.link(id, &listing.commit, &modules, &blob)?;
    }
    let mut files = listing.wanted(&folders)?;
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
        let blob = blob(&hub, id, &listing.commit, file, &cache.blobs(id), &tell)?;
        cache.link(id, &listing.commit, file, &blob)?;
        before += file.size;
    }
    bar.end();
    let modules = fs::read(cache.commit(id, &listing.commit).join(MODULES)).ok();
    for name in MODEL_FILES.small(modules.as_deref()).iter().flat_map(|name| forms(name)) {
        if listing.named(&name)?.is_none() {
            cache.note_lack(id, &listing.commit, &name)?;
        }
    }
    cache.point(id, &listing.commit)?;
    Ok(cache.commit(id, &listing.commit))
}

/// The blob of `file`, downloaded if it is not there.
fn blob(
    hub: &Hub,
    id: &Id,
    commit: &str,
    file: &RemoteFile,
    blobs: &Path,
    tell: &dyn Fn(u64),
) -> anyhow::Result<PathBuf> {
    let place = blobs.join(&file.hash);
    if fs::metadata(&place).is_ok_and(|about| about.len() == file.size) {
        tell(file.size);
        return Ok(place);
    }
    // The name is that of `huggingface_hub`, so that whichever program comes next goes on from what is there.
    let partial = blobs.join(format!("{}.incomplete", file.hash));
    Download { hub, id, commit, file, partial, place: place.clone(), tell }.run()?;
    Ok(place)
}

/// The list of a sentence embedder's modules.
const MODULES: &str = "modules.json";

/// The names that a small file may have: the weights of a module are there in one form or the other.
fn forms(name: &str) -> Vec<String> {
    let pickled = name.strip_suffix(MODEL_FILES.weights).map(|folder| format!("{folder}{PICKLE_FILE}"));
    std::iter::once(name.to_owned()).chain(pickled).collect()
}

/// Fetches what a cache lacks of a model's small files, because another program filled it with what it needed itself. Where
/// that cannot be done it is said, as vectors are then made by guess.
fn complete(cache: &Cache, id: &Id, snapshot: &Path, offline: bool) {
    let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
    let lacking = |snapshot: &Path| -> Vec<String> {
        let names = MODEL_FILES.small(fs::read(snapshot.join(MODULES)).ok().as_deref());
        let lacks = |name: &String| {
            let forms = forms(name);
            !forms.iter().any(|name| snapshot.join(name).exists())
                && !forms.iter().all(|name| cache.is_known_to_lack(id, &commit, name))
        };
        names.into_iter().filter(lacks).collect()
    };
    let fill = || -> anyhow::Result<()> {
        let hub = Hub::new();
        let listing = hub.list(&Id { revision: commit.to_string(), ..id.clone() })?;
        // What `modules.json` says comes to light when it is there.
        for _ in 0..2 {
            for name in lacking(snapshot) {
                let forms = forms(&name);
                let mut listed = forms.iter().filter_map(|name| listing.named(name).transpose());
                let Some(file) = listed.next().transpose()? else {
                    // Noted only where no form is there: a download that fails is tried again the next time.
                    for name in &forms {
                        cache.note_lack(id, &commit, name)?;
                    }
                    continue;
                };
                let name = &file.name;
                print::note(format_args!("downloading {name} of {}, which the cache lacks", id.name));
                let blob = blob(&hub, id, &commit, &file, &cache.blobs(id), &|_| {})?;
                cache.link(id, &commit, &file, &blob)?;
            }
        }
        Ok(())
    };
    let names = lacking(snapshot);
    if names.is_empty() {
        return;
    }
    let failed = if offline {
        Some("HF_HUB_OFFLINE is set".to_owned())
    } else {
        fill().err().map(|e| format!("{e:#}"))
    };
    if let Some(why) = failed {
        let names = names.join(", ");
        print::note(format_args!(
            "note: the cache may lack {names} of {}, which were not fetched: {why}",
            id.name
        ));
    }
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
        // As each part is sound, none leads out of a folder.
        let revision_sound = revision.len() <= 96 && revision.split('/').all(sound);
        let known = (1..=2).contains(&parts.len()) && parts.iter().all(|part| sound(part)) && revision_sound;
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
        assert_eq!(parse("a/b@refs/pr/4"), id("a/b", "refs/pr/4"));
        for path in
            ["", "/a/b", "../a", "./a", "a/b/c", "a//b", "a/", "a\\b", "c:a", "a/..", "a@", "a b", "~/a"]
        {
            assert_eq!(parse(path), None, "{path}");
        }
        for revision in [
            "/", "/a", "a/", "a//b", "../a", "a/..", "a/../b", "a/./b", "a/.git", "-a", "a\\b", "a@b", "c:/a",
        ] {
            assert_eq!(parse(&format!("a/b@{revision}")), None, "{revision}");
        }
        assert_eq!(parse(&format!("a/b@{}", "a/".repeat(60) + "a")), None);
    }
}
