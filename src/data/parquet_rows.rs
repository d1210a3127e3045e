//! The wanted columns of a Parquet file, row after row, with a batch of rows in memory at a time.

use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::Value;

use super::json_rows::Complaint;
use super::lost::OTHER_COLUMN;
use super::parquet_pages::Pages;
use crate::budget;
use crate::format::{shortened, thousands};
use crate::{Error, Result};

/// A row's number, counted from 1, and its values, or why it has none.
pub(super) type Numbered = (u64, Result<Vec<String>, Complaint>);

/// What a value of a list takes in memory, in bytes.
const PER_VALUE: u64 = 64;
/// How many rows the crate below reads of a column at once.
const BATCH: u64 = 1024;

/// The rows of one file.
pub(super) struct ParquetRows {
    path: PathBuf,
    /// Of each wanted column the names from the outside in.
    columns: Vec<Vec<String>>,
    rows: RowIter<'static>,
    /// What Hugging Face's `datasets` wrote of the columns: `{NAME: {"_type": …}}`, or null.
    features: Value,
    /// The number of the row given last, counted from 1.
    number: u64,
    count: u64,
    /// The file's bytes, and how many of them were told as read: rows are taken to be of one size.
    size: u64,
    told: u64,
    read: Arc<AtomicU64>,
}

impl fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetRows").finish_non_exhaustive()
    }
}

impl ParquetRows {
    /// Opens a file and finds the `columns`: by name, by number, counted from 1, or `a.b` for a field of a structure.
    ///
    /// # Errors
    /// A file that cannot be read, is no whole Parquet file, or has no such column.
    pub(super) fn open(path: &Path, columns: &[String], read: &Arc<AtomicU64>) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let size = file.metadata().map_err(Error::io(path, "read"))?.len();
        let pages = Pages::new(path, file);
        let reader = guarded(path, || SerializedFileReader::new(pages.clone()))?;
        let about = reader.metadata().file_metadata();
        let (schema, count) = (about.schema_descr().root_schema_ptr(), about.num_rows());
        let known = about.key_value_metadata().into_iter().flatten().find(|pair| pair.key == "huggingface");
        let known = known.and_then(|pair| serde_json::from_str::<Value>(pair.value.as_deref()?).ok());
        let features = known.and_then(|mut known| known.pointer_mut("/info/features").map(Value::take));
        let features = features.unwrap_or_default();
        let (mut paths, mut roots): (Vec<Vec<String>>, Vec<Arc<Type>>) = (Vec::new(), Vec::new());
        for column in columns {
            let (root, path) = find(&schema, column).ok_or_else(|| missing(path, column, &schema))?;
            if !roots.iter().any(|known| known.name() == root.name()) {
                roots.push(root);
            }
            paths.push(path);
        }
        let mut lists = false;
        for group in reader.metadata().row_groups() {
            for chunk in group.columns() {
                let parts = chunk.column_path().parts();
                // Of a structure all is read that it holds, wanted or not.
                if !roots.iter().any(|root| parts.first().map(String::as_str) == Some(root.name())) {
                    continue;
                }
                if chunk.column_descr().max_rep_level() == 0 {
                    continue;
                }
                lists = true;
                let values = in_a_batch(chunk.num_values(), group.num_rows()).saturating_mul(PER_VALUE);
                if values > budget::get() {
                    let found = format!(
                        "one of {} MB (or write it with shorter ones)",
                        thousands(values / 1_000_000)
                    );
                    return Err(budget::exceeded(path, "lists that unpack", found));
                }
            }
        }
        pages.begin(if lists { PER_VALUE } else { 0 });
        // In the order of the file, in which columns are read.
        roots.sort_by_key(|root| schema.get_fields().iter().position(|field| field.name() == root.name()));
        let wanted = || {
            let wanted = Type::group_type_builder(schema.name()).with_fields(roots).build()?;
            RowIter::from_file_into(Box::new(reader)).project(Some(wanted))
        };
        let rows = guarded(path, wanted)?;
        Ok(ParquetRows {
            path: path.to_path_buf(),
            columns: paths,
            rows,
            features,
            number: 0,
            count: count.unsigned_abs(),
            size,
            told: 0,
            read: read.clone(),
        })
    }

    /// What the numbers of a wanted column, or of the lists in it, are called; none where the file does not say it.
    pub(super) fn class_names(&self, column: usize) -> Option<Vec<String>> {
        let mut feature = self
            .columns
            .get(column)?
            .iter()
            .try_fold(&self.features, |inner, name| items(inner).unwrap_or(inner).get(name))?;
        while let Some(inner) = items(feature) {
            feature = inner;
        }
        let names = feature.get("names").filter(|_| feature["_type"] == "ClassLabel")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// The next row, with its number; none at the end. Null is an empty text, and with `lists` a list is the text of its
    /// JSON.
    pub(super) fn next_row(&mut self, lists: bool) -> Result<Option<Numbered>> {
        let rows = &mut self.rows;
        let Some(row) = guarded(&self.path, || rows.next().transpose())? else { return Ok(None) };
        self.number += 1;
        let told = (self.size as u128 * self.number as u128 / u128::from(self.count.max(1))) as u64;
        self.read.fetch_add(told - self.told, Ordering::Relaxed);
        self.told = told;
        let values = self.columns.iter().map(|path| value(&row, path, lists)).collect();
        Ok(Some((self.number, values)))
    }
}

/// How many values of a list are in memory at once: those of the rows that are read together, of as many each as all rows have
/// on average.
fn in_a_batch(values: i64, rows: i64) -> u64 {
    let [values, rows] = [values, rows].map(|number| number.max(0).unsigned_abs());
    let batch = u128::from(values) * u128::from(rows.min(BATCH)) / u128::from(rows.max(1));
    u64::try_from(batch).unwrap_or(u64::MAX)
}

/// Of a list, how its items are; earlier versions wrote a list of that alone. None for what is no list: a column may be called
/// `feature` too.
fn items(feature: &Value) -> Option<&Value> {
    match feature["_type"].as_str() {
        Some("Sequence" | "List" | "LargeList") => feature.get("feature"),
        _ => feature.get(0),
    }
}

/// What `work` gives; an error of the crate below, or its panic at a broken file, as an error of the file.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let found = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        // The file is sound: this crate is built without what its pages are packed with.
        Ok(Err(error)) if error.to_string().contains("Disabled feature") => {
            let expected = "Parquet packed with snappy, zstd, gzip or nothing";
            return Err(Error::file(path, expected, "another packing (write it again with zstd)"));
        }
        Ok(Err(ParquetError::External(error))) => match error.downcast::<Error>() {
            // What weighs the pages has refused one.
            Ok(error) => return Err(*error),
            Err(error) => format!("a broken one ({error})"),
        },
        Ok(Err(error)) => format!("a broken one ({error})"),
        Err(_) => "a broken one".to_owned(),
    };
    Err(Error::file(path, "a whole Parquet file", found))
}

/// The column of the outermost level, and the names down to the wanted one.
fn find(schema: &Type, column: &str) -> Option<(Arc<Type>, Vec<String>)> {
    let fields = schema.get_fields();
    let named = |name: &str| fields.iter().find(|field| field.name() == name).cloned();
    if let Some(field) = named(column) {
        return Some((field, vec![column.to_owned()]));
    }
    if let Ok(number) = column.parse::<usize>() {
        let field = fields.get(number.checked_sub(1)?)?;
        return Some((field.clone(), vec![field.name().to_owned()]));
    }
    let path: Vec<String> = column.split('.').map(str::to_owned).collect();
    let root = named(&path[0])?;
    let mut inner = root.clone();
    for name in &path[1..] {
        if inner.is_primitive() {
            return None;
        }
        let next = inner.get_fields().iter().find(|field| field.name() == name)?.clone();
        inner = next;
    }
    Some((root, path))
}

/// How many rows a file has, and what its columns are called.
///
/// # Errors
/// A file that cannot be read, or is no whole Parquet file.
pub(super) fn about(path: &Path) -> Result<(u64, Vec<String>)> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let reader = guarded(path, || SerializedFileReader::new(file))?;
    let about = reader.metadata().file_metadata();
    Ok((about.num_rows().unsigned_abs(), names(about.schema_descr().root_schema())))
}

fn missing(path: &Path, column: &str, schema: &Type) -> Error {
    let names = names(schema);
    let found = match names.is_empty() {
        true => "no columns".to_owned(),
        false => format!("`{}` ({OTHER_COLUMN})", names.join("`, `")),
    };
    Error::file(path, format!("a column called `{column}`"), found)
}

/// The first of a file's columns; structures show their fields, as they are to be named.
fn names(schema: &Type) -> Vec<String> {
    let names = schema.get_fields().iter().take(20).flat_map(|field| match field.is_group() {
        true if field.get_basic_info().converted_type() == parquet::basic::ConvertedType::NONE => {
            field.get_fields().iter().map(|inner| format!("{}.{}", field.name(), inner.name())).collect()
        }
        _ => vec![field.name().to_owned()],
    });
    names.map(|name| shortened(&name, 40).to_string()).collect()
}

fn value(row: &Row, path: &[String], lists: bool) -> Result<String, Complaint> {
    let field = row.get_column_iter().find(|(name, _)| **name == path[0]).map(|(_, field)| field);
    let wrong = |found: &str| Err((format!("a string in `{}`", path[0]), found.to_owned()));
    match (field, path.len()) {
        (Some(Field::Group(inner)), 2..) => value(inner, &path[1..], lists),
        (None | Some(Field::Null), _) => Ok(String::new()),
        (Some(Field::Str(text)), 1) => Ok(text.clone()),
        // Some writers do not say that their bytes are text.
        (Some(Field::Bytes(bytes)), 1) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => wrong("bytes that are no UTF-8"),
        },
        (Some(Field::Group(_)), 1) => wrong("a structure (name its field, as `a.b`)"),
        (Some(Field::ListInternal(list)), 1) if lists => {
            let item = |item: &Field| match item {
                Field::Str(text) => Value::from(text.as_str()),
                // What is no text and no number is for whoever reads the list to refuse.
                Field::Null | Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => Value::Null,
                other => Value::from(other.to_string()),
            };
            Ok(list.elements().iter().map(item).collect::<Value>().to_string())
        }
        (Some(Field::ListInternal(_)), _) => wrong("a list"),
        (Some(Field::MapInternal(_)), _) => wrong("a map"),
        // As JSON spells them, so that a table in another format has the same labels.
        (Some(Field::Float(number)), 1) => Ok(spelled(f64::from(*number), *number)),
        (Some(Field::Double(number)), 1) => Ok(spelled(*number, *number)),
        (Some(other), 1) => Ok(other.to_string()),
        (Some(_), _) => wrong("what has no fields"),
    }
}

/// A number as JSON spells it, and nothing for what is none.
fn spelled(value: f64, shown: impl fmt::Debug) -> String {
    if value.is_finite() { format!("{shown:?}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_58_lists_are_weighed_by_the_rows_that_are_read_together() {
        // A million sentences of 34 words.
        assert_eq!(in_a_batch(34 << 20, 1 << 20), 34 << 10);
        assert_eq!(in_a_batch(1 << 30, 1), 1 << 30);
        assert_eq!(in_a_batch(-1, 0), 0);
    }
}
