//! Which files are read, and how their bytes are unpacked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::Memory;
use crate::{Error, Result};

/// How a file spells documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain text.
    Text,
    /// One JSON object per line.
    JsonLines,
    /// Comma-separated values with a header; quotes as in RFC 4180.
    Csv,
    /// Tab-separated values with a header; no quoting, as GLUE's files have it.
    Tsv,
}

/// How a file is packed. Files of several members are read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
    /// `.zst`
    Zstd,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is; `-` is the standard input.
    pub path: PathBuf,
    /// How it spells documents.
    pub format: Format,
    /// How it is packed.
    pub compression: Compression,
    /// Its size on disk in bytes; none for the standard input.
    pub size: Option<u64>,
}

const EXPECTED: &str = "a name ending in .txt, .jsonl, .csv or .tsv, alone or with .gz, .bz2 or .zst";

/// The format and packing that a file's name tells; none if it tells neither.
pub fn recognise(path: &Path) -> Option<(Format, Compression)> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let (stem, ending) = name.rsplit_once('.')?;
    let (ending, compression) = match ending {
        "gz" => (stem.rsplit_once('.')?.1, Compression::Gzip),
        "bz2" => (stem.rsplit_once('.')?.1, Compression::Bzip2),
        "zst" => (stem.rsplit_once('.')?.1, Compression::Zstd),
        _ => (ending, Compression::None),
    };
    let format = match ending {
        "txt" => Format::Text,
        "jsonl" | "ndjson" => Format::JsonLines,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        _ => return None,
    };
    Some((format, compression))
}

/// The files named by `inputs`: files, folders (walked in the order of their names; hidden, linked and
/// unrecognised entries are passed over), and `-` for plain text on the standard input.
///
/// # Errors
/// A file that is missing or of no known kind, or nothing to read at all.
pub fn sources(inputs: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            let (path, format, compression) = (input.clone(), Format::Text, Compression::None);
            sources.push(Source { path, format, compression, size: None });
            continue;
        }
        let metadata = std::fs::metadata(input).map_err(Error::io(input, "read"))?;
        if metadata.is_dir() {
            let before = sources.len();
            walk(input, &mut sources)?;
            if sources.len() == before {
                return Err(Error::file(input, format!("a folder of files with {EXPECTED}"), "none"));
            }
        } else {
            let Some((format, compression)) = recognise(input) else {
                return Err(Error::file(input, EXPECTED, "another"));
            };
            sources.push(Source { path: input.clone(), format, compression, size: Some(metadata.len()) });
        }
    }
    if sources.is_empty() {
        return Err(Error::config("files", "at least one file or folder", "none"));
    }
    Ok(sources)
}

fn walk(folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = entries.map_err(Error::io(folder, "read the folder"))?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Not followed through links, so that no loop is entered.
        let kind = entry.file_type().map_err(Error::io(&path, "read"))?;
        if kind.is_dir() {
            walk(&path, sources)?;
        } else if let Some((format, compression)) = recognise(&path)
            && let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            sources.push(Source { path, format, compression, size: Some(metadata.len()) });
        }
    }
    Ok(())
}

/// The sources of `inputs`, which are files in memory, in the order given.
///
/// # Errors
/// A file that is missing or of no known kind, or nothing to read at all.
pub fn sources_in(files: &Memory, inputs: &[PathBuf]) -> Result<Vec<Source>> {
    let source = |path: &PathBuf| {
        let (format, compression) = recognise(path).ok_or_else(|| Error::file(path, EXPECTED, "another"))?;
        let bytes = files.get(path).ok_or_else(|| Error::file(path, "a file to read", "none"))?;
        Ok(Source { path: path.clone(), format, compression, size: Some(bytes.len() as u64) })
    };
    if inputs.is_empty() {
        return Err(Error::config("files", "at least one file to read", "none"));
    }
    inputs.iter().map(source).collect()
}

impl Source {
    /// The unpacked bytes, taken from `memory` if it has the file. `read` is raised by the bytes taken.
    ///
    /// # Errors
    /// A file that cannot be opened. Reading gives an [`io::Error`] that wraps an [`Error`]; see [`unwrap_io`].
    pub fn open(&self, memory: Option<&Memory>, read: &Arc<AtomicU64>) -> Result<Box<dyn Read + Send>> {
        let raw: Box<dyn Read + Send> = match (self.size, memory.and_then(|files| files.get(&self.path))) {
            (_, Some(bytes)) => Box::new(io::Cursor::new(bytes.to_vec())),
            (None, None) => Box::new(io::stdin()),
            (Some(_), None) => Box::new(File::open(&self.path).map_err(Error::io(&self.path, "read"))?),
        };
        let mut raw = BufReader::with_capacity(1 << 17, Counted { raw, read: read.clone() });
        let kind = match self.compression {
            Compression::None => {
                return Ok(Box::new(Named { source: raw, path: self.path.clone(), kind: "" }));
            }
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Zstd => "zstd",
        };
        // The decoders take an empty file for an empty stream, but no packer writes one.
        if raw.fill_buf().map_err(Error::io(&self.path, "read"))?.is_empty() {
            return Err(Error::file(&self.path, format!("a whole {kind} stream"), "an empty file"));
        }
        let source: Box<dyn Read + Send> = match self.compression {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            #[cfg(not(target_arch = "wasm32"))]
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
            #[cfg(not(target_arch = "wasm32"))]
            _ => {
                let decoder = zstd::stream::read::Decoder::with_buffer(raw);
                Box::new(decoder.map_err(Error::io(&self.path, "unpack"))?)
            }
            // Their decoders are C, which is not part of a page.
            #[cfg(target_arch = "wasm32")]
            _ => {
                return Err(Error::file(
                    &self.path,
                    "plain or gzip text in a page",
                    format!("a {kind} file"),
                ));
            }
        };
        Ok(Box::new(Named { source, path: self.path.clone(), kind }))
    }
}

struct Counted {
    raw: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Puts the file's name on what goes wrong.
struct Named<R> {
    source: R,
    path: PathBuf,
    /// The packing, or nothing.
    kind: &'static str,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            io::Error::other(if self.kind.is_empty() {
                Error::io(&self.path, "read")(error)
            } else {
                let found = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "a truncated one".to_owned(),
                    _ => format!("a broken one ({error})"),
                };
                Error::file(&self.path, format!("a whole {} stream", self.kind), found)
            })
        })
    }
}

/// The [`Error`] inside an [`io::Error`] from [`Source::open`]'s reader.
pub fn unwrap_io(error: io::Error, path: &Path) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::io(path, "read"))
}
