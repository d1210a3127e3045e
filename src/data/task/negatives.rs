//! Pairs of texts with hard negatives: texts that look as if they belonged to the first one, and do not.

use std::path::Path;
use std::sync::Arc;

use super::columns::Columns;
use super::table::{Example, Table};
use crate::data::files::source;
use crate::data::rows::{Lines, Rows, Wanted};
use crate::data::source::FileOptions;
use crate::{Error, Result};

impl Table {
    /// Reads the two texts of `columns`, without labels, and a negative for each of the columns `negatives`. Rows that lack
    /// one of the texts are left out.
    ///
    /// # Errors
    /// [`Error::Config`] where `columns` has no second text; as [`Table::read`].
    pub fn read_with_negatives(
        path: &Path,
        columns: &Columns,
        negatives: &[String],
        options: &FileOptions,
    ) -> Result<Table> {
        let Some(pair) = &columns.pair else {
            let expected = "the column of the texts that belong to the first ones, beside --negative-column";
            return Err(Error::config("pair-column", expected, "none"));
        };
        let source = source(path, options)?;
        let names: Vec<String> = [&columns.text, pair].into_iter().chain(negatives).cloned().collect();
        let wanted = Wanted { columns: &names, lines: Lines::Refused, keep_places: false };
        let mut rows = Rows::open(&source, None, &wanted, options, &Arc::default())?.kept();
        let mut examples = Vec::new();
        let mut found = vec![Vec::new(); negatives.len()];
        while let Some(row) = rows.next_row()? {
            if row.values.iter().any(|text| text.trim().is_empty()) {
                rows.lose(row.line, "a text", "nothing".to_owned())?;
                continue;
            }
            let mut values = row.values.into_iter();
            let text = values.next().unwrap_or_default();
            examples.push(Example { line: row.line, file: 0, text, pair: values.next(), label: None });
            found.iter_mut().zip(values).for_each(|(list, negative)| list.push(negative));
        }
        if examples.is_empty() {
            return Err(Error::file(&source.path, "at least one row", "none"));
        }
        Ok(Table { negatives: found, ..Table::of(&source, rows, examples) })
    }
}
