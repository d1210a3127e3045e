//! The files of a folder or archive, and why others are passed over.

use std::borrow::Cow;
use std::sync::Arc;

use super::kinds::{Format, is_nameless, recognise};
use super::sniff::{self, Kind};
use super::source::{READABLE, Source};
use crate::budget;
use crate::{Error, Result};

/// What a file takes in the list, its name and place with it, in bytes.
const PER_FILE: u64 = 1024;

/// The files to read, and what stood beside them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The files, in the order in which they are read.
    pub files: Vec<Source>,
    /// What folders and archives hold besides, each with its reason.
    pub passed_over: Vec<String>,
}

/// Takes a file of a folder or archive, or says why it is passed over. `head` gives its first bytes.
pub(super) fn take(
    source: Source,
    head: impl FnOnce() -> Result<Vec<u8>>,
    found: &mut Sources,
) -> Result<()> {
    let name = source.path.display().to_string();
    let reason: Option<Cow<'static, str>> = match source.format {
        // Whoever names a format names it for what would be taken anyway, and for what has no ending.
        _ if !is_nameless(&source.path) && recognise(&source.path).is_none() => {
            Some("of no known kind".into())
        }
        Some(Format::Parquet) => match sniff::kind(&head()?) {
            Kind::Parquet => None,
            Kind::Json => Some("no Parquet but JSON".into()),
            Kind::Text => Some("no Parquet but text".into()),
            _ => Some("no Parquet".into()),
        },
        Some(_) => None,
        None => match sniff::kind(&head()?) {
            Kind::Text | Kind::Json | Kind::Parquet => None,
            // Only what is in it says what it is.
            Kind::Packed(_) => match source.open(None, &Arc::default()) {
                // A damaged one is told when it is read, as everywhere.
                Err(Error::File { found, expected, .. }) if expected == READABLE => Some(found.into()),
                _ => None,
            },
            Kind::Other(kind) => Some(kind.into()),
            Kind::Zip | Kind::Tar => Some("an archive whose name does not say so".into()),
        },
    };
    // Of an archive of a few megabytes there may be millions.
    if (found.files.len() + found.passed_over.len()) as u64 >= budget::get() / PER_FILE {
        return Err(budget::exceeded(&source.path, "a list of files", "more of them"));
    }
    match reason {
        None => found.files.push(source),
        Some(reason) => found.passed_over.push(format!("{name} ({reason})")),
    }
    Ok(())
}
