//! Texts and pairs of texts to predict for, one after the other.

use std::path::Path;
use std::sync::Arc;

use wgrad::budget;
use wgrad::data::FileOptions;
use wgrad::data::clean::Repairs;
use wgrad::data::files::source;
use wgrad::data::lost::Lost;
use wgrad::data::rows::{Lines, Rows, Wanted};
use wgrad::format::thousands;
use wgrad::{Error, Result};

use super::print;

/// A text, or two.
pub type Pair = (String, Option<String>);

/// So many texts are worked on at once, or fewer where they are long.
const MAX_TEXTS: usize = 8192;

/// The next texts to work on together, whose lengths `bytes` says, and whether there are no more after them. Memory is
/// bounded by their bytes, however few texts hold them.
pub fn chunk<T>(
    texts: &mut impl Iterator<Item = Result<T>>,
    bytes: impl Fn(&T) -> usize,
) -> Result<(Vec<T>, bool)> {
    let (mut chunk, mut sum) = (Vec::new(), 0);
    while chunk.len() < MAX_TEXTS && sum < budget::batch_limit() {
        let Some(text) = texts.next().transpose()? else { return Ok((chunk, true)) };
        sum += bytes(&text);
        chunk.push(text);
    }
    Ok((chunk, false))
}

/// The bytes of a text, or two.
pub fn bytes((text, pair): &Pair) -> usize {
    text.len() + pair.as_ref().map_or(0, String::len)
}

/// A text without what is beyond the limit, which no model sees.
fn bounded(mut text: String) -> String {
    if budget::is_cut(&text) {
        text.truncate(budget::bounded(&text).len());
        text.shrink_to_fit();
    }
    text
}

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

    /// What was put right so far.
    pub fn repairs(&self) -> Repairs {
        self.rows.repairs()
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
            let (text, pair) = match first.split_once('\t').filter(|_| lines) {
                Some((text, pair)) => (text.to_owned(), Some(pair.to_owned())),
                None => (first, values.next()),
            };
            (bounded(text), pair.map(bounded))
        }))
    }
}

/// Says what was put right, and how many lines were so long that their ends were passed over.
pub fn tell_repairs(repairs: &Repairs, truncated: u64) {
    let most = budget::text_limit() >> 10;
    let told: Vec<String> = [
        (repairs.invalid_utf8, "pieces of invalid UTF-8 replaced".to_owned()),
        (repairs.nul, "NULs replaced".to_owned()),
        (repairs.byte_order_marks, "byte-order marks dropped".to_owned()),
        (repairs.carriage_returns, "carriage returns made line ends".to_owned()),
        (repairs.utf16, "UTF-16 file read as such".to_owned()),
        (truncated, format!("lines of over {most} KiB truncated")),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{} {what}", thousands(number)))
    .collect();
    if !told.is_empty() {
        print::note(format_args!("note: {}", told.join(", ")));
    }
}

/// Says which rows were taken for empty texts.
pub fn tell_lost(lost: Option<&Lost>, path: &Path) {
    if let Some(lost) = lost.filter(|lost| lost.rows > 0) {
        let (count, first) = (thousands(lost.rows), lost.told(path).join("; "));
        print::note(format_args!("note: {count} rows cannot be used and are taken as empty texts: {first}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_58_long_texts_are_cut_and_few_of_them_are_worked_on_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("texts");
        // A line of 10 MB, some of 3 MB, and many that are short.
        let long = "\u{e9} ".repeat(1 << 20);
        let lines =
            [long.repeat(3), format!("{long}\t{long}"), long.clone(), long.clone(), "short\n".repeat(9000)];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let mut texts = Pairs::open(&path, "text", None, &FileOptions::default()).unwrap();
        let (first, ended) = chunk(&mut texts, bytes).unwrap();
        assert_eq!((first.len(), ended), (3, false));
        for (text, pair) in &first {
            let most = budget::text_limit();
            assert!(text.len() <= most && pair.as_ref().is_none_or(|pair| pair.len() <= most));
            assert!(text.len() > most - 4 && long.starts_with(text.as_str()));
        }
        let (second, ended) = chunk(&mut texts, bytes).unwrap();
        assert_eq!((second.len(), ended), (MAX_TEXTS, false));
        let (third, ended) = chunk(&mut texts, bytes).unwrap();
        assert_eq!((third.len(), ended), (1 + 9000 - MAX_TEXTS, true));
        assert_eq!(third.last().unwrap().0, "short");
    }
}
