//! A part of an output, which one of several processes writes, and which knows that it is whole.
//!
//! Its file holds the records of its items, one after the other, then a line of JSON that says of what it is a part, and
//! how it was made, and a last line with the length and checksum of that one. So a part may be copied from machine to
//! machine, and a copy that broke off is told from a whole one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::work_shard::{Seen, WorkShard};
use super::{Disk, Output, Store, format_of, refuse_newer};
use crate::{Error, Result};

/// The layout this code writes and reads.
const FORMAT: u32 = 1;

/// What is read of a file at once, in bytes.
const BUFFER: usize = 1 << 16;

const WHOLE: &str = "a whole part of an output, as --shard writes it";

/// What stands before the length in the last line.
const MARK: &[u8] = b"\nwgrad part ";

/// The last line, with the line end before it: the mark, twelve digits of length, eight of checksum.
const LAST: usize = MARK.len() + 12 + 1 + 8 + 1;

/// The last line of a part whose line of JSON has this length and checksum.
fn last_line(length: u64, sum: u32) -> Vec<u8> {
    [MARK, format!("{length:012} {sum:08x}\n").as_bytes()].concat()
}

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
    /// Begins the part of `output` that `shard` makes. One of an earlier time is removed, so that nobody takes it for this
    /// one, should this one not be finished.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] where no file can be written; [`Error::Config`] as [`WorkShard::part`].
    pub fn create(output: &Path, shard: WorkShard) -> Result<Self> {
        let path = shard.part(output)?;
        let out = Output::create(&path)?;
        if path.is_file() {
            // Of a link, what it leads to, which is what will be replaced.
            Disk.remove_file(&path.canonicalize().map_err(Error::io(&path, "find"))?)?;
        }
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
        out.put(&last_line(json.len() as u64, crc32fast::hash(&json)))?;
        out.finish()
    }
}

/// The records of a part, of which every byte was compared with its checksum, and is so again as they are read.
#[derive(Debug)]
pub struct Records {
    pub(super) path: PathBuf,
    reader: BufReader<Hashed>,
    /// The checksum of all records.
    sum: u32,
}

/// The records of a file, hashed as they come from there.
#[derive(Debug)]
struct Hashed {
    records: Take<File>,
    hasher: crc32fast::Hasher,
}

impl Hashed {
    /// The first `bytes` of a file, anew.
    fn begin(mut file: File, bytes: u64) -> std::io::Result<Self> {
        file.rewind()?;
        Ok(Hashed { records: file.take(bytes), hasher: crc32fast::Hasher::new() })
    }

    /// The checksum of what was read.
    fn sum(&self) -> u32 {
        self.hasher.clone().finalize()
    }
}

impl Read for Hashed {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let length = self.records.read(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }
}

impl Records {
    /// Opens a part.
    ///
    /// # Errors
    /// [`Error::File`] for one that is not whole; [`Error::Newer`]; [`Error::Io`].
    pub(super) fn open(path: &Path) -> Result<(Records, About)> {
        let torn = |found: &str| torn(path, found);
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
        // Numbers can be spelt in several ways, and a part in one.
        let spelt = |(json, sum): &(u64, u32)| last_line(*json, *sum) == line && *json <= length - last;
        let Some((json_length, sum)) = numbers.filter(spelt) else {
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
        let mut records = Hashed::begin(file, about.bytes).map_err(read())?;
        std::io::copy(&mut BufReader::with_capacity(BUFFER, &mut records), &mut std::io::sink())
            .map_err(read())?;
        if records.sum() != about.crc32 {
            return Err(torn("one that has changed"));
        }
        let records = Hashed::begin(records.records.into_inner(), about.bytes).map_err(read())?;
        let reader = BufReader::with_capacity(BUFFER, records);
        Ok((Records { path: path.to_path_buf(), reader, sum: about.crc32 }, about))
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

    /// Refuses records that nobody has read, and those that have changed since the part was opened.
    pub(super) fn end(&mut self) -> Result<()> {
        let read_all = self.reader.fill_buf().map_err(Error::io(&self.path, "read"))?.is_empty();
        match read_all {
            false => Err(Error::file(&self.path, "one record for each item", "more")),
            true if self.reader.get_ref().sum() == self.sum => Ok(()),
            true => Err(torn(&self.path, "one that has changed while it was read")),
        }
    }
}

/// The refusal of a part that is not whole.
fn torn(path: &Path, found: &str) -> Error {
    Error::file(path, WHOLE, format!("{found}: copy it or compute it again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Parts;

    /// A part of three records, the only one of `output`.
    fn write(output: &Path, kind: &str) -> PathBuf {
        let mut part = PartWriter::create(output, WorkShard::new(1, 1).unwrap()).unwrap();
        let path = part.path().to_path_buf();
        [b"one\n", b"two\n", b"six\n"].iter().for_each(|record| part.put(1, *record).unwrap());
        let making =
            Making { kind: kind.to_owned(), same: BTreeMap::new(), device: None, details: Value::Null };
        part.finish(Seen { items: 3, digest: 7 }, making).unwrap();
        path
    }

    #[test]
    fn records_that_change_while_they_are_read_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let path = write(&output, "lines");
        let whole = std::fs::read(&path).unwrap();
        for changed in [false, true] {
            let mut parts = Parts::open(&output).unwrap();
            if changed {
                std::fs::write(&path, [b"ane", &whole[3..]].concat()).unwrap();
            }
            let mut lines = Vec::new();
            while let Some(records) = parts.next_item() {
                records.line(&mut lines).unwrap();
            }
            let found = parts.finish().map_err(|error| error.to_string());
            match changed {
                false => assert_eq!((found, &lines[..]), (Ok(()), &b"one\ntwo\nsix\n"[..])),
                true => assert!(found.unwrap_err().contains("one that has changed while it was read")),
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let path = write(&output, "lines");
        let whole = std::fs::read(&path).unwrap();
        Parts::open(&output).unwrap();
        for bit in (0..8 * whole.len()).step_by(3) {
            let mut other = whole.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, other).unwrap();
            let told = Parts::open(&output).unwrap_err().to_string();
            let which = "output.1-of-1: expected a whole part of an output, as --shard writes it, found one";
            assert!(told.contains(which), "bit {bit}: {told}");
        }
    }

    #[test]
    fn the_last_line_is_spelt_in_one_way() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let mut letters = 0;
        for kind in ["a", "b", "c", "d"] {
            let path = write(&output, kind);
            let whole = std::fs::read(&path).unwrap();
            let (rest, sum) = whole.split_at(whole.len() - 9);
            let upper = [rest, &sum.to_ascii_uppercase()].concat();
            letters += usize::from(upper != whole);
            std::fs::write(&path, &upper).unwrap();
            assert_eq!(Parts::open(&output).is_ok(), upper == whole);
            let mut signed = whole.clone();
            signed[rest.len() - 13] = b'+';
            std::fs::write(&path, signed).unwrap();
            assert!(Parts::open(&output).is_err());
        }
        assert!(letters > 0, "no checksum has a letter");
    }

    #[test]
    fn a_part_of_an_earlier_time_is_gone_when_another_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let path = write(&output, "lines");
        let part = PartWriter::create(&output, WorkShard::new(1, 1).unwrap()).unwrap();
        assert!(!path.exists());
        drop(part);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
