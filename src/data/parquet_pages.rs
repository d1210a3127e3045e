//! How large the pages of a Parquet file are, read from what stands before each: a page is unpacked at once, and a column of
//! a row group may be one page or thousands.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Structures in structures; no page's header has more than three.
const DEEPEST: u32 = 8;

/// The largest page, unpacked, in bytes, of those in `length` bytes of the file from `start`.
///
/// # Errors
/// A file that cannot be read, or headers that are none.
pub(super) fn largest(file: &File, start: u64, length: u64) -> io::Result<u64> {
    let mut largest = 0;
    let mut input = BufReader::new(file);
    input.seek(SeekFrom::Start(start))?;
    let end = start.saturating_add(length);
    while input.stream_position()? < end {
        let [unpacked, packed] = Header(&mut input).sizes()?;
        largest = largest.max(unpacked);
        // An offset is signed; what ends before its page is for whoever reads the page to tell.
        input.seek_relative(i64::try_from(packed).map_err(io::Error::other)?)?;
    }
    Ok(largest)
}

/// The beginning of a page, in Thrift's compact protocol.
struct Header<R>(R);

impl<R: Read> Header<R> {
    /// How many bytes the page has unpacked and packed.
    fn sizes(mut self) -> io::Result<[u64; 2]> {
        let mut sizes = [None, None];
        self.structure(0, &mut |field, number| match field {
            2 => sizes[0] = Some(number),
            3 => sizes[1] = Some(number),
            _ => {}
        })?;
        match sizes.map(|size| size.and_then(|size| u64::try_from(size).ok())) {
            [Some(unpacked), Some(packed)] => Ok([unpacked, packed]),
            _ => Err(broken()),
        }
    }

    /// Reads all fields of a structure, and hands on its numbers by their fields.
    fn structure(&mut self, depth: u32, each: &mut dyn FnMut(i64, i64)) -> io::Result<()> {
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
                4..=6 => each(field, self.number()?),
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
            12 => self.structure(depth + 1, &mut |_, _| {}),
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
