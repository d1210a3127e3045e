//! A part of an output, which one of several processes writes, and which knows that it is whole.
//!
//! Its file holds the records of its items, one after the other, then a line of JSON that says of what it is a part, and
//! how it was made, and a last line with the length and checksum of that one. So a part may be copied from machine to
//! machine, and a copy that broke off is told from a whole one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::work_shard::{Seen, WorkShard};
use super::{Output, format_of, refuse_newer};
use crate::{Error, Result};

/// The layout this code writes and reads.
const FORMAT: u32 = 1;

/// What stands before the length in the last line.
const MARK: &[u8] = b"\nwgrad part ";

/// The last line, with the line end before it: the mark, twelve digits of length, eight of checksum.
const LAST: usize = MARK.len() + 12 + 1 + 8 + 1;

/// What a part is of, and how it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// What the records are: vectors, predictions, documents.
    pub kind: String,
    /// All that the records follow from: what is the same in all parts of one output.
    pub same: BTreeMap<String, String>,
    /// What they were computed on, which may differ.
    pub device: Option<String>,
    /// What whoever puts the parts together needs to know beside; that of the first part counts.
    pub details: Value,
}

/// What the line of JSON says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    format: u32,
    pub shard: WorkShard,
    /// How many records there are.
    items: u64,
    /// How many items there are in all parts, and their digest.
    pub total: u64,
    pub digest: String,
    /// The length and checksum of the records.
    bytes: u64,
    crc32: u32,
    #[serde(flatten)]
    pub making: Making,
}

/// A part that is being written; its file appears when it is whole.
#[derive(Debug)]
pub struct PartWriter {
    path: PathBuf,
    shard: WorkShard,
    out: Output,
    hasher: crc32fast::Hasher,
    bytes: u64,
    items: u64,
}

impl PartWriter {
    /// Begins the part of `output` that `shard` makes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(output: &Path, shard: WorkShard) -> Result<Self> {
        let path = shard.part(output);
        let out = Output::create(&path)?;
        Ok(PartWriter { path, shard, out, hasher: crc32fast::Hasher::new(), bytes: 0, items: 0 })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose part it is.
    pub fn shard(&self) -> WorkShard {
        self.shard
    }

    /// Appends the records of so many items.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&mut self, items: u64, records: &[u8]) -> Result<()> {
        self.items += items;
        self.bytes += records.len() as u64;
        self.hasher.update(records);
        self.out.put(records)
    }

    /// Ends the part and gives the file its name; `seen` are the items of all parts.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] where records are missing.
    pub fn finish(self, seen: Seen, making: Making) -> Result<()> {
        let PartWriter { path, shard, mut out, hasher, bytes, items } = self;
        let expected = shard.items(seen.items);
        if items != expected {
            return Err(Error::file(path, format!("records of {expected} items"), items.to_string()));
        }
        let digest = format!("{:016x}", seen.digest);
        let (total, crc32) = (seen.items, hasher.finalize());
        let about = About { format: FORMAT, shard, items, total, digest, bytes, crc32, making };
        // Strings and whole numbers always serialise, and without a line end.
        let json = serde_json::to_vec(&about).unwrap_or_default();
        out.put(&json)?;
        out.put(MARK)?;
        out.put(format!("{:012} {:08x}\n", json.len(), crc32fast::hash(&json)).as_bytes())?;
        out.finish()
    }
}

/// The records of a part, of which every byte was compared with its checksum.
#[derive(Debug)]
pub struct Records {
    pub(super) path: PathBuf,
    reader: BufReader<std::io::Take<File>>,
}

impl Records {
    /// Opens a part.
    ///
    /// # Errors
    /// [`Error::File`] for one that is not whole; [`Error::Newer`]; [`Error::Io`].
    pub(super) fn open(path: &Path) -> Result<(Records, About)> {
        const WHOLE: &str = "a whole part of an output, as --shard writes it";
        let torn = |found: &str| Error::file(path, WHOLE, format!("{found}: copy it or compute it again"));
        let read = || Error::io(path, "read");
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let length = file.metadata().map_err(read())?.len();
        let mut tail = |back: u64, bytes: u64| {
            let mut piece = vec![0; bytes as usize];
            let read_piece =
                file.seek(SeekFrom::Start(length - back)).and_then(|_| file.read_exact(&mut piece));
            read_piece.map(|()| piece).map_err(read())
        };
        let last = LAST as u64;
        let line = if length < last { Vec::new() } else { tail(last, last)? };
        let numbers = line.strip_prefix(MARK).and_then(|line| std::str::from_utf8(line).ok());
        let numbers = numbers.and_then(|line| line.strip_suffix('\n')?.split_once(' '));
        let numbers = numbers
            .and_then(|(bytes, sum)| Some((bytes.parse::<u64>().ok()?, u32::from_str_radix(sum, 16).ok()?)));
        let Some((json_length, sum)) = numbers.filter(|(json, _)| *json <= length - last) else {
            return Err(torn("one whose end is missing, or another file"));
        };
        let json = tail(last + json_length, json_length)?;
        if crc32fast::hash(&json) != sum {
            return Err(torn("one that has changed"));
        }
        refuse_newer(path, "a part of an output", format_of(&json, "format"), FORMAT)?;
        let about: About =
            serde_json::from_slice(&json).map_err(|error| Error::file(path, WHOLE, error.to_string()))?;
        if about.bytes != length - last - json_length || about.items != about.shard.items(about.total) {
            return Err(torn("one of another length"));
        }
        file.rewind().map_err(read())?;
        let mut records = BufReader::with_capacity(1 << 16, file.take(about.bytes));
        let mut hasher = crc32fast::Hasher::new();
        loop {
            let bytes = records.fill_buf().map_err(read())?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            let length = bytes.len();
            records.consume(length);
        }
        if hasher.finalize() != about.crc32 {
            return Err(torn("one that has changed"));
        }
        let mut file = records.into_inner().into_inner();
        file.rewind().map_err(read())?;
        let reader = BufReader::with_capacity(1 << 16, file.take(about.bytes));
        Ok((Records { path: path.to_path_buf(), reader }, about))
    }

    /// Appends the next line to `line`, its end with it.
    ///
    /// # Errors
    /// [`Error::File`] where there is none; [`Error::Io`].
    pub fn line(&mut self, line: &mut Vec<u8>) -> Result<()> {
        self.reader.read_until(b'\n', line).map_err(Error::io(&self.path, "read"))?;
        match line.last() {
            Some(b'\n') => Ok(()),
            _ => Err(Error::file(&self.path, "a line for each item", "fewer")),
        }
    }

    /// Fills `bytes` with the next ones.
    ///
    /// # Errors
    /// [`Error::Io`], also where there are too few.
    pub fn exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.reader.read_exact(bytes).map_err(Error::io(&self.path, "read"))
    }

    /// Refuses records that nobody has read.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.reader.fill_buf().map_err(Error::io(&self.path, "read"))? {
            [] => Ok(()),
            _ => Err(Error::file(&self.path, "one record for each item", "more")),
        }
    }
}
