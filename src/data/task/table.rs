//! The labelled texts of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::columns::Columns;
use super::glue;
use super::kind::Task;
use crate::data::clean::Repairs;
use crate::data::rows::Rows;
use crate::data::source::{Format, Source, sources};
use crate::{Error, Result};

/// One text or pair of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The line on which it begins, counted from 1.
    pub line: u64,
    /// The text, or the first of two.
    pub text: String,
    /// The second text, where there are two.
    pub pair: Option<String>,
    /// The label as the file spells it.
    pub label: Option<String>,
}

/// All labelled texts of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub examples: Vec<Example>,
    /// Rows of GLUE's QQP that are broken in GLUE's own download, left out.
    pub broken: u64,
    /// What was put right.
    pub repairs: Repairs,
}

impl Table {
    /// Reads a file with GLUE's layout of `task`: tab-separated, quotation marks standing for themselves.
    ///
    /// # Errors
    /// [`Error::Config`] for a task that is not GLUE's; as [`Table::read`].
    pub fn read_glue(task: Task, path: &Path, strict: bool) -> Result<Table> {
        let columns =
            glue::columns(task).ok_or_else(|| Error::config("task", "a task of GLUE's", task.name()))?;
        let source = source(path)?;
        let source = Source { format: Format::Tsv, ..source };
        let rows = match task {
            Task::Cola => Rows::open_headless(&source, &[3, 1], glue::COLA_COLUMNS, strict, &Arc::default())?,
            _ => Rows::open(&source, None, &names(&columns), strict, &Arc::default())?,
        };
        // Some questions hold line ends, and the file no quotation marks around them.
        collect(rows, path, &columns, task == Task::Qqp)
    }

    /// Reads the columns of a table: `.csv`, `.tsv` or `.jsonl`, alone or packed. Of plain text each line is an
    /// example without a label.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a header without a column and for a row with the wrong columns;
    /// [`Error::File`] for a file without a row.
    pub fn read(path: &Path, columns: &Columns, strict: bool) -> Result<Table> {
        let source = source(path)?;
        let rows = match source.format {
            Format::Text if columns.pair.is_none() && columns.label.is_none() => {
                Rows::open_lines(&source, false, strict, &Arc::default())?
            }
            _ => Rows::open(&source, None, &names(columns), strict, &Arc::default())?,
        };
        collect(rows, path, columns, false)
    }
}

fn source(path: &Path) -> Result<Source> {
    if path.is_dir() {
        return Err(Error::file(path, "a file", "a folder"));
    }
    let [source] =
        sources(&[path.to_path_buf()])?.try_into().map_err(|_| Error::file(path, "one file", "several"))?;
    Ok(source)
}

/// The wanted columns in the order in which [`collect`] takes them.
fn names(columns: &Columns) -> Vec<String> {
    [Some(&columns.text), columns.pair.as_ref(), columns.label.as_ref()]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

fn collect(mut rows: Rows, path: &Path, columns: &Columns, forgiving: bool) -> Result<Table> {
    let (mut examples, mut broken) = (Vec::new(), 0);
    loop {
        let row = match rows.next_row() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(Error::Line { line, .. }) if forgiving && line > 1 => {
                broken += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut values = row.values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let text = next();
        let pair = columns.pair.is_some().then(&mut next);
        let label = columns.label.is_some().then(&mut next).map(|label| label.trim().to_owned());
        examples.push(Example { line: row.line, text, pair, label });
    }
    if examples.is_empty() {
        return Err(Error::file(path, "at least one row", "none"));
    }
    let repairs = *rows.repairs();
    Ok(Table { path: path.to_path_buf(), examples, broken, repairs })
}
