//! Texts and pairs of texts to predict for, one after the other.

use std::path::Path;
use std::sync::Arc;

use wgrad::data::FileOptions;
use wgrad::data::files::source;
use wgrad::data::lost::Lost;
use wgrad::data::rows::{Lines, Rows, Wanted};
use wgrad::format::thousands;
use wgrad::{Error, Result};

use super::print;

/// A text, or two.
pub type Pair = (String, Option<String>);

/// The texts of a table by column names, or the lines of any other file, a tab between two texts; `-` is standard
/// input. Blank lines, and rows that cannot be used, are texts too: what goes in has an answer at its place.
pub struct Pairs {
    rows: Rows,
    ended: bool,
}

impl Pairs {
    /// Opens a file.
    pub fn open(path: &Path, text: &str, pair: Option<&str>, options: &FileOptions) -> Result<Self> {
        let columns: Vec<String> = [Some(text), pair].into_iter().flatten().map(str::to_owned).collect();
        let wanted = Wanted { columns: &columns, lines: Lines::AllTexts, keep_places: true };
        let rows = Rows::open(&source(path, options)?, None, &wanted, options, &Arc::default())?;
        Ok(Pairs { rows, ended: false })
    }

    /// The rows that could not be used.
    pub fn lost(&self) -> &Lost {
        self.rows.lost()
    }
}

impl Iterator for Pairs {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.rows.next_row();
        self.ended = !matches!(row, Ok(Some(_)));
        let lines = self.rows.is_text();
        let row = row.transpose()?;
        Some(row.map(|row| {
            let mut values = row.values.into_iter();
            let first = values.next().unwrap_or_default();
            match first.split_once('\t').filter(|_| lines) {
                Some((text, pair)) => (text.to_owned(), Some(pair.to_owned())),
                None => (first, values.next()),
            }
        }))
    }
}

/// Says which rows were taken for empty texts.
pub fn tell_lost(lost: Option<&Lost>, path: &Path) {
    if let Some(lost) = lost.filter(|lost| lost.rows > 0) {
        let (count, first) = (thousands(lost.rows), lost.told(path).join("; "));
        print::note(format_args!("note: {count} rows cannot be used and are taken as empty texts: {first}"));
    }
}
