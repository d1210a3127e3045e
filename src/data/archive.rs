//! The members of zip and tar archives, read as they stand.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use zip::CompressionMethod;

use super::kinds::{Compression, FileOptions};
use super::listing::{Sources, take};
use super::sniff::HEAD;
use super::source::{self, Member, Source};
use crate::{Error, Result};

/// Where a member lies in its archive.
#[derive(Debug, Clone)]
enum Place {
    /// In a zip archive: `packed` bytes from `start` on.
    Zip { archive: PathBuf, start: u64, packed: u64, method: CompressionMethod, crc32: u32 },
    /// In a tar archive: `size` bytes from `start` on, of the unpacked stream.
    Tar { start: u64, size: u64, stream: Arc<TarStream> },
}

/// A tar archive whose members are read one after the other, so that a packed one is unpacked once for all.
#[derive(Debug)]
struct TarStream {
    archive: PathBuf,
    compression: Compression,
    /// The stream where the member read last left it.
    open: Mutex<Option<At>>,
}

/// A stream of which so many bytes were read.
struct At {
    reader: Box<dyn Read + Send>,
    position: u64,
}

impl std::fmt::Debug for At {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("At").field("position", &self.position).finish_non_exhaustive()
    }
}

/// How a tar archive is packed whose name is so; none for other names.
fn tar_by_name(path: &Path) -> Option<Compression> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let endings = [
        (Compression::None, &[".tar"][..]),
        (Compression::Gzip, &[".tar.gz", ".tgz"]),
        (Compression::Bzip2, &[".tar.bz2", ".tbz2"]),
        (Compression::Xz, &[".tar.xz", ".txz"]),
        (Compression::Zstd, &[".tar.zst", ".tzst"]),
    ];
    let named = endings.iter().find(|(_, endings)| endings.iter().any(|ending| name.ends_with(ending)));
    named.map(|(compression, _)| *compression)
}

fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
}

/// Whether a file's name says that it is an archive.
pub(super) fn is_named(path: &Path) -> bool {
    is_zip(path) || tar_by_name(path).is_some()
}

/// Adds the members of an archive that are texts, in the archive's order, and lists the others.
///
/// # Errors
/// An archive that cannot be read, or is broken.
pub(super) fn members(path: &Path, options: &FileOptions, found: &mut Sources) -> Result<()> {
    match tar_by_name(path) {
        Some(compression) => tar_members(path, compression, options, found),
        None => zip_members(path, options, found),
    }
}

/// Whether an archive's member is what systems leave beside people's files.
fn is_hidden(name: &str) -> bool {
    name.starts_with("__MACOSX/") || name.rsplit('/').next().is_some_and(|last| last.starts_with('.'))
}

fn member_source(archive: &Path, name: &str, size: u64, member: Place, options: &FileOptions) -> Source {
    let source = Source::named(archive.join(name), Some(size), options);
    Source { member: Some(Arc::new(member)), ..source }
}

fn zip_members(path: &Path, options: &FileOptions, found: &mut Sources) -> Result<()> {
    let broken = |error: zip::result::ZipError| match error {
        zip::result::ZipError::Io(error) => Error::io(path, "read")(error),
        other => Error::file(path, "a whole zip archive", format!("a broken one ({other})")),
    };
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(broken)?;
        let name = member.name().map_err(broken)?.trim_start_matches('/').to_owned();
        if member.is_dir() || is_hidden(&name) {
            continue;
        }
        if member.encrypted() {
            found.passed_over.push(format!("{} (encrypted)", path.join(&name).display()));
            continue;
        }
        let Some(start) = member.data_start() else {
            return Err(Error::file(path, "a whole zip archive", format!("no place of `{name}`")));
        };
        let place = Place::Zip {
            archive: path.to_path_buf(),
            start,
            packed: member.compressed_size(),
            method: member.compression(),
            crc32: member.crc32(),
        };
        let source = member_source(path, &name, member.compressed_size(), place.clone(), options);
        let head = || {
            let mut head = Vec::new();
            let member = place.open(&source.path)?;
            member.take(HEAD as u64).read_to_end(&mut head).map_err(Error::io(&source.path, "read"))?;
            Ok(head)
        };
        take(source.clone(), head, found)?;
    }
    Ok(())
}

fn tar_members(
    path: &Path,
    compression: Compression,
    options: &FileOptions,
    found: &mut Sources,
) -> Result<()> {
    let broken =
        |error: io::Error| Error::file(path, "a whole tar archive", format!("a broken one ({error})"));
    let stream = Arc::new(TarStream { archive: path.to_path_buf(), compression, open: Mutex::new(None) });
    // Names may have headers of their own, which are read as a whole.
    let left = Arc::new(AtomicU64::new(MAX_HEADERS));
    let mut archive = tar::Archive::new(Bounded { reader: stream.begin()?, left: left.clone() });
    let mut size = Some(std::fs::metadata(path).map_err(Error::io(path, "read"))?.len());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        left.store(entry.size().saturating_add(MAX_HEADERS), Ordering::Relaxed);
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches('/').to_owned();
        if entry.header().entry_type().is_dir() || is_hidden(&name) {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            found.passed_over.push(format!("{} (a link or a device)", path.join(&name).display()));
            continue;
        }
        let (start, bytes) = (entry.raw_file_position(), entry.size());
        let place = Place::Tar { start, size: bytes, stream: stream.clone() };
        // What is read from the disk is the archive, whose size is counted once.
        let source = member_source(path, &name, size.unwrap_or(0), place, options);
        let before = found.files.len();
        let head = || {
            let mut head = Vec::new();
            entry.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(broken)?;
            Ok(head)
        };
        take(source, head, found)?;
        if found.files.len() > before {
            size = None;
        }
    }
    Ok(())
}

impl TarStream {
    fn begin(&self) -> Result<Box<dyn Read + Send>> {
        let file = File::open(&self.archive).map_err(Error::io(&self.archive, "read"))?;
        Source::named(self.archive.clone(), None, &FileOptions::default()).unpacked(
            self.compression,
            false,
            Box::new(file),
        )
    }
}

impl Member for Place {
    fn open(&self, path: &Path) -> Result<Box<dyn Read + Send>> {
        match self {
            Place::Zip { archive, start, packed, method, crc32 } => {
                let mut file = File::open(archive).map_err(Error::io(archive, "read"))?;
                file.seek(SeekFrom::Start(*start)).map_err(Error::io(archive, "read"))?;
                let raw = BufReader::with_capacity(1 << 17, file.take(*packed));
                let raw: Box<dyn Read + Send> = match *method {
                    CompressionMethod::STORE => Box::new(raw),
                    CompressionMethod::DEFLATE => Box::new(flate2::bufread::DeflateDecoder::new(raw)),
                    CompressionMethod::BZIP2 => Box::new(bzip2::bufread::BzDecoder::new(raw)),
                    CompressionMethod::XZ => source::xz(raw, false).map_err(Error::io(path, "unpack"))?,
                    CompressionMethod::ZSTD => source::zstd(raw).map_err(Error::io(path, "unpack"))?,
                    other => {
                        let expected = "a member packed with deflate, bzip2, xz or zstd (unpack the archive)";
                        return Err(Error::file(path, expected, other.to_string()));
                    }
                };
                Ok(Box::new(Checked {
                    raw,
                    hasher: crc32fast::Hasher::new(),
                    expected: *crc32,
                    path: path.to_path_buf(),
                }))
            }
            Place::Tar { start, size, stream } => {
                let mut open = stream.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let at = open.take().filter(|at| at.position <= *start);
                let mut at = match at {
                    Some(at) => at,
                    None => At { reader: stream.begin()?, position: 0 },
                };
                let skipped = io::copy(&mut at.reader.by_ref().take(start - at.position), &mut io::sink());
                at.position += skipped.map_err(|error| source::unwrap_io(error, path))?;
                Ok(Box::new(TarMember { at: Some(at), end: start + size, stream: stream.clone() }))
            }
        }
    }
}

/// Compares what was unpacked with the checksum that the archive has of it.
struct Checked {
    raw: Box<dyn Read + Send>,
    hasher: crc32fast::Hasher,
    expected: u32,
    path: PathBuf,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ if source::is_memory(&error) => self.broken("it takes more memory to unpack than --memory"),
            _ => self.broken(&error.to_string()),
        })?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.hasher.clone().finalize() != self.expected {
            return Err(self.broken("its checksum is another"));
        }
        Ok(count)
    }
}

impl Checked {
    fn broken(&self, why: &str) -> io::Error {
        io::Error::other(Error::file(
            &self.path,
            "a whole member of the archive",
            format!("a broken one ({why})"),
        ))
    }
}

/// The headers between two members of a tar archive may have so many bytes.
const MAX_HEADERS: u64 = 1 << 20;

/// Gives up where a header is longer than any name.
struct Bounded {
    reader: Box<dyn Read + Send>,
    /// Bytes that may still be read before the next member.
    left: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.load(Ordering::Relaxed).checked_sub(count as u64);
        let left = left.ok_or_else(|| io::Error::other("the header of a member is over a megabyte long"))?;
        self.left.store(left, Ordering::Relaxed);
        Ok(count)
    }
}

/// One member of a tar archive; gives the stream back when it is done.
struct TarMember {
    at: Option<At>,
    end: u64,
    stream: Arc<TarStream>,
}

impl Read for TarMember {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(at) = &mut self.at else { return Ok(0) };
        let left = usize::try_from(self.end - at.position).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        if room == 0 {
            return Ok(0);
        }
        let count = at.reader.read(&mut buffer[..room])?;
        at.position += count as u64;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within a member"));
        }
        Ok(count)
    }
}

impl Drop for TarMember {
    fn drop(&mut self) {
        if let (Some(at), Ok(mut open)) = (self.at.take(), self.stream.open.lock()) {
            *open = Some(at);
        }
    }
}
