//! Documents out of text files and tables, one after the other, in bounded memory.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::clean::{CleanReader, Repairs};
#[cfg(not(target_arch = "wasm32"))]
use super::files::sources;
use super::lost::Lost;
use super::rows::{Lines, Rows, Wanted};
use super::source::{FileOptions, Format, Source, sources_in, unwrap_io};
use crate::budget;
use crate::store::Memory;
use crate::{Error, Result};

/// What one document of a plain-text file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Documents {
    /// Every line.
    #[default]
    Line,
    /// What stands between blank lines.
    BlankLine,
    /// The whole file.
    File,
}

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The column or field of tables that holds the text: its name, its number, counted from 1, or `a.b`.
    pub text_column: String,
    /// What one document of a plain-text file is.
    pub documents: Documents,
    /// How files are taken.
    pub files: FileOptions,
    /// A document of more bytes is split at white space, or where there is none, between characters. At most
    /// [`budget::document_limit`]; by default 1 MiB where that is more.
    pub document_limit: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            text_column: "text".to_owned(),
            documents: Documents::default(),
            files: FileOptions::default(),
            document_limit: budget::document_limit().min(1 << 20),
        }
    }
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its text; never blank.
    pub text: String,
    /// Which of the reader's files it is from, counted from 0.
    pub source: usize,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadCounts {
    /// Files read.
    pub files: u64,
    /// Documents given.
    pub documents: u64,
    /// Bytes of text in them.
    pub text_bytes: u64,
    /// Rows of tables with a blank text, passed over. Blank lines of plain text are not counted.
    pub blank: u64,
    /// How often a document was split because it was over the limit.
    pub splits: u64,
    /// Rows of tables that could not be used, left out.
    pub left_out: u64,
    /// The first three of them, each with its file, its line and what is wrong.
    pub left_out_first: Vec<String>,
    /// What folders and archives hold beside the files read, each with the reason.
    pub passed_over: Vec<String>,
    /// What was put right.
    #[serde(flatten)]
    pub repairs: Repairs,
}

/// The documents of files and folders; an iterator that stops after an error.
#[derive(Debug)]
pub struct Reader {
    options: ReadOptions,
    sources: Vec<Source>,
    memory: Option<Memory>,
    next_source: usize,
    open: Option<Open>,
    /// A text over the limit, and how much of it was given.
    rest: Option<(String, usize)>,
    counts: ReadCounts,
    read: Arc<AtomicU64>,
    failed: bool,
}

#[derive(Debug)]
enum Open {
    Text { reader: CleanReader, buffer: Vec<u8>, line_start: usize },
    Table(Rows),
}

impl Reader {
    /// Lists the files of `inputs` (see [`sources`]); they are opened as they are reached.
    ///
    /// # Errors
    /// As [`sources`], or a limit of less than 16 bytes or more than [`budget::document_limit`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(inputs: &[PathBuf], options: ReadOptions) -> Result<Self> {
        let found = sources(inputs, &options.files)?;
        let mut reader = Self::over(found.files, None, options)?;
        reader.counts.passed_over = found.passed_over;
        Ok(reader)
    }

    /// Reads files that are held in memory.
    ///
    /// # Errors
    /// As [`sources_in`], or a limit of less than 16 bytes or more than [`budget::document_limit`].
    pub fn open_in(files: &Memory, inputs: &[PathBuf], options: ReadOptions) -> Result<Self> {
        Self::over(sources_in(files, inputs, &options.files)?, Some(files.clone()), options)
    }

    fn over(sources: Vec<Source>, memory: Option<Memory>, options: ReadOptions) -> Result<Self> {
        let most = budget::document_limit();
        if !(16..=most).contains(&options.document_limit) {
            let expected =
                format!("16 to {most} bytes within the memory that texts may take ({})", budget::HINT);
            return Err(Error::config("document-limit", expected, options.document_limit));
        }
        Ok(Reader {
            options,
            sources,
            memory,
            next_source: 0,
            open: None,
            rest: None,
            counts: ReadCounts::default(),
            read: Arc::default(),
            failed: false,
        })
    }

    /// The size of all files on disk in bytes; none if one is the standard input.
    pub fn total_bytes(&self) -> Option<u64> {
        self.sources.iter().map(|source| source.size).sum()
    }

    /// The bytes taken from the disk so far, to be watched from anywhere.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    /// The bytes taken from the disk so far.
    pub fn bytes_read_now(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// What was read so far; repairs are counted when a file is done.
    pub fn counts(&self) -> &ReadCounts {
        &self.counts
    }

    fn next_document(&mut self) -> Result<Option<Document>> {
        loop {
            let text = match self.rest.take() {
                Some((text, given)) => {
                    let left = &text[given..];
                    let piece = left[..boundary(left, self.options.document_limit)].to_owned();
                    if piece.len() < left.len() {
                        self.counts.splits += 1;
                        self.rest = Some((text, given + piece.len()));
                    }
                    Some(piece)
                }
                None => match &mut self.open {
                    None => {
                        let Some(source) = self.sources.get(self.next_source) else { return Ok(None) };
                        self.open = Some(Open::new(source, self.memory.as_ref(), &self.options, &self.read)?);
                        self.next_source += 1;
                        continue;
                    }
                    Some(open) => {
                        let path = &self.sources[self.next_source - 1].path;
                        open.next_text(&self.options, &mut self.counts).map_err(|error| match error {
                            Failure::Io(error) => unwrap_io(error, path),
                            Failure::Told(error) => error,
                        })?
                    }
                },
            };
            let Some(mut text) = text else {
                if let Some(open) = self.open.take() {
                    let source = &self.sources[self.next_source - 1];
                    self.counts.repairs.add(&open.repairs());
                    self.counts.lose(open.lost(), source);
                }
                self.counts.files += 1;
                continue;
            };
            if text.len() > self.options.document_limit {
                self.rest = Some((text, 0));
                continue;
            }
            text.truncate(text.trim_end().len());
            if text.trim_start().is_empty() {
                continue;
            }
            self.counts.documents += 1;
            self.counts.text_bytes += text.len() as u64;
            return Ok(Some(Document { text, source: self.next_source - 1 }));
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_document().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl ReadCounts {
    /// Adds the rows of `source` that were left out.
    fn lose(&mut self, lost: Option<&Lost>, source: &Source) {
        let Some(lost) = lost else { return };
        self.left_out += lost.rows;
        let room = Lost::NAMED - self.left_out_first.len();
        self.left_out_first.extend(lost.told(&source.path).into_iter().take(room));
    }
}

enum Failure {
    Io(std::io::Error),
    Told(Error),
}

impl Open {
    fn new(
        source: &Source,
        memory: Option<&Memory>,
        options: &ReadOptions,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let opened = source.open(memory, read)?;
        if opened.format == Format::Text {
            let reader = CleanReader::new(opened.reader, &source.path, options.files.strict);
            return Ok(Open::Text { reader, buffer: Vec::new(), line_start: 0 });
        }
        let columns = [options.text_column.clone()];
        let wanted = Wanted { columns: &columns, lines: Lines::Refused, keep_places: false };
        Ok(Open::Table(Rows::over(source, opened, &wanted, &options.files, read)?))
    }

    fn repairs(&self) -> Repairs {
        match self {
            Open::Text { reader, .. } => *reader.repairs(),
            Open::Table(rows) => rows.repairs(),
        }
    }

    fn lost(&self) -> Option<&Lost> {
        match self {
            Open::Text { .. } => None,
            Open::Table(rows) => Some(rows.lost()),
        }
    }

    /// The next document, at most a little over the limit if it is plain text; none at the file's end.
    fn next_text(
        &mut self,
        options: &ReadOptions,
        counts: &mut ReadCounts,
    ) -> Result<Option<String>, Failure> {
        match self {
            Open::Table(rows) => loop {
                let Some(row) = rows.next_row().map_err(Failure::Told)? else { return Ok(None) };
                match row.values.into_iter().next() {
                    Some(text) if !text.trim().is_empty() => return Ok(Some(text)),
                    _ => counts.blank += 1,
                }
            },
            Open::Text { reader, buffer, line_start } => loop {
                let ready = reader.fill_buf().map_err(Failure::Io)?;
                if ready.is_empty() {
                    *line_start = 0;
                    return Ok(Some(take_text(buffer)).filter(|text| !text.is_empty()));
                }
                let newline = ready.iter().position(|&byte| byte == b'\n');
                let count = newline.map_or(ready.len(), |index| index + 1);
                buffer.extend_from_slice(&ready[..count]);
                reader.consume(count);
                let complete = newline.is_some() && {
                    let blank = buffer[*line_start..].trim_ascii().is_empty();
                    *line_start = buffer.len();
                    match options.documents {
                        Documents::Line => true,
                        Documents::BlankLine => blank,
                        Documents::File => false,
                    }
                };
                if complete {
                    *line_start = 0;
                    let text = take_text(buffer);
                    if text.trim().is_empty() {
                        continue;
                    }
                    return Ok(Some(text));
                }
                if buffer.len() > options.document_limit {
                    counts.splits += 1;
                    let mut text = take_text(buffer);
                    let rest = text.split_off(boundary(&text, options.document_limit));
                    buffer.extend_from_slice(rest.as_bytes());
                    *line_start = line_start.saturating_sub(text.len()).min(buffer.len());
                    if !text.trim().is_empty() {
                        return Ok(Some(text));
                    }
                }
            },
        }
    }
}

/// Empties the buffer, which holds whole characters of valid UTF-8.
fn take_text(buffer: &mut Vec<u8>) -> String {
    let bytes = std::mem::take(buffer);
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Where to split `text` so that at most `limit` bytes come before: after the last white space there, if any.
fn boundary(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let end = text.floor_char_boundary(limit);
    let space = text[..end].char_indices().rev().find(|(_, character)| character.is_whitespace());
    space.map_or(end, |(index, character)| index + character.len_utf8())
}
