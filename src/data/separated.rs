//! Separated values: what divides their columns, and where the wanted ones are.

use std::io::{BufRead, Cursor};
use std::path::Path;

use super::clean::CleanReader;
use super::lost::OTHER_COLUMN;
use super::source::{FileOptions, Format, unwrap_io};
use crate::format::shortened;
use crate::{Error, Result};

/// What divides the columns of a `.csv`, the likeliest first: programs of countries that write a comma in numbers put
/// semicolons there.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A file of separated values, and the wanted columns of it.
pub(super) struct Columns {
    pub(super) reader: Box<csv::Reader<CleanReader>>,
    /// Where the wanted columns are.
    pub(super) indices: Vec<usize>,
    /// How many columns a row must have.
    pub(super) width: usize,
}

/// Opens separated values and finds the wanted columns. In a `.csv` the first separator counts by which the first line has
/// all of them.
///
/// # Errors
/// A first line that lacks a column, whatever divides it, and what reading it says.
pub(super) fn open(
    mut clean: CleanReader,
    format: Format,
    columns: &[String],
    options: &FileOptions,
    path: &Path,
) -> Result<Columns> {
    let separator = separator(&mut clean, format, columns, options, path)?;
    let mut reader = reader(clean, format, separator, options.header);
    // Without a header this is the first row, which is read again as such.
    let header = reader.headers().map_err(|error| csv_error(error, path))?;
    let width = header.len();
    let find = |column: &String| {
        index(header, column, options.header).ok_or_else(|| match options.header {
            true => missing_column(path, column, header.iter()),
            false => Error::Line {
                path: path.to_path_buf(),
                line: 1,
                expected: format!("a column by its number, 1 to {width} (--no-header)"),
                found: format!("`{}`", shortened(column, 40)),
            },
        })
    };
    let indices = columns.iter().map(find).collect::<Result<Vec<_>>>()?;
    Ok(Columns { reader: Box::new(reader), indices, width })
}

/// What the columns of a file with a header are called.
///
/// # Errors
/// What reading its first line says.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn names(
    mut clean: CleanReader,
    format: Format,
    options: &FileOptions,
    path: &Path,
) -> Result<Vec<String>> {
    let separator = separator(&mut clean, format, &[], options, path)?;
    let mut reader = reader(clean, format, separator, true);
    let header = reader.headers().map_err(|error| csv_error(error, path))?;
    Ok(header.iter().map(str::to_owned).collect())
}

/// With tabs no quotation marks count, as GLUE's files have it.
fn reader(source: CleanReader, format: Format, separator: u8, header: bool) -> csv::Reader<CleanReader> {
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(separator).quoting(format != Format::Tsv).flexible(true).has_headers(header);
    builder.from_reader(source)
}

/// What divides the columns: by which the first line has all that are wanted; else by which it has more of them, or
/// more than one column.
fn separator(
    clean: &mut CleanReader,
    format: Format,
    columns: &[String],
    options: &FileOptions,
    path: &Path,
) -> Result<u8> {
    if format == Format::Tsv {
        return Ok(b'\t');
    }
    let mut line = Vec::new();
    clean.read_until(b'\n', &mut line).map_err(|error| unwrap_io(error, path))?;
    clean.push_back(&line);
    let mut best = ((0, false), SEPARATORS[0]);
    for separator in SEPARATORS {
        let mut row = csv::StringRecord::new();
        let line = CleanReader::new(Box::new(Cursor::new(line.clone())), path, false);
        let mut reader = reader(line, format, separator, false);
        if !reader.read_record(&mut row).map_err(|error| csv_error(error, path))? {
            break;
        }
        if row.len() < 2 && separator != SEPARATORS[0] {
            // It divides nothing here.
            continue;
        }
        let found = columns.iter().filter(|column| index(&row, column, options.header).is_some()).count();
        if found == columns.len() && found > 0 {
            return Ok(separator);
        }
        if (found, row.len() > 1) > best.0 {
            best = ((found, row.len() > 1), separator);
        }
    }
    Ok(best.1)
}

/// Where a column is, by the name that the first row gives it or by its number.
fn index(first: &csv::StringRecord, column: &str, header: bool) -> Option<usize> {
    let named = header.then(|| first.iter().position(|name| name.trim() == column)).flatten();
    match column.parse::<usize>() {
        Ok(number) => named.or_else(|| number.checked_sub(1).filter(|&index| index < first.len())),
        // Without a header an only column needs no number.
        Err(_) => named.or((!header && first.len() == 1).then_some(0)),
    }
}

fn missing_column<'a>(path: &Path, column: &str, header: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<_> = header.take(20).map(|name| format!("`{}`", shortened(name, 40))).collect();
    Error::Line {
        path: path.to_path_buf(),
        line: 1,
        expected: format!("a column called `{column}`"),
        found: match names.as_slice() {
            [] => "no columns".to_owned(),
            _ => format!("{} ({OTHER_COLUMN})", names.join(", ")),
        },
    }
}

pub(super) fn csv_error(error: csv::Error, path: &Path) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let at =
        |expected: String, found: String| Error::Line { path: path.to_path_buf(), line, expected, found };
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unwrap_io(error, path),
        other => at("a row of the table".to_owned(), format!("{other:?}")),
    }
}
