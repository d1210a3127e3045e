//! Rows of tables: the wanted columns of `.csv`, `.tsv`, JSON and Parquet files, with the line of each row.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::clean::{CleanReader, Repairs};
use super::json_rows::{self, Complaint, Found, Layout};
use super::lost::{Fault, Lost, Tally};
#[cfg(not(target_arch = "wasm32"))]
use super::parquet_rows::ParquetRows;
use super::separated::{self, Columns, csv_error};
use super::source::{FileOptions, Format, Opened, Source, unwrap_io};
use crate::budget::{self, Kept};
use crate::store::Memory;
use crate::{Error, Result};

/// What a value that is kept takes beside its bytes and its tokens, in bytes.
const PER_VALUE: u64 = 160;

/// What is to be read of a file.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The columns: by name, by number, counted from 1, or `a.b` for a field of a structure.
    pub columns: &'a [String],
    /// What the lines of plain text, which has no columns, are.
    pub lines: Lines,
    /// Whether a row that cannot be used gives empty values in its place; otherwise it is left out.
    pub keep_places: bool,
}

/// What the lines of plain text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// No rows: a table is wanted.
    Refused,
    /// Rows of one value; blank lines are passed over.
    Texts,
    /// Rows of one value, blank ones among them.
    AllTexts,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, counted from 1; of Parquet the number of the row.
    pub line: u64,
    /// One value per wanted column.
    pub values: Vec<String>,
}

/// The rows of one file, one after the other. Those that cannot be used are counted, and what [`Wanted`] says is done
/// with them.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    columns: Vec<String>,
    keep_places: bool,
    /// Whether a list is a value, as the text of its JSON.
    lists: bool,
    /// Whether whoever reads says what counts as a row, of which these are parts.
    parts: bool,
    /// How much the rows given so far take, where whoever reads keeps them all.
    kept: Option<Kept>,
    tally: Tally,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Separated {
        reader: Box<csv::Reader<CleanReader>>,
        record: csv::StringRecord,
        indices: Vec<usize>,
        /// How many columns a row must have.
        width: usize,
    },
    Json {
        reader: CleanReader,
        layout: Layout,
        line: u64,
        buffer: Vec<u8>,
    },
    /// Texts without columns.
    Lines {
        reader: CleanReader,
        line: u64,
        buffer: Vec<u8>,
        blank: bool,
    },
    #[cfg(not(target_arch = "wasm32"))]
    Parquet(Box<ParquetRows>),
}

/// A row, or why it is none, on its line.
type Read = (u64, Result<Vec<String>, Failure>);

enum Failure {
    /// What the first row lacks, the others lack too.
    Missing(Complaint),
    Broken(Complaint),
}

impl Rows {
    /// Opens `source`, in `memory` if it is there, and finds the columns. `read` is raised by the bytes taken.
    ///
    /// # Errors
    /// A file that cannot be opened, a header that lacks a column, or plain text where a table is wanted.
    pub fn open(
        source: &Source,
        memory: Option<&Memory>,
        wanted: &Wanted<'_>,
        options: &FileOptions,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        Self::over(source, source.open(memory, read)?, wanted, options, read)
    }

    /// As [`Rows::open`], of a source that is open.
    pub(super) fn over(
        source: &Source,
        opened: Opened,
        wanted: &Wanted<'_>,
        options: &FileOptions,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let path = source.path.clone();
        let clean = |reader| {
            let mut clean = CleanReader::new(reader, &path, options.strict);
            clean.set_budget(budget::record_limit());
            clean
        };
        let table = match (opened.format, wanted.lines) {
            (Format::Text, Lines::Refused) => {
                let expected = "a table (.csv, .tsv, .jsonl or .parquet; --format overrules the name)";
                return Err(Error::file(&path, expected, "plain text"));
            }
            (Format::Text, lines) => Table::Lines {
                reader: clean(opened.reader),
                line: 0,
                buffer: Vec::new(),
                blank: lines == Lines::AllTexts,
            },
            (Format::Json, _) => {
                let (layout, buffer) = (Layout::Unknown, Vec::new());
                Table::Json { reader: clean(opened.reader), layout, line: 0, buffer }
            }
            (format @ (Format::Csv | Format::Tsv), _) => {
                let found = separated::open(clean(opened.reader), format, wanted.columns, options, &path)?;
                let Columns { reader, indices, width } = found;
                Table::Separated { reader, record: csv::StringRecord::new(), indices, width }
            }
            #[cfg(not(target_arch = "wasm32"))]
            (Format::Parquet, _) => Table::Parquet(Box::new(ParquetRows::open(&path, wanted.columns, read)?)),
            #[cfg(target_arch = "wasm32")]
            (Format::Parquet, _) => {
                // Only Parquet counts its bytes itself.
                let _ = read;
                return Err(Error::file(&path, "a table for a page", "Parquet"));
            }
        };
        let tally = Tally::new(&path, options.strict, options.lenient);
        let (columns, keep_places) = (wanted.columns.to_vec(), wanted.keep_places);
        Ok(Rows { path, columns, keep_places, lists: false, parts: false, kept: None, tally, table })
    }

    /// The same rows, where a list of a JSON or Parquet file is a value too: the text of its JSON. Otherwise a row with one
    /// in a wanted column cannot be used.
    #[must_use]
    pub fn with_lists(self) -> Self {
        Rows { lists: true, ..self }
    }

    /// The same rows as parts of larger ones, which whoever reads [counts](Rows::count): it is of those that no more than
    /// one in a hundred may be lost, and [`Rows::finish`] says so at the end.
    #[must_use]
    pub fn in_parts(self) -> Self {
        Rows { parts: true, ..self }
    }

    /// The same rows, all of which whoever reads keeps: more of them than the memory that texts may take are an error.
    #[must_use]
    pub fn kept(self) -> Self {
        Rows { kept: Some(Kept::default()), ..self }
    }

    /// The memory that the rows read so far take, for who keeps them longer than these.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn take_kept(&mut self) -> Kept {
        self.kept.take().unwrap_or_default()
    }

    /// One of the larger rows is whole, or lost.
    pub fn count(&mut self) {
        self.tally.row();
    }

    /// All parts were read.
    ///
    /// # Errors
    /// As [`Rows::next_row`] at the end.
    pub fn finish(&self) -> Result<()> {
        self.tally.finish()
    }

    /// Whether the rows are the lines of plain text.
    pub fn is_text(&self) -> bool {
        matches!(self.table, Table::Lines { .. })
    }

    /// What was put right so far.
    pub fn repairs(&self) -> Repairs {
        match &self.table {
            Table::Separated { reader, .. } => *reader.get_ref().repairs(),
            Table::Json { reader, .. } | Table::Lines { reader, .. } => *reader.repairs(),
            #[cfg(not(target_arch = "wasm32"))]
            Table::Parquet(_) => Repairs::default(),
        }
    }

    /// What the numbers of a wanted column are called, where the file itself says it: Parquet as Hugging Face's `datasets`
    /// writes it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn class_names(&self, column: usize) -> Option<Vec<String>> {
        match &self.table {
            Table::Parquet(rows) => rows.class_names(column),
            _ => None,
        }
    }

    /// The rows that could not be used so far.
    pub fn lost(&self) -> &Lost {
        self.tally.lost()
    }

    /// The row read last cannot be used by whoever reads.
    ///
    /// # Errors
    /// [`Error::Line`] under `strict`.
    pub fn lose(&mut self, line: u64, expected: &str, found: String) -> Result<()> {
        self.tally.lose(Fault { line, expected: expected.to_owned(), found, path: None })
    }

    /// The next row; none at the end. Null is an empty value.
    ///
    /// # Errors
    /// [`Error::Line`] for a row that cannot be used: under `strict` at once; for a column that the first row lacks at
    /// once too; otherwise at the end, when more than one row in a hundred was lost and the options are not `lenient`.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        loop {
            let Some((line, read)) = self.table.next(&self.columns, self.lists, &self.path)? else {
                if !self.parts {
                    self.tally.finish()?;
                }
                return Ok(None);
            };
            if !self.parts {
                self.tally.row();
            }
            let (expected, found) = match read {
                Ok(values) => {
                    if let Some(kept) = &mut self.kept {
                        // A text, and its tokens beside it.
                        let bytes = values.iter().map(|value| PER_VALUE + 2 * value.len() as u64).sum();
                        kept.add(bytes, &self.path)?;
                    }
                    return Ok(Some(Row { line, values }));
                }
                Err(Failure::Missing((expected, found))) if self.tally.is_first() => {
                    return Err(Error::Line { path: self.path.clone(), line, expected, found });
                }
                Err(Failure::Missing(complaint) | Failure::Broken(complaint)) => complaint,
            };
            self.tally.lose(Fault { line, expected, found, path: None })?;
            if self.keep_places {
                return Ok(Some(Row { line, values: vec![String::new(); self.columns.len().max(1)] }));
            }
        }
    }
}

impl Table {
    fn next(&mut self, columns: &[String], lists: bool, path: &Path) -> Result<Option<Read>> {
        match self {
            Table::Separated { reader, record, indices, width } => {
                reader.get_mut().set_budget(budget::record_limit());
                if !reader.read_record(record).map_err(|error| csv_error(error, path))? {
                    return Ok(None);
                }
                let line = record.position().map_or(0, csv::Position::line);
                if *width != record.len() {
                    let mut found = record.len().to_string();
                    if record.len() > *width {
                        found += " (a text with separators belongs in quotation marks)";
                    }
                    return Ok(Some((line, Err(Failure::Broken((format!("{width} columns"), found))))));
                }
                let values = indices.iter().map(|&index| record.get(index).unwrap_or_default().to_owned());
                Ok(Some((line, Ok(values.collect()))))
            }
            Table::Json { reader, layout, line, buffer } => {
                reader.set_budget(budget::record_limit());
                let begun = json_rows::next_object(reader, layout, line, buffer);
                let Some(begun) = begun.map_err(|error| unwrap_io(error, path))? else { return Ok(None) };
                let values = match json_rows::values(buffer, columns, lists) {
                    Found::Values(values) => Ok(values),
                    Found::Missing(complaint) => Err(Failure::Missing(complaint)),
                    Found::Broken(complaint) => Err(Failure::Broken(complaint)),
                };
                Ok(Some((begun, values)))
            }
            Table::Lines { reader, line, buffer, blank } => loop {
                buffer.clear();
                reader.set_budget(budget::record_limit());
                if reader.read_until(b'\n', buffer).map_err(|error| unwrap_io(error, path))? == 0 {
                    return Ok(None);
                }
                *line += 1;
                if *blank || !buffer.trim_ascii().is_empty() {
                    let text = String::from_utf8_lossy(buffer);
                    return Ok(Some((*line, Ok(vec![text.trim_end_matches('\n').to_owned()]))));
                }
            },
            #[cfg(not(target_arch = "wasm32"))]
            Table::Parquet(rows) => {
                let row = rows.next_row(lists)?;
                Ok(row.map(|(number, values)| (number, values.map_err(Failure::Broken))))
            }
        }
    }
}
