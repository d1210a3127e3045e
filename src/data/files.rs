//! Which files there are to read: single ones, those of folders, and the members of archives.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive;
use super::kinds::{FileOptions, is_nameless};
pub use super::listing::Sources;
use super::listing::take;
use super::sniff::HEAD;
use super::source::Source;
use crate::{Error, Result};

const EXPECTED: &str = "a name ending in .txt, .jsonl, .json, .csv, .tsv or .parquet, alone or packed (.gz, .bz2, \
                        .zst, .xz, .zip, .tar), or --format";

/// The files named by `inputs`: files, archives, folders (walked in the order of their names; hidden entries are passed
/// over silently, others that are no texts are listed), members of archives as `ARCHIVE/MEMBER`, and `-` for the standard
/// input.
///
/// # Errors
/// A file that is missing or of no known kind, or nothing to read at all.
pub fn sources(inputs: &[PathBuf], options: &FileOptions) -> Result<Sources> {
    let mut found = Sources::default();
    for input in inputs {
        if input.as_os_str() == "-" {
            found.files.push(Source::named(input.clone(), None, options));
            continue;
        }
        let before = found.files.len();
        if let Some(archive) = archive_of(input) {
            let mut members = Sources::default();
            archive::members(archive, options, &mut members)?;
            found.files.extend(members.files.into_iter().filter(|member| member.path == *input));
            if found.files.len() == before {
                let expected = format!("a text that {} holds", archive.display());
                return Err(Error::file(input, expected, "none of this name"));
            }
            continue;
        }
        let about = std::fs::metadata(input).map_err(Error::io(input, "read"))?;
        if about.is_dir() {
            walk(input, options, &mut found)?;
            if found.files.len() == before {
                let none = match found.passed_over.len() {
                    0 => "none".to_owned(),
                    _ => format!("none; passed over: {}", listed(&found.passed_over)),
                };
                return Err(Error::file(input, format!("a folder of files with {EXPECTED}"), none));
            }
        } else if !about.is_file() {
            // A pipe gives what it has once: it is looked into when it is read.
            found.files.push(Source::named(input.clone(), None, options));
        } else if archive::is_named(input) {
            archive::members(input, options, &mut found)?;
            if found.files.len() == before {
                let none = format!("none; passed over: {}", listed(&found.passed_over));
                return Err(Error::file(input, format!("an archive of files with {EXPECTED}"), none));
            }
        } else {
            let source = Source::named(input.clone(), Some(about.len()), options);
            if source.format.is_none() && !is_nameless(input) {
                return Err(Error::file(input, EXPECTED, "another"));
            }
            found.files.push(source);
        }
    }
    if found.files.is_empty() {
        return Err(Error::config("files", "at least one file or folder", "none"));
    }
    Ok(found)
}

/// The one file that `path` names: itself, or the only text of an archive.
///
/// # Errors
/// As [`sources`]; a folder, or an archive of several.
pub fn source(path: &Path, options: &FileOptions) -> Result<Source> {
    if path.is_dir() {
        return Err(Error::file(path, "a file", "a folder"));
    }
    let found = sources(&[path.to_path_buf()], options)?.files;
    let names: Vec<String> = found.iter().map(|source| source.path.display().to_string()).collect();
    found.try_into().map(|[source]: [Source; 1]| source).map_err(|_| {
        let expected = "one file of texts in the archive (unpack it and name the one)";
        Error::file(path, expected, format!("{}: {}", names.len(), listed(&names)))
    })
}

/// The archive of which `path` names a member, as the sources of a folder do; none for what is itself a file.
pub fn archive_of(path: &Path) -> Option<&Path> {
    let mut folders = path.ancestors().skip(1);
    let archive = folders.find(|folder| archive::is_named(folder) && folder.is_file());
    archive.filter(|_| !path.exists())
}

/// Whether a file's name says that it is a zip or tar archive.
pub fn is_archive(path: &Path) -> bool {
    archive::is_named(path)
}

/// The first few of many names.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

fn walk(folder: &Path, options: &FileOptions, found: &mut Sources) -> Result<()> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(Error::io(folder, "read the folder"))?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let mut pass_over = |why: &str| found.passed_over.push(format!("{} ({why})", path.display()));
        // Not followed through links, so that no loop is entered.
        let kind = entry.file_type().map_err(Error::io(&path, "read"))?;
        if kind.is_dir() {
            walk(&path, options, found)?;
            continue;
        }
        let Ok(about) = std::fs::metadata(&path) else {
            pass_over("a link that leads nowhere");
            continue;
        };
        if about.is_dir() {
            pass_over("a link to a folder");
        } else if !about.is_file() {
            pass_over("neither a file nor a folder");
        } else if archive::is_named(&path) {
            archive::members(&path, options, found)?;
        } else {
            let head = || {
                let mut head = Vec::new();
                File::open(&path)
                    .and_then(|file| file.take(HEAD as u64).read_to_end(&mut head))
                    .map_err(Error::io(&path, "read"))?;
                Ok(head)
            };
            take(Source::named(path.clone(), Some(about.len()), options), head, found)?;
        }
    }
    Ok(())
}
