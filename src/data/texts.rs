//! Texts one by one, a line or a row each, blank ones included: what goes in has an answer at its place.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::clean::{CleanReader, Repairs};
use super::files::source;
use super::lost::Lost;
use super::rows::{Lines, Rows, Wanted};
use super::source::{FileOptions, Format, Source, unwrap_io};
use crate::Result;
use crate::budget;

/// The texts of one file; an iterator that stops after an error.
#[derive(Debug)]
pub struct Texts {
    source: Source,
    open: Open,
    /// Lines of which a part was passed over.
    truncated: u64,
    failed: bool,
}

#[derive(Debug)]
enum Open {
    Lines(CleanReader),
    Table(Rows),
}

impl Texts {
    /// Opens a file: of a table the texts are in `column`, of any other, and of the standard input, which is `-`, each
    /// line is one, and what it has beyond [`budget::text_limit`] is passed over. Under `strict` what would be put right is refused.
    ///
    /// # Errors
    /// A file that cannot be read, or a table without the column.
    pub fn open(path: &Path, column: &str, options: &FileOptions) -> Result<Self> {
        let source = source(path, options)?;
        let read: Arc<AtomicU64> = Arc::default();
        let opened = source.open(None, &read)?;
        let columns = [column.to_owned()];
        let wanted = Wanted { columns: &columns, lines: Lines::AllTexts, keep_places: true };
        let open = match opened.format {
            Format::Text => Open::Lines(CleanReader::new(opened.reader, path, options.strict)),
            _ => Open::Table(Rows::over(&source, opened, &wanted, options, &read)?),
        };
        Ok(Texts { source, open, truncated: 0, failed: false })
    }

    /// What was put right so far.
    pub fn repairs(&self) -> Repairs {
        match &self.open {
            Open::Lines(reader) => *reader.repairs(),
            Open::Table(rows) => rows.repairs(),
        }
    }

    /// The rows that could not be used, each of which gave an empty text.
    pub fn lost(&self) -> Option<&Lost> {
        match &self.open {
            Open::Lines(_) => None,
            Open::Table(rows) => Some(rows.lost()),
        }
    }

    /// How many lines were so long that their ends were passed over.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    fn next_text(&mut self) -> Result<Option<String>> {
        let reader = match &mut self.open {
            Open::Table(rows) => return Ok(rows.next_row()?.and_then(|row| row.values.into_iter().next())),
            Open::Lines(reader) => reader,
        };
        let failed = |error| unwrap_io(error, &self.source.path);
        let mut line = Vec::new();
        let count =
            reader.by_ref().take(budget::text_limit() as u64).read_until(b'\n', &mut line).map_err(failed)?;
        if count == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if skip_line(reader).map_err(failed)? {
            self.truncated += 1;
        }
        // The reader gives whole characters; only truncating may have split the last one.
        let valid = match std::str::from_utf8(&line) {
            Ok(_) => line.len(),
            Err(error) => error.valid_up_to(),
        };
        line.truncate(valid);
        Ok(Some(String::from_utf8(line).unwrap_or_default()))
    }
}

/// Reads to the end of a line; whether there was anything left of it.
fn skip_line(reader: &mut CleanReader) -> std::io::Result<bool> {
    let mut skipped = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(skipped);
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        skipped |= end != Some(0);
        let taken = end.map_or(bytes.len(), |at| at + 1);
        reader.consume(taken);
        if end.is_some() {
            return Ok(skipped);
        }
    }
}

impl Iterator for Texts {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_text().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], strict: bool) -> (Result<Vec<String>>, u64, Repairs) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("texts");
        std::fs::write(&path, bytes).unwrap();
        let options = FileOptions { strict, ..FileOptions::default() };
        let mut texts = Texts::open(&path, "text", &options).unwrap();
        let all = texts.by_ref().collect();
        (all, texts.truncated(), texts.repairs())
    }

    #[test]
    fn every_line_is_a_text() {
        let (texts, truncated, _) = read(b"a\n\n b \nlast", false);
        assert_eq!(texts.unwrap(), ["a", "", " b ", "last"]);
        assert_eq!(truncated, 0);
        assert!(read(b"", false).0.unwrap().is_empty());
        assert_eq!(read(b"\n", false).0.unwrap(), [""]);
    }

    #[test]
    fn fault_20_broken_bytes_are_replaced_or_refused() {
        let bytes = b"\xef\xbb\xbfa\xff\r\nb\0\n";
        let (texts, _, repairs) = read(bytes, false);
        assert_eq!(texts.unwrap(), ["a\u{fffd}", "b\u{fffd}"]);
        let counts = (repairs.byte_order_marks, repairs.invalid_utf8, repairs.carriage_returns, repairs.nul);
        assert_eq!(counts, (1, 1, 1, 1));
        assert!(read(bytes, true).0.is_err());
    }

    #[test]
    fn fault_21_an_endless_line_is_cut() {
        let mut bytes = "é".repeat(2 << 20).into_bytes();
        bytes.insert(0, b'a');
        bytes.extend(b"\nshort\n");
        let (texts, truncated, _) = read(&bytes, false);
        let texts = texts.unwrap();
        assert_eq!((texts.len(), truncated), (2, 1));
        assert_eq!(texts[0].len(), (2 << 20) - 1);
        assert_eq!(texts[1], "short");
        // A line of just the limit is whole.
        let bytes = [vec![b'x'; 2 << 20], b"\nshort".to_vec()].concat();
        let (texts, truncated, _) = read(&bytes, false);
        assert_eq!((texts.unwrap().len(), truncated), (2, 0));
    }
}
