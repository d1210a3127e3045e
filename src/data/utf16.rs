//! UTF-16 to UTF-8, as it is read.

use std::io::{self, Read};

/// Reads UTF-16 and gives UTF-8. What is no UTF-16, half a pair or half a unit, becomes a byte that is no UTF-8, so that
/// whoever reads on replaces and counts it like any other.
pub(super) struct Utf16 {
    source: Box<dyn Read + Send>,
    little_endian: bool,
    /// Bytes that were read and not yet decoded: of a unit or a pair that is not whole.
    raw: Vec<u8>,
    decoded: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Utf16 {
    /// Goes on after `raw`, the bytes that follow the mark.
    pub(super) fn new(source: Box<dyn Read + Send>, little_endian: bool, raw: Vec<u8>) -> Self {
        Utf16 { source, little_endian, raw, decoded: Vec::new(), taken: 0, ended: false }
    }

    fn decode(&mut self) {
        self.decoded.clear();
        self.taken = 0;
        let unit = |pair: &[u8]| match self.little_endian {
            true => u16::from_le_bytes([pair[0], pair[1]]),
            false => u16::from_be_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = self.raw.chunks_exact(2).map(unit).collect();
        let odd = self.raw.len() % 2;
        // The first half of a pair waits for the second.
        if !self.ended && units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
        }
        self.raw.drain(..units.len() * 2);
        for character in char::decode_utf16(units) {
            match character {
                Ok(character) => {
                    self.decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Err(_) => self.decoded.push(0xff),
            }
        }
        if self.ended && odd == 1 {
            self.raw.clear();
            self.decoded.push(0xff);
        }
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.decoded.len() {
            if self.ended && self.raw.is_empty() {
                return Ok(0);
            }
            let before = self.raw.len();
            self.raw.resize(before + (1 << 15), 0);
            let count = self.source.read(&mut self.raw[before..]);
            self.raw.truncate(before + *count.as_ref().unwrap_or(&0));
            self.ended |= count? == 0;
            self.decode();
        }
        let count = buffer.len().min(self.decoded.len() - self.taken);
        buffer[..count].copy_from_slice(&self.decoded[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
