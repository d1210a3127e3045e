//! Rows of tables: the wanted columns of `.csv`, `.tsv` and `.jsonl` files, with the line of each row.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Map, Value};

use super::clean::{CleanReader, Repairs};
use super::source::{Format, Source, unwrap_io};
use crate::format::shortened;
use crate::store::Memory;
use crate::{Error, Result};

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// JSON objects; blank lines are passed over.
    Json,
    /// Texts; blank lines are passed over.
    Texts,
    /// Texts, blank ones among them.
    AllTexts,
}

/// A longer record is refused: it bounds memory, and is mostly a quotation mark left open.
const MAX_RECORD: u64 = 256 << 20;

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, counted from 1.
    pub line: u64,
    /// One value per wanted column.
    pub values: Vec<String>,
}

/// The rows of one file, one after the other.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    columns: Vec<String>,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Separated {
        reader: Box<csv::Reader<CleanReader>>,
        record: csv::StringRecord,
        indices: Vec<usize>,
        /// How many columns a row must have where no header says so.
        width: Option<usize>,
    },
    /// JSON objects, or texts without columns.
    Lines { reader: CleanReader, line: u64, buffer: Vec<u8>, kind: Lines },
}

impl Rows {
    /// Opens `source`, in `memory` if it is there, and finds the `columns`. `read` is raised by the bytes taken.
    ///
    /// # Errors
    /// A file that cannot be opened, or a header that lacks a column. Plain text is no table.
    pub fn open(
        source: &Source,
        memory: Option<&Memory>,
        columns: &[String],
        strict: bool,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let path = source.path.clone();
        let mut clean = CleanReader::new(source.open(memory, read)?, &path, strict);
        clean.set_budget(MAX_RECORD);
        let columns = columns.to_vec();
        let table = match source.format {
            Format::Text => return Err(Error::file(&path, "a table (.csv, .tsv or .jsonl)", "plain text")),
            Format::JsonLines => {
                Table::Lines { reader: clean, line: 0, buffer: Vec::new(), kind: Lines::Json }
            }
            Format::Csv => separated(clean, b',', true, &columns, &path)?,
            Format::Tsv => separated(clean, b'\t', false, &columns, &path)?,
        };
        Ok(Rows { path, columns, table })
    }

    /// Opens tab-separated values without a header and quoting: each row has `width` columns, of which those at
    /// `indices` are wanted.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open_headless(
        source: &Source,
        indices: &[usize],
        width: usize,
        strict: bool,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let path = source.path.clone();
        let clean = CleanReader::new(source.open(None, read)?, &path, strict);
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(b'\t').quoting(false).has_headers(false).flexible(true);
        let (reader, record) = (Box::new(builder.from_reader(clean)), csv::StringRecord::new());
        let table = Table::Separated { reader, record, indices: indices.to_vec(), width: Some(width) };
        Ok(Rows { path, columns: Vec::new(), table })
    }

    /// Opens plain text: each line is a row of one value, blank ones only if `keep_blank`.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open_lines(
        source: &Source,
        keep_blank: bool,
        strict: bool,
        read: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let path = source.path.clone();
        let reader = CleanReader::new(source.open(None, read)?, &path, strict);
        let kind = if keep_blank { Lines::AllTexts } else { Lines::Texts };
        let table = Table::Lines { reader, line: 0, buffer: Vec::new(), kind };
        Ok(Rows { path, columns: Vec::new(), table })
    }

    /// What was put right so far.
    pub fn repairs(&self) -> &Repairs {
        match &self.table {
            Table::Separated { reader, .. } => reader.get_ref().repairs(),
            Table::Lines { reader, .. } => reader.repairs(),
        }
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// [`Error::Line`] for a row with the wrong columns.
    pub fn next_row(&mut self) -> Result<Option<Row>> {
        match &mut self.table {
            Table::Separated { reader, record, indices, width } => {
                reader.get_mut().set_budget(MAX_RECORD);
                if !reader.read_record(record).map_err(|error| csv_error(error, &self.path))? {
                    return Ok(None);
                }
                let line = record.position().map_or(0, csv::Position::line);
                if let Some(width) = width.filter(|&width| width != record.len()) {
                    let (path, expected) = (self.path.clone(), format!("{width} columns"));
                    return Err(Error::Line { path, line, expected, found: record.len().to_string() });
                }
                let values = indices.iter().map(|&index| record.get(index).unwrap_or_default().to_owned());
                Ok(Some(Row { line, values: values.collect() }))
            }
            Table::Lines { reader, line, buffer, kind } => loop {
                buffer.clear();
                reader.set_budget(MAX_RECORD);
                let count = reader.read_until(b'\n', buffer).map_err(|error| unwrap_io(error, &self.path))?;
                if count == 0 {
                    return Ok(None);
                }
                *line += 1;
                if buffer.trim_ascii().is_empty() && *kind != Lines::AllTexts {
                    continue;
                }
                if *kind != Lines::Json {
                    let text = String::from_utf8_lossy(buffer);
                    let values = vec![text.trim_end_matches('\n').to_owned()];
                    return Ok(Some(Row { line: *line, values }));
                }
                let values = json_values(buffer, &self.columns).map_err(|(expected, found)| {
                    let (path, line) = (self.path.clone(), *line);
                    Error::Line { path, line, expected, found }
                })?;
                return Ok(Some(Row { line: *line, values }));
            },
        }
    }
}

fn separated(
    clean: CleanReader,
    delimiter: u8,
    quoting: bool,
    columns: &[String],
    path: &Path,
) -> Result<Table> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.delimiter(delimiter).quoting(quoting).from_reader(clean);
    let header = reader.headers().map_err(|error| csv_error(error, path))?;
    let find = |column: &String| {
        let found = header.iter().position(|name| name.trim() == column);
        found.ok_or_else(|| missing_column(path, column, header.iter()))
    };
    let indices = columns.iter().map(find).collect::<Result<Vec<_>>>()?;
    let (reader, record) = (Box::new(reader), csv::StringRecord::new());
    Ok(Table::Separated { reader, record, indices, width: None })
}

fn missing_column<'a>(path: &Path, column: &str, header: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<_> = header.take(20).map(|name| format!("`{}`", shortened(name, 40))).collect();
    Error::Line {
        path: path.to_path_buf(),
        line: 1,
        expected: format!("a column called `{column}`"),
        found: if names.is_empty() { "no columns".to_owned() } else { names.join(", ") },
    }
}

fn csv_error(error: csv::Error, path: &Path) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let at =
        |expected: String, found: String| Error::Line { path: path.to_path_buf(), line, expected, found };
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unwrap_io(error, path),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            at(format!("{expected_len} columns"), len.to_string())
        }
        other => at("a row of the table".to_owned(), format!("{other:?}")),
    }
}

/// The wanted fields of one JSON object; numbers and booleans as they are written.
fn json_values(line: &[u8], columns: &[String]) -> Result<Vec<String>, (String, String)> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| ("a JSON object".to_owned(), error.to_string()))?;
    let value = |column: &String| match object.remove(column) {
        Some(Value::String(text)) => Ok(text),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(other) => {
            let kind = match other {
                Value::Null => "null",
                Value::Array(_) => "an array",
                _ => "an object",
            };
            Err((format!("a string in `{column}`"), kind.to_owned()))
        }
        None => {
            let names: Vec<_> =
                object.keys().take(20).map(|name| format!("`{}`", shortened(name, 40))).collect();
            let found = if names.is_empty() { "no fields".to_owned() } else { names.join(", ") };
            Err((format!("a field called `{column}`"), found))
        }
    };
    columns.iter().map(value).collect()
}
