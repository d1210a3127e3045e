//! The labelled texts of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::columns::Columns;
use super::glue;
use super::kind::Task;
use super::lists;
use crate::budget::Kept;
use crate::data::clean::Repairs;
use crate::data::files::source;
use crate::data::lost::Lost;
use crate::data::rows::{Lines, Rows, Wanted};
use crate::data::source::{FileOptions, Format, Source};
use crate::error::quoted;
use crate::{Error, Result};

/// What stands in tables where there is no label, in lower case.
const NO_LABEL: [&str; 4] = ["", "n/a", "#n/a", "nan"];
/// What stands there besides where labels are numbers, and might be a class where they are not.
const NO_NUMBER: [&str; 9] = ["none", "null", "nil", "na", "<na>", "-", "--", "?", "."];

/// One text or pair of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The line on which it begins, counted from 1.
    pub line: u64,
    /// Which of the table's files it is in.
    #[serde(skip)]
    pub file: usize,
    /// The text, or the first of two; the list of its words as JSON where words are labelled.
    pub text: String,
    /// The second text, where there are two.
    pub pair: Option<String>,
    /// The label as the file spells it; a list as JSON where a text may have several, or each word has one.
    pub label: Option<String>,
}

/// All labelled texts of a file, or of several, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The file, or the first of several.
    pub path: PathBuf,
    /// The other files, where there are several.
    pub others: Vec<PathBuf>,
    /// Its rows.
    pub examples: Vec<Example>,
    /// Of each column of hard negatives one text for every row: see [`Table::read_with_negatives`].
    pub negatives: Vec<Vec<String>>,
    /// Rows that could not be used, left out.
    pub lost: Lost,
    /// What was put right.
    pub repairs: Repairs,
    /// The memory that it takes, which all tables share.
    pub(super) kept: Kept,
}

impl Table {
    /// Reads a file of a task of GLUE: in the layout of GLUE's own download, which is tab-separated, quotation marks
    /// standing for themselves; or, in any format, with the columns of that or of the Hugging Face hub's copy, where labels
    /// are numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for a task that is not GLUE's; as [`Table::read`].
    pub fn read_glue(task: Task, path: &Path, options: &FileOptions) -> Result<Table> {
        let layouts = glue::layouts(task);
        let mut first = None;
        let source = source(path, options)?;
        let tabs = source.format == Some(Format::Tsv);
        for layout in layouts {
            if !layout.header && !tabs {
                continue;
            }
            let mut options = options.clone();
            options.header &= layout.header;
            // Some questions of GLUE's QQP hold line ends, and the file no quotation marks around them.
            options.lenient |= task == Task::Qqp && tabs;
            match read_rows(&source, &layout.columns, &options, Some(task)) {
                Ok(table) => return Ok(table),
                // What is wrong with the first layout is told: the others are for files that lack its columns.
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::config("task", "a task of GLUE's", task.name())))
    }

    /// Reads the columns of a table: `.csv`, `.tsv`, JSON or Parquet, alone or packed. Of plain text each line is an
    /// example without a label. Rows with an empty text or without a label are left out.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a header without a column, and for rows that cannot be used, see
    /// [`Rows::next_row`]; [`Error::File`] for a file without a row.
    pub fn read(path: &Path, columns: &Columns, options: &FileOptions) -> Result<Table> {
        read_rows(&source(path, options)?, columns, options, None)
    }

    /// The examples that `rows` of a file gave.
    pub(super) fn of(source: &Source, mut rows: Rows, examples: Vec<Example>) -> Table {
        let (repairs, lost) = (rows.repairs(), rows.lost().clone());
        Table {
            path: source.path.clone(),
            others: Vec::new(),
            examples,
            negatives: Vec::new(),
            lost,
            repairs,
            kept: rows.take_kept(),
        }
    }

    /// Adds the rows of another file, which has the same columns.
    #[must_use]
    pub fn joined(mut self, other: Table) -> Table {
        self.others.push(other.path.clone());
        let file = self.others.len();
        self.examples.extend(other.examples.into_iter().map(|example| Example { file, ..example }));
        self.negatives.iter_mut().zip(other.negatives).for_each(|(list, more)| list.extend(more));
        self.lost.add(other.lost, &other.path);
        self.repairs.add(&other.repairs);
        self.kept.join(other.kept);
        self
    }

    /// The file that an example of the table is in.
    pub fn file_of(&self, example: &Example) -> &Path {
        let before = example.file.checked_sub(1);
        before.and_then(|at| self.others.get(at)).unwrap_or(&self.path)
    }
}

fn read_rows(source: &Source, columns: &Columns, options: &FileOptions, task: Option<Task>) -> Result<Table> {
    let lines = match columns.pair.is_none() && columns.label.is_none() {
        true => Lines::Texts,
        false => Lines::Refused,
    };
    let wanted = Wanted { columns: &names(columns), lines, keep_places: false };
    let rows = Rows::open(source, None, &wanted, options, &Arc::default())?.kept();
    let mut rows = if columns.separator.is_some() { rows.with_lists() } else { rows };
    let mut examples = Vec::new();
    while let Some(row) = rows.next_row()? {
        let mut values = row.values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let text = next();
        let pair = columns.pair.is_some().then(&mut next);
        let label = columns.label.is_some().then(&mut next);
        if text.trim().is_empty() || pair.as_ref().is_some_and(|pair| pair.trim().is_empty()) {
            rows.lose(row.line, "a text", "nothing".to_owned())?;
            continue;
        }
        let no_number = |label: &&str| {
            columns.numbers && NO_NUMBER.iter().any(|none| label.trim().eq_ignore_ascii_case(none))
        };
        if let (Some(label), Some(separator)) = (&label, &columns.separator) {
            match lists::separated(label_of(label, task).as_deref().unwrap_or_default(), separator) {
                Ok(labels) => {
                    let label = Some(lists::spelled(&labels));
                    examples.push(Example { line: row.line, file: 0, text, pair, label });
                }
                Err((expected, found)) => rows.lose(row.line, &expected, found)?,
            }
            continue;
        }
        let given = label.as_deref();
        let label = match given.map(|label| label_of(label, task).filter(|label| !no_number(&label.as_str())))
        {
            None => None,
            Some(Some(label)) => Some(label),
            Some(None) => {
                let found = label.filter(|label| !label.trim().is_empty());
                rows.lose(row.line, "a label", found.map_or("nothing".to_owned(), |label| quoted(&label)))?;
                continue;
            }
        };
        examples.push(Example { line: row.line, file: 0, text, pair, label });
    }
    if examples.is_empty() {
        return Err(Error::file(&source.path, "at least one row", "none"));
    }
    Ok(Table::of(source, rows, examples))
}

/// A label as GLUE's own files spell it, of which other copies have the number; none where there is no label.
fn label_of(label: &str, task: Option<Task>) -> Option<String> {
    let label = label.trim();
    let missing = NO_LABEL.iter().any(|none| label.eq_ignore_ascii_case(none));
    let Some(task) = task else { return (!missing).then(|| label.to_owned()) };
    // Annotators did not agree, or the copy keeps a test set's labels to itself.
    if missing || label == "-" || label == "-1" {
        return None;
    }
    let named = task.classes().iter().any(|(spelling, _)| *spelling == label);
    let number = label.parse::<usize>().ok().filter(|_| !named);
    let class = number.and_then(|number| task.classes().get(number));
    Some(class.map_or(label, |(spelling, _)| spelling).to_owned())
}

/// The wanted columns in the order in which [`read_rows`] takes them.
fn names(columns: &Columns) -> Vec<String> {
    [Some(&columns.text), columns.pair.as_ref(), columns.label.as_ref()]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}
