//! Which files are read, and how their bytes are unpacked.

use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
#[cfg(not(target_arch = "wasm32"))]
use std::io::BufRead;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kinds::packing_by_name;
pub use super::kinds::{Compression, FileOptions, Format, recognise};
use super::sniff;
#[cfg(not(target_arch = "wasm32"))]
use super::sniff::Kind;
use crate::budget;
use crate::store::Memory;
use crate::{Error, Result};

/// A file to read, or a member of an archive.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is; `-` is the standard input. Of a member: the archive's path and the member's name.
    pub path: PathBuf,
    /// How it spells documents, by its name or by what the caller says; what has no name is told by its content.
    pub format: Option<Format>,
    /// How it is packed, by its name. A packed file with another name is known by its content.
    pub compression: Compression,
    /// Its size on disk in bytes; none for the standard input, pipes and devices.
    pub size: Option<u64>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) member: Option<Arc<dyn Member>>,
}

/// A member of an archive.
#[cfg(not(target_arch = "wasm32"))]
pub(super) trait Member: fmt::Debug + Send + Sync {
    /// Its bytes; `path` is for messages.
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>>;
}

/// A file that is open.
pub struct Opened {
    /// How it spells documents.
    pub format: Format,
    /// Its unpacked bytes. Of Parquet those of the file, which is read from its end.
    pub reader: Box<dyn Read + Send>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Source {
    /// A file of which no more is known than its name and what a caller says.
    pub(super) fn named(path: PathBuf, size: Option<u64>, options: &FileOptions) -> Source {
        let known = recognise(&path).filter(|_| path.as_os_str() != "-");
        let compression = known.map_or_else(|| packing_by_name(&path), |(_, compression)| compression);
        let format = options.format.or(known.map(|(format, _)| format));
        Source {
            path,
            format,
            compression,
            size,
            #[cfg(not(target_arch = "wasm32"))]
            member: None,
        }
    }

    /// Opens the file, or the one that `memory` has of its name. `read` is raised by the bytes taken.
    ///
    /// # Errors
    /// A file that cannot be opened, or that holds what its name does not say. Reading gives an [`io::Error`] that wraps
    /// an [`Error`]; see [`unwrap_io`].
    pub fn open(&self, memory: Option<&Memory>, read: &Arc<AtomicU64>) -> Result<Opened> {
        let raw: Box<dyn Read + Send> = match memory.and_then(|files| files.get(&self.path)) {
            Some(bytes) => Box::new(io::Cursor::new(bytes.to_vec())),
            None => self.raw()?,
        };
        let failed = |error| unwrap_io(error, &self.path);
        let (head, raw) = sniff::peek(Box::new(Counted { raw, read: read.clone() })).map_err(failed)?;
        let named = self.compression;
        let packing = match named {
            Compression::None => sniff::packing(&head).unwrap_or(named),
            _ => named,
        };
        let reader = self.unpacked(packing, head.is_empty(), raw)?;
        #[cfg(target_arch = "wasm32")]
        return Ok(Opened { format: self.format.unwrap_or(Format::Text), reader });
        #[cfg(not(target_arch = "wasm32"))]
        {
            // What unpacks to nothing wants to be told by who reads on: the error is the decoder's.
            let (head, reader) = match packing {
                Compression::None => (head, reader),
                _ => sniff::peek(reader).map_err(failed)?,
            };
            let plain = packing == Compression::None && self.member.is_none() && self.size.is_some();
            Ok(Opened { format: self.told(sniff::kind(&head), &head, plain)?, reader })
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn raw(&self) -> Result<Box<dyn Read + Send>> {
        Err(Error::file(&self.path, "a file in memory", "none"))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn raw(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.member {
            Some(member) => member.open(&self.path)?,
            None if self.path.as_os_str() == "-" => Box::new(io::stdin()),
            None => Box::new(File::open(&self.path).map_err(Error::io(&self.path, "read"))?),
        })
    }

    /// How the file spells documents, given what its content is. `plain` is a file that can be read from its end.
    #[cfg(not(target_arch = "wasm32"))]
    fn told(&self, kind: Kind, head: &[u8], plain: bool) -> Result<Format> {
        let wrong = |expected: &str, found: &str| Err(Error::file(&self.path, expected, found));
        let text = READABLE;
        match (kind, self.format) {
            (Kind::Parquet, _) if !plain => wrong(
                text,
                "packed or piped Parquet, which is read from its end (unpack it into a file first)",
            ),
            (Kind::Parquet, None | Some(Format::Parquet)) => Ok(Format::Parquet),
            (Kind::Parquet, Some(_)) => wrong(text, "Parquet (name it .parquet)"),
            (Kind::Zip, _) => wrong(text, "a zip archive or an Office document (name an archive .zip)"),
            (Kind::Tar, _) => wrong(text, "a tar archive (name it .tar, .tar.gz, .tar.xz, …)"),
            (Kind::Packed(_), _) => wrong(text, "what is packed twice (unpack it once)"),
            (Kind::Other(name), _) => wrong(text, name),
            (Kind::Json, Some(Format::Parquet)) => {
                wrong("Parquet", "JSON (name it .jsonl, or --format json)")
            }
            (Kind::Text, Some(Format::Parquet)) if head.is_empty() => wrong("Parquet", "an empty file"),
            (Kind::Text, Some(Format::Parquet)) => wrong("Parquet", "text"),
            (Kind::Text, Some(format)) if format != Format::Text && is_page(head) => {
                wrong("a table", "an HTML page (a download that failed?)")
            }
            (_, Some(format)) => Ok(format),
            (Kind::Json, None) => Ok(Format::Json),
            (Kind::Text, None) => Ok(Format::Text),
        }
    }

    /// The unpacked bytes of `raw`, which is `empty` or not.
    pub(super) fn unpacked(
        &self,
        packing: Compression,
        empty: bool,
        raw: Box<dyn Read + Send>,
    ) -> Result<Box<dyn Read + Send>> {
        let raw = BufReader::with_capacity(1 << 17, raw);
        let kind = match packing {
            Compression::None => {
                return Ok(Box::new(Named { source: raw, path: self.path.clone(), kind: "" }));
            }
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
        };
        // The decoders take an empty file for an empty stream, but no packer writes one.
        if empty {
            return Err(Error::file(&self.path, format!("a whole {kind} stream"), "an empty file"));
        }
        let source: Box<dyn Read + Send> = match packing {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            #[cfg(not(target_arch = "wasm32"))]
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
            #[cfg(not(target_arch = "wasm32"))]
            Compression::Xz => xz(raw, true).map_err(Error::io(&self.path, "unpack"))?,
            #[cfg(not(target_arch = "wasm32"))]
            _ => zstd(raw).map_err(Error::io(&self.path, "unpack"))?,
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

/// Unpacks zstd, which holds in memory how far back a stream refers: at most the whole budget. Some large public dumps, packed
/// with `--long=31`, refer back 2 GiB.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn zstd(raw: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(
        budget::get().ilog2().clamp(20, if cfg!(target_pointer_width = "64") { 31 } else { 30 }),
    )?;
    Ok(Box::new(decoder))
}

/// Unpacks xz, of one stream or of `several`.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn xz(raw: impl BufRead + Send + 'static, several: bool) -> io::Result<Box<dyn Read + Send>> {
    let flags = if several { liblzma::stream::CONCATENATED } else { 0 };
    let stream = liblzma::stream::Stream::new_auto_decoder(budget::get(), flags)?;
    Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(raw, stream)))
}

/// Whether a decoder ended because the stream asks for more memory than it may have.
pub(super) fn is_memory(error: &io::Error) -> bool {
    let text = error.to_string();
    ["too much memory", "memory limit"].iter().any(|told| text.contains(told))
}

/// Whether an HTML page begins so.
#[cfg(not(target_arch = "wasm32"))]
fn is_page(head: &[u8]) -> bool {
    let start: Vec<u8> = head.trim_ascii_start().iter().take(9).map(u8::to_ascii_lowercase).collect();
    start.starts_with(b"<!doctype") || start.starts_with(b"<html")
}

/// The sources of `inputs`, which are files in memory, in the order given.
///
/// # Errors
/// A file that is missing or of no known kind, or nothing to read at all.
pub fn sources_in(files: &Memory, inputs: &[PathBuf], options: &FileOptions) -> Result<Vec<Source>> {
    let source = |path: &PathBuf| {
        let bytes = files.get(path).ok_or_else(|| Error::file(path, "a file to read", "none"))?;
        let source = Source::named(path.clone(), Some(bytes.len() as u64), options);
        match source.format {
            None | Some(Format::Parquet) => Err(Error::file(path, EXPECTED_IN_PAGE, "another")),
            _ => Ok(source),
        }
    };
    if inputs.is_empty() {
        return Err(Error::config("files", "at least one file to read", "none"));
    }
    inputs.iter().map(source).collect()
}

/// What every file of texts is expected to be.
#[cfg(not(target_arch = "wasm32"))]
pub(super) const READABLE: &str = "text or a table";

const EXPECTED_IN_PAGE: &str = "a name ending in .txt, .jsonl, .csv or .tsv, alone or with .gz";

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
                    _ if is_memory(&error) => {
                        format!("one that takes more memory to unpack than texts may ({})", budget::HINT)
                    }
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
