//! Rows that cannot be used: left out, counted, and the first of them named.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What helps where a column is missing.
pub(super) const OTHER_COLUMN: &str = "--text-column and the like take another";

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line on which the row begins, counted from 1; of Parquet the row.
    pub line: u64,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The file, where it is not the one that is being read.
    pub path: Option<PathBuf>,
}

impl Fault {
    fn error(self, path: &Path) -> Error {
        let path = self.path.unwrap_or_else(|| path.to_path_buf());
        Error::Line { path, line: self.line, expected: self.expected, found: self.found }
    }
}

/// The rows of a file that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lost {
    /// How many there are.
    pub rows: u64,
    /// The first three.
    pub first: Vec<Fault>,
}

impl Lost {
    /// So many are named; the rest are counted.
    pub const NAMED: usize = 3;

    /// Adds the rows of another file.
    pub fn add(&mut self, other: Lost, path: &Path) {
        self.rows += other.rows;
        let room = Lost::NAMED.saturating_sub(self.first.len());
        let of_file = |fault: Fault| Fault { path: fault.path.or_else(|| Some(path.to_path_buf())), ..fault };
        self.first.extend(other.first.into_iter().take(room).map(of_file));
    }

    /// How many rows of the file are left out, and the first of them; none if all are there.
    pub fn summary(&self, path: &Path) -> Option<String> {
        let count = crate::format::thousands(self.rows);
        let first = self.told(path).join("; ");
        (self.rows > 0).then(|| format!("{count} rows cannot be used and are left out: {first}"))
    }

    /// The first of them as sentences.
    pub fn told(&self, path: &Path) -> Vec<String> {
        self.first.iter().map(|fault| fault.clone().error(path).to_string()).collect()
    }
}

/// Counts the rows of one file, and ends the run when more than one in a hundred is lost.
#[derive(Debug)]
pub(super) struct Tally {
    path: PathBuf,
    /// Every lost row is an error.
    strict: bool,
    /// However many rows are lost, the run goes on.
    lenient: bool,
    rows: u64,
    lost: Lost,
}

impl Tally {
    pub(super) fn new(path: &Path, strict: bool, lenient: bool) -> Self {
        Tally { path: path.to_path_buf(), strict, lenient, rows: 0, lost: Lost::default() }
    }

    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// A row was read, whether or not it can be used.
    pub(super) fn row(&mut self) {
        self.rows += 1;
    }

    /// Whether this is the first row, which says what the others are like.
    pub(super) fn is_first(&self) -> bool {
        self.rows <= 1 && !self.lenient
    }

    /// The row that was read last is left out.
    pub(super) fn lose(&mut self, fault: Fault) -> Result<()> {
        if self.strict {
            return Err(fault.error(&self.path));
        }
        self.lost.rows += 1;
        if self.lost.first.len() < Lost::NAMED {
            self.lost.first.push(fault);
        }
        Ok(())
    }

    /// All rows were read.
    pub(super) fn finish(&self) -> Result<()> {
        let (lost, rows) = (self.lost.rows, self.rows);
        match self.lost.first.first() {
            Some(first) if lost * 100 > rows && !self.lenient => {
                let mut first = first.clone();
                if lost > 1 {
                    first.found += &format!("; {lost} of {rows} rows are like that or otherwise of no use");
                }
                first.found += " (--lenient leaves out more than 1%)";
                Err(first.error(&self.path))
            }
            _ => Ok(()),
        }
    }
}
