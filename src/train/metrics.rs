//! What a run measured, step by step: `metrics.csv` and `metrics.jsonl`, the same rows in both.
//!
//! Rows are appended as they come. A kill leaves at most one unfinished last line, which the next start removes;
//! a failed write is an error to show, and what it could not save is tried again with the next row.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::format::shortened;
use crate::store::{Disk, OpenFile, Store};
use crate::{Error, Result};

/// The table's name in the run's folder.
pub const CSV: &str = "metrics.csv";
/// The JSON lines' name in the run's folder.
pub const JSONL: &str = "metrics.jsonl";

/// What was measured at one optimizer step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Row {
    /// The optimizer step of the run, counted from 1; 0 for what was measured before the first.
    pub step: u64,
    /// Sequences or texts seen so far.
    pub sequences: u64,
    /// Tokens seen so far, padding left out.
    pub tokens: u64,
    /// Training loss: nats per masked token, class or pair, or a squared error.
    pub loss: f64,
    /// The share of right answers in training, from 0 to 1.
    pub accuracy: Option<f64>,
    /// Loss on held-out sequences, or on the texts to measure on.
    pub eval_loss: Option<f64>,
    /// The share of right answers there.
    pub eval_accuracy: Option<f64>,
    /// The learning rate of the step.
    pub lr: f64,
    /// Sequences or texts in the step's batch.
    pub batch_sequences: u64,
    /// The gradient's L2 norm before clipping.
    pub grad_norm: f64,
    /// Steps skipped so far because a gradient overflowed.
    pub skipped_steps: u64,
    /// Speed of this step, measuring and saving left out. Depends on the clock.
    pub tokens_per_second: f64,
    /// Time spent training so far. Depends on the clock.
    pub seconds: f64,
    /// The seed, in finetuning.
    pub seed: u64,
    /// The epoch, counted from 1, in finetuning.
    pub epoch: u64,
    /// The optimizer step of the seed, counted from 1, in finetuning.
    pub seed_step: u64,
    /// F1 on the texts to measure on.
    pub f1: Option<f64>,
    /// Matthews's correlation there.
    pub matthews: Option<f64>,
    /// Pearson's correlation there.
    pub pearson: Option<f64>,
    /// Spearman's correlation there.
    pub spearman: Option<f64>,
    /// The share of partners found there.
    pub recall: Option<f64>,
}

/// One number of a row.
enum Cell<'r> {
    Count(&'r mut u64),
    Number(&'r mut f64),
    Maybe(&'r mut Option<f64>),
}

/// Which numbers of a row a run's files hold, and what they are called there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those of pretraining.
    Pretraining,
    /// Those of finetuning.
    Finetuning,
}

impl Columns {
    /// Name and place of each, in the order of the table.
    fn cells(self, row: &mut Row) -> Vec<(&'static str, Cell<'_>)> {
        use Cell::{Count, Maybe, Number};
        match self {
            Columns::Pretraining => vec![
                ("step", Count(&mut row.step)),
                ("sequences", Count(&mut row.sequences)),
                ("tokens", Count(&mut row.tokens)),
                ("loss", Number(&mut row.loss)),
                ("accuracy", Maybe(&mut row.accuracy)),
                ("held_out_loss", Maybe(&mut row.eval_loss)),
                ("held_out_accuracy", Maybe(&mut row.eval_accuracy)),
                ("lr", Number(&mut row.lr)),
                ("batch_sequences", Count(&mut row.batch_sequences)),
                ("grad_norm", Number(&mut row.grad_norm)),
                ("skipped_steps", Count(&mut row.skipped_steps)),
                ("tokens_per_second", Number(&mut row.tokens_per_second)),
                ("seconds", Number(&mut row.seconds)),
            ],
            Columns::Finetuning => vec![
                ("seed", Count(&mut row.seed)),
                ("epoch", Count(&mut row.epoch)),
                ("step", Count(&mut row.seed_step)),
                ("loss", Number(&mut row.loss)),
                ("lr", Number(&mut row.lr)),
                ("grad_norm", Number(&mut row.grad_norm)),
                ("seconds", Number(&mut row.seconds)),
                ("eval_loss", Maybe(&mut row.eval_loss)),
                ("accuracy", Maybe(&mut row.eval_accuracy)),
                ("f1", Maybe(&mut row.f1)),
                ("matthews", Maybe(&mut row.matthews)),
                ("pearson", Maybe(&mut row.pearson)),
                ("spearman", Maybe(&mut row.spearman)),
                ("recall", Maybe(&mut row.recall)),
                ("train_accuracy", Maybe(&mut row.accuracy)),
                ("texts", Count(&mut row.sequences)),
                ("tokens", Count(&mut row.tokens)),
                ("skipped_steps", Count(&mut row.skipped_steps)),
                ("tokens_per_second", Number(&mut row.tokens_per_second)),
                ("run_step", Count(&mut row.step)),
            ],
        }
    }

    /// The first line of the table, without its end.
    fn header(self) -> String {
        let mut row = Row::default();
        self.cells(&mut row).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(",")
    }

    /// The row as a line of the table, without its end. What was not measured is empty.
    fn csv(self, row: &Row) -> String {
        let text = |(_, cell): (_, Cell<'_>)| match cell {
            Cell::Count(value) => value.to_string(),
            Cell::Number(value) => value.to_string(),
            Cell::Maybe(value) => value.map(|value| value.to_string()).unwrap_or_default(),
        };
        self.cells(&mut { *row }).into_iter().map(text).collect::<Vec<_>>().join(",")
    }

    /// The row of a line of the table.
    fn row(self, line: &str) -> Option<Row> {
        let mut row = Row::default();
        let texts: Vec<&str> = line.split(',').collect();
        let cells = self.cells(&mut row);
        if texts.len() != cells.len() {
            return None;
        }
        for ((_, cell), text) in cells.into_iter().zip(texts) {
            match cell {
                Cell::Count(value) => *value = text.parse().ok()?,
                Cell::Number(value) => *value = text.parse().ok()?,
                Cell::Maybe(value) if text.is_empty() => *value = None,
                Cell::Maybe(value) => *value = Some(text.parse().ok()?),
            }
        }
        Some(row)
    }

    /// The row as a JSON object. A number that is not finite is `null`.
    pub fn json(self, row: &Row) -> Map<String, Value> {
        let value = |(name, cell): (&str, Cell<'_>)| {
            let value = match cell {
                Cell::Count(value) => Value::from(*value),
                Cell::Number(value) => Value::from(*value),
                Cell::Maybe(value) => Value::from(*value),
            };
            (name.to_owned(), value)
        };
        self.cells(&mut { *row }).into_iter().map(value).collect()
    }

    /// The key of the JSON object that holds the step of the run.
    fn step(self) -> &'static str {
        match self {
            Columns::Pretraining => "step",
            Columns::Finetuning => "run_step",
        }
    }

    /// The step of a line of `metrics.jsonl`.
    fn jsonl_step(self, line: &str) -> Option<u64> {
        serde_json::from_str::<Value>(line).ok()?.get(self.step())?.as_u64()
    }
}

/// Reads `metrics.csv` of a run's folder. An unfinished last line is left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for other columns; [`Error::Line`] for a line that is no row.
pub fn read(folder: &Path) -> Result<Vec<Row>> {
    read_on(&Disk, folder)
}

/// [`read`] on a given store.
///
/// # Errors
/// As [`read`].
pub fn read_on(store: &dyn Store, folder: &Path) -> Result<Vec<Row>> {
    let path = folder.join(CSV);
    let bytes = store.read(&path)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let header = lines.next().unwrap_or_default();
    let known =
        [Columns::Pretraining, Columns::Finetuning].into_iter().find(|known| known.header() == header);
    let Some(columns) = known else {
        let expected = format!("the columns {}", Columns::Pretraining.header());
        return Err(Error::file(&path, expected, format!("`{header}`")));
    };
    let count = columns.header().split(',').count();
    let rows = lines.zip(2..).map(|(text, line)| {
        columns.row(text).ok_or_else(|| Error::Line {
            path: path.clone(),
            line,
            expected: format!("{count} values"),
            found: format!("`{}`", shortened(text, 80)),
        })
    });
    rows.collect()
}

/// Appends rows to both files of a run.
pub struct Metrics {
    csv: Log,
    jsonl: Log,
    columns: Columns,
    unreadable: usize,
}

impl Metrics {
    /// Starts both files in `folder`, which must exist. What they held is gone.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(store: &dyn Store, folder: &Path, columns: Columns) -> Result<Self> {
        for name in [CSV, JSONL] {
            let path = folder.join(name);
            store.append(&path)?.truncate(0).map_err(Error::io(&path, "empty"))?;
        }
        Self::open(store, folder, columns, 0)
    }

    /// Goes on after `step`: rows of later steps, and everything from the first line that is no row, are removed,
    /// so that the run leaves the rows it would have left without a stop. A missing file is started.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn resume(store: &dyn Store, folder: &Path, columns: Columns, step: u64) -> Result<Self> {
        Self::open(store, folder, columns, step)
    }

    /// How many lines could not be read when the run was resumed, of both files. An unfinished last line after a
    /// kill counts as one.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    fn open(store: &dyn Store, folder: &Path, columns: Columns, step: u64) -> Result<Self> {
        let header = columns.header() + "\n";
        let step_of = |line: &str| Some(columns.row(line)?.step);
        let (csv, spoiled) = Log::open(store, folder.join(CSV), &header, step_of, step)?;
        let step_of = |line: &str| columns.jsonl_step(line);
        let (jsonl, more) = Log::open(store, folder.join(JSONL), "", step_of, step)?;
        Ok(Self { csv, jsonl, columns, unreadable: spoiled + more })
    }

    /// Appends a row to both files. After an error training can go on: the row is kept and written together
    /// with the next one that can be.
    ///
    /// # Errors
    /// [`Error::Io`] for the first file that could not be written; the other is written all the same.
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let json = Value::from(self.columns.json(row)).to_string();
        let jsonl = self.jsonl.append(&json);
        self.csv.append(&self.columns.csv(row)).and(jsonl)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics({})", self.csv.path.display())
    }
}

/// A file of lines that only grows by whole ones.
struct Log {
    path: PathBuf,
    file: Box<dyn OpenFile>,
    /// The bytes of whole lines in the file.
    length: u64,
    /// Lines that could not be written yet.
    pending: String,
    /// Whether the file may hold more than `length` bytes.
    torn: bool,
}

impl Log {
    /// Opens a file, keeps its header and the rows up to `step`, and says how many lines were spoiled.
    fn open(
        store: &dyn Store,
        path: PathBuf,
        header: &str,
        step_of: impl Fn(&str) -> Option<u64>,
        step: u64,
    ) -> Result<(Self, usize)> {
        let file = store.append(&path)?;
        let bytes = if store.exists(&path) { store.read(&path)?.to_vec() } else { Vec::new() };
        let mut spoiled = 0;
        let mut length = 0;
        if bytes.starts_with(header.as_bytes()) {
            length = header.len();
            for line in bytes[length..].split_inclusive(|&b| b == b'\n') {
                let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
                match whole.and_then(&step_of) {
                    Some(at) if at <= step && spoiled == 0 => length += line.len(),
                    Some(_) if spoiled == 0 => break,
                    Some(_) => {}
                    None => spoiled += 1,
                }
            }
        } else if !bytes.is_empty() {
            spoiled = bytes.split_inclusive(|&b| b == b'\n').count();
        }
        let pending = if length == 0 { header.to_owned() } else { String::new() };
        let mut log = Self { path, file, length: length as u64, pending, torn: true };
        log.flush()?;
        Ok((log, spoiled))
    }
    fn append(&mut self, line: &str) -> Result<()> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.pending, "{line}");
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.try_flush();
        if written.is_err() {
            // Readers should see whole lines; if this fails too, the next flush truncates first.
            self.torn = self.file.truncate(self.length).is_err();
        }
        written.map_err(Error::io(&self.path, "write"))
    }

    fn try_flush(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.truncate(self.length)?;
            self.torn = false;
        }
        self.file.write_all(self.pending.as_bytes())?;
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl Drop for Log {
    /// The disk may have taken the model after it refused the last row, and no row will come that takes it along.
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            let _ = self.flush();
        }
    }
}
