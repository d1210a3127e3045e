//! Data sets of the hub, as far as they are Parquet: which files, and where they are put.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use wgrad::data::FileOptions;
use wgrad::data::files::sources;
use wgrad::store::{Disk, Store, write_json};

use super::api::{Hub, RemoteFile};
use super::download::Download;
use super::{Id, Kind, digest, is_offline};
use crate::cli::folders::caches;
use crate::cli::print;

/// What stands before the name of a data set in the place of a path.
const SCHEME: &str = "hf:";
/// The branch on which the hub keeps a data set of another format as Parquet.
const CONVERTED: &str = "refs/convert/parquet";
/// What was fetched into a folder.
const RECORD: &str = "fetched.json";

/// A data set, or a part of one: `hf:NAME`, `hf:NAME@REVISION`, with `:CONFIG` and `:SPLIT` behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    id: Id,
    /// One of the sets that the repository holds.
    pub config: Option<String>,
    /// The part to train on, to measure on, …
    pub split: Option<String>,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// Its name in the folder.
    pub name: String,
    /// The split that it is of.
    pub split: String,
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its contents.
    pub hash: String,
}

/// What was fetched, and from where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The data set.
    pub dataset: String,
    /// The commit that its files are of.
    pub commit: String,
    /// The set of it.
    pub config: Option<String>,
    /// The splits that the hub has of it.
    #[serde(default)]
    pub splits: Vec<String>,
    /// Its files.
    pub files: Vec<Fetched>,
}

/// Which files there are.
struct Chosen {
    id: Id,
    commit: String,
    /// The hub's files by split, in the order of their names.
    splits: BTreeMap<String, Vec<RemoteFile>>,
}

impl Reference {
    /// Reads what stands in the place of a path; none for what is a path.
    pub fn parse(path: &Path) -> anyhow::Result<Option<Reference>> {
        let Some(text) = path.to_str().and_then(|text| text.strip_prefix(SCHEME)) else { return Ok(None) };
        let mut parts = text.split(':');
        let id = Id::parse(Kind::Dataset, parts.next().unwrap_or_default());
        let rest: Vec<&str> = parts.collect();
        let sound = rest.len() <= 2 && rest.iter().all(|part| is_plain(part));
        let expected = "a data set such as hf:wikimedia/wikipedia:20231101.pt:train";
        let (Some(id), true) = (id, sound) else { bail!("{}: expected {expected}", path.display()) };
        let part = |at: usize| rest.get(at).map(|part| (*part).to_owned());
        Ok(Some(Reference { id, config: part(0), split: part(1) }))
    }

    /// Downloads the splits that `wanted` chooses into `out`, and says what is there. Files that are there already are
    /// taken when their contents are right; others of their names are in the way, unless the folder is `ours`.
    pub fn fetch(&self, out: &Path, wanted: impl Fn(&str) -> bool, ours: bool) -> anyhow::Result<Record> {
        ensure!(!is_offline(), "{}: not fetched, because HF_HUB_OFFLINE is set", self.id.name);
        let hub = Hub::new();
        let chosen = choose(&hub, &self.id, self.config.as_deref())?;
        let splits: Vec<_> = chosen.splits.iter().filter(|(split, _)| wanted(split)).collect();
        if splits.is_empty() {
            let known: Vec<&str> = chosen.splits.keys().map(String::as_str).collect();
            bail!("{}: expected one of the splits {}", self.id.name, known.join(", "));
        }
        for (split, files) in &splits {
            // CONFIG/partial-SPLIT/0000.parquet
            if files.iter().any(|file| file.name.contains("/partial-")) {
                print::note(format_args!(
                    "note: of the split {split} the hub has converted only the first part"
                ));
            }
        }
        let files: Vec<(Fetched, &RemoteFile)> =
            splits.into_iter().flat_map(|(split, files)| named(split, files)).collect();
        let total: u64 = files.iter().map(|(file, _)| file.size).sum();
        print::note(format_args!(
            "{} at {}: {} files, {:.1} MB, into {}",
            self.id.name,
            &chosen.commit[..chosen.commit.len().min(12)],
            files.len(),
            total as f64 / 1e6,
            out.display()
        ));
        Disk.create_dir_all(out)?;
        let bar = print::Bytes::new(Some(total), None);
        let mut before = 0;
        for (file, remote) in &files {
            print::note(format_args!("  {} ({:.1} MB)", file.name, file.size as f64 / 1e6));
            let place = out.join(&file.name);
            if !is_right(&place, file) {
                if ours && place.exists() {
                    fs::remove_file(&place).with_context(|| format!("{}: cannot remove", place.display()))?;
                }
                ensure!(
                    !place.exists(),
                    "{}: expected nothing, or this file of the data set, found another file",
                    place.display()
                );
                let tell = |bytes: u64| bar.set(before + bytes, file.name.clone());
                // Hidden, so that nobody takes a part for the whole, and of the hash, so that another version is another.
                let partial = out.join(format!(".{}.{}.incomplete", file.name, &file.hash[..16]));
                let (id, commit) = (&chosen.id, chosen.commit.as_str());
                Download { hub: &hub, id, commit, file: remote, partial, place, tell: &tell }.run()?;
            }
            before += file.size;
        }
        bar.end();
        let record = Record {
            dataset: self.id.name.clone(),
            commit: chosen.commit.clone(),
            config: self.config.clone(),
            splits: chosen.splits.keys().cloned().collect(),
            files: files.into_iter().map(|(file, _)| file).collect(),
        };
        Ok(record)
    }

    /// The same into the cache, where it is taken from without asking the hub the next time.
    fn cached(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<(PathBuf, Record)> {
        let root = caches().context("no home folder for a cache: fetch with `wgrad data fetch`")?;
        let name = self.id.name.replace('/', "--");
        let config = self.config.as_deref().unwrap_or("default");
        // A folder for each revision, which no name of a configuration can be.
        let revision = self.id.revision.replace('/', "%2F");
        let folder = root.join("wgrad/datasets").join(name).join(revision).join(config);
        let path = folder.join(RECORD);
        let known: Option<Record> =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let whole = |file: &Fetched| {
            fs::metadata(folder.join(&file.name)).is_ok_and(|about| about.len() == file.size)
        };
        if let Some(record) = &known {
            let files: Vec<Fetched> =
                record.files.iter().filter(|file| wanted(&file.split)).cloned().collect();
            // A record of earlier versions does not say what there is.
            let mut all = record.splits.iter().filter(|split| wanted(split));
            let complete = all.all(|split| files.iter().any(|file| file.split == *split));
            if !files.is_empty() && complete && !record.splits.is_empty() && files.iter().all(whole) {
                return Ok((folder, Record { files, ..record.clone() }));
            }
        }
        if is_offline() {
            bail!("{}: not in the cache {}, and HF_HUB_OFFLINE is set", self.id.name, folder.display());
        }
        let record = self.fetch(&folder, wanted, true)?;
        // What other splits left there stays known, if it is of the same commit.
        let others = known.filter(|known| known.commit == record.commit).map(|known| known.files);
        let others = others.unwrap_or_default().into_iter();
        let others = others.filter(|file| record.files.iter().all(|new| new.name != file.name));
        let all = Record { files: record.files.iter().cloned().chain(others).collect(), ..record.clone() };
        write_json(&Disk, &path, &all)?;
        Ok((folder, record))
    }
}

/// The files for texts to read: `path` itself, or those of a data set's split, `train` unless it names another.
pub fn texts(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Some(reference) = Reference::parse(path)? else { return Ok(vec![path.to_path_buf()]) };
    let split = reference.split.clone().unwrap_or_else(|| "train".to_owned());
    let (folder, record) = reference.cached(|name| name == split)?;
    Ok(record.files.iter().map(|file| folder.join(&file.name)).collect())
}

/// The files of several.
pub fn all_texts(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let files = paths.iter().map(|path| texts(path)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(files.into_iter().flatten().collect())
}

/// The files of labelled texts: those that are named, those of folders, and those of a data set's split, the first of
/// `splits` that it has unless it names another.
pub fn tables(paths: &[PathBuf], splits: &[&str], options: &FileOptions) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = sources(std::slice::from_ref(path), options)?;
            found.passed_over.iter().for_each(|file| print::note(format_args!("note: passed over {file}")));
            files.extend(found.files.into_iter().map(|source| source.path));
        } else {
            files.extend(split(path, splits)?);
        }
    }
    Ok(files)
}

/// The one file of labelled texts, as [`tables`].
pub fn table(path: &Path, splits: &[&str]) -> anyhow::Result<PathBuf> {
    let files = split(path, splits)?;
    let [file] = files.as_slice() else {
        bail!("{}: expected one file to read labelled texts from, found {}", path.display(), files.len())
    };
    Ok(file.clone())
}

/// `path` itself, or the files of the split of a data set.
fn split(path: &Path, splits: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let Some(reference) = Reference::parse(path)? else { return Ok(vec![path.to_path_buf()]) };
    let wanted = |name: &str| match &reference.split {
        Some(split) => name == split,
        None => splits.contains(&name),
    };
    let (folder, record) = reference.cached(wanted)?;
    let rank = |file: &Fetched| splits.iter().position(|split| *split == file.split);
    let best = record.files.iter().map(&rank).min().flatten();
    // A split that is named has no rank among those that are looked for where none is: all that came is of it.
    let taken = |file: &&Fetched| reference.split.is_some() || (best.is_some() && rank(file) == best);
    let files = record.files.iter().filter(taken);
    let files: Vec<PathBuf> = files.map(|file| folder.join(&file.name)).collect();
    ensure!(
        !files.is_empty(),
        "{}: expected one of the splits {}, found {}",
        path.display(),
        splits.join(", "),
        record.splits.join(", ")
    );
    Ok(files)
}

/// The folder with the files of a task: `path` itself, or that of the data set, of which `config` is taken unless it
/// names another.
pub fn task_folder(path: &Path, config: &str) -> anyhow::Result<PathBuf> {
    let Some(reference) = Reference::parse(path)? else { return Ok(path.to_path_buf()) };
    let config = reference.config.clone().or_else(|| Some(config.to_owned()));
    let reference = Reference { config, ..reference };
    // Labels of test sets are secret.
    Ok(reference.cached(|split| !split.starts_with("test"))?.0)
}

/// The Parquet files of a data set: its own, or those that the hub made of it.
fn choose(hub: &Hub, id: &Id, config: Option<&str>) -> anyhow::Result<Chosen> {
    let mut known = Vec::new();
    let own = id.revision != "main";
    let converted = Id { revision: CONVERTED.to_owned(), ..id.clone() };
    for id in [id, &converted].into_iter().take(if own { 1 } else { 2 }) {
        let listing = match hub.list(id) {
            // A data set that is small or private has no such branch.
            Err(_) if id.revision == CONVERTED => break,
            listing => listing?,
        };
        let files = listing.files(|name| name.ends_with(".parquet"))?;
        let mut configs: BTreeMap<Option<String>, BTreeMap<String, Vec<RemoteFile>>> = BTreeMap::new();
        for file in files {
            let Some((config, split)) = place(&file.name) else { continue };
            configs.entry(config).or_default().entry(split).or_default().push(file);
        }
        let found = match config {
            Some(config) => configs.remove(&Some(config.to_owned())),
            None => {
                configs.remove(&None).or_else(|| configs.remove(&Some("default".to_owned()))).or_else(|| {
                    // The only one need not be named.
                    if configs.len() == 1 { configs.pop_first().map(|(_, splits)| splits) } else { None }
                })
            }
        };
        if let Some(mut splits) = found {
            splits.values_mut().for_each(|files| files.sort_by(|a, b| a.name.cmp(&b.name)));
            return Ok(Chosen { id: id.clone(), commit: listing.commit, splits });
        }
        known.extend(configs.into_keys().flatten());
    }
    known.sort();
    known.dedup();
    match (known.is_empty(), config) {
        (true, None) => bail!("{}: expected a data set with files of Parquet, found none", id.name),
        (true, Some(config)) => bail!("{}: expected files of Parquet for {config}, found none", id.name),
        (false, _) => {
            let more = known.len().saturating_sub(30);
            known.truncate(30);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            bail!("{}: expected --config with one of {}{more}", id.name, known.join(", "))
        }
    }
}

/// What a path in a repository says: the set, none for the only one, and the split. None where it says no split.
fn place(path: &str) -> Option<(Option<String>, String)> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.strip_suffix(".parquet")?;
    let mut folders: Vec<&str> = folders.split('/').filter(|folder| !["", "data"].contains(folder)).collect();
    let split = match stem.chars().all(|c| c.is_ascii_digit()) {
        // CONFIG/SPLIT/0000.parquet: what is large is converted in part.
        true => {
            let folder = folders.pop()?;
            folder.strip_prefix("partial-").unwrap_or(folder)
        }
        // SPLIT-00000-of-00006.parquet, perhaps with a hash behind it, or SPLIT.parquet.
        false => stem
            .match_indices('-')
            .find(|(at, _)| is_number(&stem[at + 1..]))
            .map_or(stem, |(at, _)| &stem[..at]),
    };
    let config = match folders.as_slice() {
        [] => None,
        [config] => Some((*config).to_owned()),
        _ => return None,
    };
    let sound = is_plain(split) && config.as_deref().is_none_or(is_plain);
    sound.then(|| (config, split.to_owned()))
}

/// Whether a name goes on with the number of a file: `00000`, `00000-of-00006`, perhaps with more behind it.
fn is_number(rest: &str) -> bool {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits >= 4 && (rest.len() == digits || rest[digits..].starts_with("-of-"))
}

/// Whether a word can stand in a file's name anywhere.
fn is_plain(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !word.is_empty() && word.len() <= 100 && !word.starts_with('.') && word.chars().all(allowed)
}

/// The names of a split's files in the folder.
fn named<'a>(split: &str, files: &'a [RemoteFile]) -> Vec<(Fetched, &'a RemoteFile)> {
    let count = files.len();
    let name = |number: usize| match count {
        1 => format!("{split}.parquet"),
        _ => format!("{split}-{number:05}-of-{count:05}.parquet"),
    };
    let fetched = |(number, file): (usize, &'a RemoteFile)| {
        let (split, hash) = (split.to_owned(), file.hash.clone());
        (Fetched { name: name(number), split, size: file.size, hash }, file)
    };
    files.iter().enumerate().map(fetched).collect()
}

/// Whether a file is there, with its contents.
fn is_right(place: &Path, file: &Fetched) -> bool {
    let size = fs::metadata(place).is_ok_and(|about| about.len() == file.size);
    size && digest::of_file(place, &file.hash).is_ok_and(|hash| hash == file.hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_paths() {
        let parse = |text: &str| Reference::parse(Path::new(text));
        assert_eq!(parse("a/b.txt").unwrap(), None);
        let whole = parse("hf:wikimedia/wikipedia@v1:20231101.pt:train").unwrap().unwrap();
        assert_eq!((whole.id.name.as_str(), whole.id.revision.as_str()), ("wikimedia/wikipedia", "v1"));
        assert_eq!((whole.config.as_deref(), whole.split.as_deref()), (Some("20231101.pt"), Some("train")));
        assert_eq!(parse("hf:squad").unwrap().unwrap().config, None);
        let proposed = parse("hf:a/b@refs/pr/4:c").unwrap().unwrap();
        assert_eq!((proposed.id.revision.as_str(), proposed.config.as_deref()), ("refs/pr/4", Some("c")));
        for bad in ["hf:a/b@../c", "hf:", "hf:../x", "hf:a/b:..", "hf:a/b:c:d:e", "hf:a/b:c/d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_say_their_split() {
        let found = |path: &str| place(path).map(|(config, split)| (config.unwrap_or_default(), split));
        let place = |config: &str, split: &str| Some((config.to_owned(), split.to_owned()));
        assert_eq!(found("20231101.pt/train-00000-of-00006.parquet"), place("20231101.pt", "train"));
        assert_eq!(
            found("mnli/validation_matched-00000-of-00001.parquet"),
            place("mnli", "validation_matched")
        );
        assert_eq!(found("data/test-00000-of-00001-0a1b2c3d4e5f6789.parquet"), place("", "test"));
        assert_eq!(found("default/partial-train/0003.parquet"), place("default", "train"));
        assert_eq!(found("train.parquet"), place("", "train"));
        assert_eq!(found("0000.parquet"), None);
        assert_eq!(found("a/b/c/train.parquet"), None);
    }
}
