//! Texts and pairs of texts to predict for, one after the other.

use std::path::Path;
use std::sync::Arc;

use wgrad::data::rows::Rows;
use wgrad::data::source::{Compression, Format, Source, recognise};
use wgrad::{Error, Result};

/// A text, or two.
pub type Pair = (String, Option<String>);

/// The texts of a table by column names, or the lines of any other file, a tab between two texts; `-` is standard
/// input. Blank lines are texts too: what goes in has an answer at its place.
pub fn pairs(path: &Path, text: &str, pair: Option<&str>) -> Result<Box<dyn Iterator<Item = Result<Pair>>>> {
    let standard_input = path.as_os_str() == "-";
    let plain = (Format::Text, Compression::None);
    let (format, compression) = if standard_input { plain } else { recognise(path).unwrap_or(plain) };
    let size = match standard_input {
        true => None,
        false => Some(std::fs::metadata(path).map_err(Error::io(path, "read"))?.len()),
    };
    let source = Source { path: path.to_path_buf(), format, compression, size };
    let mut rows = match format {
        Format::Text => Rows::open_lines(&source, true, false, &Arc::default())?,
        _ => {
            let columns: Vec<String> = [Some(text), pair].into_iter().flatten().map(str::to_owned).collect();
            Rows::open(&source, None, &columns, false, &Arc::default())?
        }
    };
    let lines = format == Format::Text;
    let mut ended = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let row = rows.next_row();
        ended = !matches!(row, Ok(Some(_)));
        let row = row.transpose()?;
        Some(row.map(|row| {
            let mut values = row.values.into_iter();
            let first = values.next().unwrap_or_default();
            match first.split_once('\t').filter(|_| lines) {
                Some((text, pair)) => (text.to_owned(), Some(pair.to_owned())),
                None => (first, values.next()),
            }
        }))
    })))
}
