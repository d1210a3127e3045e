//! The pages of a Parquet file, weighed as they are read: a page is unpacked at once, and neither the size that stands before
//! it nor that of its column at the end of the file need be true.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::budget;
use crate::format::thousands;

/// Structures in structures; no page's header has more than three.
const DEEPEST: u32 = 8;
/// How many bytes a byte of deflate unpacks to at most.
const DEFLATED: u64 = 1032;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What an entry of a dictionary takes beside its text, in bytes.
const PER_ENTRY: u64 = 32;

/// A file whose pages are refused when they are larger, packed or unpacked, than half of the budget: a page and what is
/// decoded of it are in memory at once.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    /// Whether the reader has begun to read pages; before that it reads what the file says of itself.
    begun: AtomicBool,
    /// What a value of a list takes in memory, in bytes; 0 where there are no lists.
    per_value: AtomicU64,
    /// Where the contents of pages begin whose header was read and they were not, and how many of their bytes are not packed:
    /// of a column with lists the reader looks at the next header before it goes to another column.
    ahead: Mutex<HashMap<u64, u64>>,
}

impl Pages {
    pub(super) fn new(path: &Path, file: File) -> Self {
        let ahead = Mutex::default();
        let (begun, per_value) = (AtomicBool::new(false), AtomicU64::new(0));
        Pages(Arc::new(Inner { path: path.to_path_buf(), file, begun, per_value, ahead }))
    }

    /// From here on what is read are pages. All values of one may be those of one list, and take so many bytes each in memory.
    pub(super) fn begin(&self, per_value: u64) {
        self.0.per_value.store(per_value, Ordering::Relaxed);
        self.0.begun.store(true, Ordering::Relaxed);
    }

    /// Refuses a page of so many bytes, or what becomes of it, where they are too many.
    fn weigh(&self, what: &'static str, bytes: u64) -> Result<(), ParquetError> {
        if bytes <= most() {
            return Ok(());
        }
        let found =
            format!("one of {} MB or more (or write it with smaller pages)", thousands(bytes / 1_000_000));
        let error = budget::exceeded(&self.0.path, what, found);
        Err(ParquetError::External(Box::new(error)))
    }
}

/// How large a page may be.
fn most() -> u64 {
    budget::get() / 2
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.file.len()
    }
}

impl ChunkReader for Pages {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut ahead = self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        // The reader asks for the contents of a page, too, when it has looked at the header before.
        if self.0.begun.load(Ordering::Relaxed) && !ahead.contains_key(&start) {
            let mut input = self.0.file.get_read(start)?;
            let header = Header::read(&mut input)?;
            // Some bytes may say that there are a billion nulls.
            let listed = header.values.saturating_mul(self.0.per_value.load(Ordering::Relaxed));
            self.weigh("pages that unpack", header.unpacked.max(header.packed))?;
            self.weigh("lists that unpack", listed / 2)?;
            self.weigh("dictionaries that unpack", header.entries.saturating_mul(PER_ENTRY))?;
            ahead.insert(input.stream_position()?, header.plain);
        }
        self.0.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if !self.0.begun.load(Ordering::Relaxed) {
            return self.0.file.get_bytes(start, length);
        }
        self.weigh("pages that unpack", length as u64)?;
        let bytes = self.0.file.get_bytes(start, length)?;
        let mut ahead = self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let plain = ahead.remove(&start).unwrap_or_default() as usize;
        drop(ahead);
        let packed = bytes.get(plain..).unwrap_or_default();
        // Of what a page may be packed with, only this is unpacked to its end, whatever its header says.
        if packed.starts_with(GZIP) && packed.len() as u64 * DEFLATED > most() {
            let mut unpacked = MultiGzDecoder::new(packed).take(most() + 1);
            let (mut counted, mut piece) = (0, [0; 1 << 14]);
            // What is broken is for whoever unpacks it to tell.
            while let Ok(count @ 1..) = unpacked.read(&mut piece) {
                counted += count as u64;
            }
            self.weigh("pages that unpack", counted)?;
        }
        Ok(bytes)
    }
}

/// What stands before a page, in Thrift's compact protocol.
#[derive(Debug, Default)]
struct Header {
    /// How many bytes the page has unpacked and packed, and how many of them are at its beginning and never packed.
    unpacked: u64,
    packed: u64,
    plain: u64,
    values: u64,
    /// Those of a dictionary, for which room is made before they are read.
    entries: u64,
}

impl Header {
    fn read(input: impl Read) -> io::Result<Self> {
        let mut header = Header::default();
        let (mut sizes, mut broken) = (0, false);
        Fields(input).structure(0, 0, &mut |within, field, number| {
            let size = match (within, field) {
                (0, 2) => &mut header.unpacked,
                (0, 3) => &mut header.packed,
                (5 | 8, 1) => &mut header.values,
                (7, 1) => &mut header.entries,
                // The definition and repetition levels of the second form of pages.
                (8, 5 | 6) => &mut header.plain,
                _ => return,
            };
            sizes += usize::from(within == 0);
            broken |= number < 0;
            *size = size.saturating_add(number.unsigned_abs());
        })?;
        if sizes == 2 && !broken { Ok(header) } else { Err(self::broken()) }
    }
}

struct Fields<R>(R);

impl<R: Read> Fields<R> {
    /// Reads all fields of a structure, and hands on its numbers by their fields, and by the field that it is itself.
    fn structure(&mut self, depth: u32, within: i64, each: &mut dyn FnMut(i64, i64, i64)) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(broken());
        }
        let mut field = 0;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            // The number of a field, or how much higher it is than the one before.
            field = match byte >> 4 {
                0 => self.number()?,
                more => i64::wrapping_add(field, i64::from(more)),
            };
            match byte & 15 {
                // A truth is in the type.
                1 | 2 => {}
                4..=6 => each(within, field, self.number()?),
                // Only what stands in the outermost one matters.
                12 if depth == 0 => self.structure(1, field, each)?,
                kind => self.skip(kind, depth)?,
            }
        }
    }

    /// Passes over a value.
    fn skip(&mut self, kind: u8, depth: u32) -> io::Result<()> {
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.number().map(drop),
            7 => self.bytes(8),
            8 => self.unsigned().and_then(|length| self.bytes(length)),
            12 => self.structure(depth + 1, 0, &mut |_, _, _| {}),
            // Neither lists nor maps are in the header of a page.
            _ => Err(broken()),
        }
    }

    fn bytes(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut self.0.by_ref().take(count), &mut io::sink()).map(drop)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn unsigned(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err(broken())
    }

    /// A number whose lowest bit is its sign.
    fn number(&mut self) -> io::Result<i64> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "pages that begin as none does")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

    use super::*;

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        for number in [0, 1, 127, 128, 129, 16_383, 16_384, 1 << 35, u64::MAX] {
            let mut bytes = Vec::new();
            let mut left = number;
            while left > 127 {
                bytes.push(left as u8 | 128);
                left >>= 7;
            }
            bytes.push(left as u8);
            assert_eq!(Fields(&bytes[..]).unsigned().unwrap(), number);
            bytes.pop();
            assert!(Fields(&bytes[..]).unsigned().is_err());
        }
        assert!(Fields(&[255; 11][..]).unsigned().is_err());
    }
}
