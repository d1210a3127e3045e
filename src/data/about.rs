//! What a file of texts is, as far as its beginning and its name tell.

use std::path::Path;
use std::sync::Arc;

use super::clean::CleanReader;
use super::files::source;
use super::json_rows::{self, Layout};
use super::parquet_rows;
use super::separated;
use super::source::{Compression, FileOptions, Format, unwrap_io};
use crate::Result;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// How it spells texts.
    pub format: Format,
    /// How its name says that it is packed.
    pub compression: Compression,
    /// What its columns are called; plain text has none.
    pub columns: Vec<String>,
    /// How many rows it has, where it says so itself.
    pub rows: Option<u64>,
}

/// Looks at one file, of which no more than the beginning is read, and of Parquet the end.
///
/// # Errors
/// A file that no command would read as text, for the reason that such a command would give.
pub fn about(path: &Path, options: &FileOptions) -> Result<About> {
    let source = source(path, options)?;
    let opened = source.open(None, &Arc::default())?;
    let (format, compression) = (opened.format, source.compression);
    let mut rows = None;
    let columns = match format {
        Format::Text => Vec::new(),
        Format::Parquet => {
            let (count, columns) = parquet_rows::about(&source.path)?;
            rows = Some(count);
            columns
        }
        Format::Csv | Format::Tsv => {
            let clean = CleanReader::new(opened.reader, path, options.strict);
            separated::names(clean, format, options, path)?
        }
        Format::Json => {
            let mut clean = CleanReader::new(opened.reader, path, options.strict);
            let (mut layout, mut line, mut object) = (Layout::Unknown, 0, Vec::new());
            let found = json_rows::next_object(&mut clean, &mut layout, &mut line, &mut object);
            found.map_err(|error| unwrap_io(error, path))?;
            json_rows::names(&object)
        }
    };
    Ok(About { format, compression, columns, rows })
}
