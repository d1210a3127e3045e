//! Bytes of unknown health to valid UTF-8 with plain line ends, in a fixed buffer.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::utf16::Utf16;
use crate::Error;
use crate::budget;
use crate::format::thousands;

/// What was put right on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repairs {
    /// Byte sequences that are no UTF-8, each replaced by U+FFFD.
    pub invalid_utf8: u64,
    /// NUL characters, each replaced by U+FFFD.
    pub nul: u64,
    /// Byte-order marks at the beginning of a file, dropped.
    pub byte_order_marks: u64,
    /// CRLF and CR line ends, each replaced by LF.
    pub carriage_returns: u64,
    /// Files in UTF-16, as their byte-order mark says.
    pub utf16: u64,
}

impl Repairs {
    /// Adds what another file needed.
    pub fn add(&mut self, other: &Repairs) {
        self.invalid_utf8 += other.invalid_utf8;
        self.nul += other.nul;
        self.byte_order_marks += other.byte_order_marks;
        self.carriage_returns += other.carriage_returns;
        self.utf16 += other.utf16;
    }
}

const BUFFER: usize = 1 << 16;
const REPLACEMENT: &str = "\u{fffd}";

/// A reader of valid UTF-8 that repairs and counts, or under `strict` refuses.
///
/// [`BufRead::fill_buf`] always ends at a character's end.
pub struct CleanReader {
    source: Box<dyn Read + Send>,
    path: PathBuf,
    strict: bool,
    /// Bytes read; the last up to three may begin a character that is not yet whole.
    raw: Vec<u8>,
    clean: String,
    /// How much of `clean` was taken.
    taken: usize,
    begun: bool,
    ended: bool,
    /// The last character was a CR that stands for a line end already given.
    after_cr: bool,
    line: u64,
    repairs: Repairs,
    /// Bytes until a record counts as endless.
    budget: u64,
}

impl fmt::Debug for CleanReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanReader")
            .field("path", &self.path)
            .field("line", &self.line)
            .field("repairs", &self.repairs)
            .finish_non_exhaustive()
    }
}

impl CleanReader {
    /// Cleans `source`; `path` is for messages.
    pub fn new(source: Box<dyn Read + Send>, path: &Path, strict: bool) -> Self {
        CleanReader {
            source,
            path: path.to_path_buf(),
            strict,
            raw: Vec::with_capacity(BUFFER + 4),
            clean: String::with_capacity(BUFFER * 2),
            taken: 0,
            begun: false,
            ended: false,
            after_cr: false,
            line: 1,
            repairs: Repairs::default(),
            budget: u64::MAX,
        }
    }

    /// What was put right so far.
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// From here on at most `bytes` may be read until the next call.
    pub fn set_budget(&mut self, bytes: u64) {
        self.budget = bytes;
    }

    /// Puts what was taken back, to be read again after what is left of this buffer's beginning.
    pub(super) fn push_back(&mut self, taken: &[u8]) {
        let text = String::from_utf8_lossy(taken);
        self.clean.insert_str(self.taken, &text);
    }

    /// Counts one repair, or refuses it.
    fn repair(&mut self, count: fn(&mut Repairs) -> &mut u64, found: &str) -> io::Result<()> {
        if self.strict {
            let (path, line) = (self.path.clone(), self.line);
            let expected = "UTF-8 text without NUL, byte-order mark or carriage return (--strict)".to_owned();
            return Err(io::Error::other(Error::Line { path, line, expected, found: found.to_owned() }));
        }
        *count(&mut self.repairs) += 1;
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        self.clean.clear();
        self.taken = 0;
        while self.clean.is_empty() && !self.ended {
            let carried = self.raw.len();
            self.raw.resize(carried + BUFFER, 0);
            let count = loop {
                match self.source.read(&mut self.raw[carried..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            self.raw.truncate(carried + count);
            self.ended = count == 0;
            let mut raw = std::mem::take(&mut self.raw);
            let kept = self.clean_bytes(&raw)?;
            raw.drain(..raw.len() - kept);
            self.raw = raw;
        }
        Ok(())
    }

    /// Cleans `raw` and returns how many bytes at its end must wait for more.
    fn clean_bytes(&mut self, raw: &[u8]) -> io::Result<usize> {
        let mut rest = raw;
        // A byte-order mark takes three bytes to be seen.
        if !self.begun {
            if rest.len() < 3 && !self.ended {
                return Ok(rest.len());
            }
            self.begun = true;
            let little_endian = rest.starts_with(b"\xff\xfe");
            if little_endian || rest.starts_with(b"\xfe\xff") {
                self.repair(|repairs| &mut repairs.utf16, "UTF-16")?;
                let source = std::mem::replace(&mut self.source, Box::new(io::empty()));
                self.source = Box::new(Utf16::new(source, little_endian, rest[2..].to_vec()));
                self.ended = false;
                return Ok(0);
            }
            if let Some(text) = rest.strip_prefix(b"\xef\xbb\xbf") {
                self.repair(|repairs| &mut repairs.byte_order_marks, "a byte-order mark")?;
                rest = text;
            }
        }
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.clean_text(text)?;
                    return Ok(0);
                }
                Err(error) => {
                    let (valid, broken) = rest.split_at(error.valid_up_to());
                    // Valid by the line above; nothing is lost if it were not.
                    self.clean_text(std::str::from_utf8(valid).unwrap_or_default())?;
                    let length = match error.error_len() {
                        None if !self.ended => return Ok(broken.len()),
                        None => broken.len(),
                        Some(length) => length,
                    };
                    self.repair(|repairs| &mut repairs.invalid_utf8, "bytes that are no UTF-8")?;
                    self.after_cr = false;
                    self.clean.push_str(REPLACEMENT);
                    rest = &broken[length..];
                }
            }
        }
    }

    fn clean_text(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        while let Some(index) = rest.bytes().position(|byte| byte == 0 || byte == b'\r') {
            self.push(&rest[..index]);
            let nul = rest.as_bytes()[index] == 0;
            rest = &rest[index + 1..];
            if nul {
                self.repair(|repairs| &mut repairs.nul, "a NUL character")?;
                self.clean.push_str(REPLACEMENT);
            } else {
                self.repair(|repairs| &mut repairs.carriage_returns, "a carriage return")?;
                self.push("\n");
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix('\n').unwrap_or(rest);
            }
        }
        self.push(rest);
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.line += text.bytes().filter(|&byte| byte == b'\n').count() as u64;
        self.clean.push_str(text);
    }
}

impl BufRead for CleanReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken == self.clean.len() {
            self.refill()?;
            match self.budget.checked_sub(self.clean.len() as u64) {
                Some(left) => self.budget = left,
                None => {
                    let most = thousands(budget::record_limit() / 1_000_000);
                    let expected = format!(
                        "a record of at most {most} MB, 1/16 of what texts may take ({})",
                        budget::HINT
                    );
                    let found = "a longer one (is a quotation mark left open?)".to_owned();
                    let (path, line) = (self.path.clone(), self.line);
                    return Err(io::Error::other(Error::Line { path, line, expected, found }));
                }
            }
        }
        Ok(&self.clean.as_bytes()[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.clean.len());
    }
}

impl Read for CleanReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
