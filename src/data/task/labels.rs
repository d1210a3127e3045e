//! From labels as files spell them to numbers, and back.

use std::collections::{HashMap, HashSet};

use super::kind::Task;
use super::table::{Example, Table};
use crate::error::quoted;
use crate::{Error, Result};

/// More classes than this are rather texts in the wrong column.
const MAX_CLASSES: usize = 1000;

/// The names of the classes; a class's number is its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    /// How files spell the classes, where not by name.
    spellings: Vec<String>,
}

impl Labels {
    /// The classes of a task of GLUE.
    pub fn glue(task: Task) -> Labels {
        let (spellings, names) = task.classes().iter().map(|(s, n)| (s.to_string(), n.to_string())).unzip();
        Labels { names, spellings }
    }

    /// The classes that a table for training has, numbers in their order, else names in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Line`] for an empty label; [`Error::File`] for a single class or more than 1000.
    pub fn of(table: &Table) -> Result<Labels> {
        if let Some(example) =
            table.examples.iter().find(|example| example.label.as_deref().is_none_or(str::is_empty))
        {
            let (path, line) = (table.file_of(example).to_path_buf(), example.line);
            let (expected, found) = ("a label".to_owned(), "nothing".to_owned());
            return Err(Error::Line { path, line, expected, found });
        }
        let labels = table.examples.iter().filter_map(|example| example.label.clone());
        Labels::among(labels, 2, table)
    }

    /// The labels of a table where a text may have several or each word has one, `least` at least, in the order that
    /// [`Labels::of`] gives classes.
    ///
    /// # Errors
    /// [`Error::File`] for fewer labels or more than 1000.
    pub fn of_lists(table: &Table, least: usize) -> Result<Labels> {
        Labels::among(table.examples.iter().flat_map(Example::labels), least, table)
    }

    fn among(labels: impl Iterator<Item = String>, least: usize, table: &Table) -> Result<Labels> {
        let mut known = HashSet::new();
        let mut names: Vec<String> = Vec::new();
        for label in labels {
            if known.insert(label.clone()) {
                names.push(label);
            }
            if names.len() > MAX_CLASSES {
                break;
            }
        }
        if !(least..=MAX_CLASSES).contains(&names.len()) {
            let found = match names.first() {
                Some(name) if names.len() == 1 => format!("{} only", quoted(name)),
                Some(_) => format!("more than {MAX_CLASSES} (is this the column of the labels?)"),
                None => "none".to_owned(),
            };
            return Err(Error::file(&table.path, format!("{least} to {MAX_CLASSES} classes"), found));
        }
        let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
        match numbers {
            Some(_) => names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default()),
            None => names.sort_unstable(),
        }
        Ok(Labels { spellings: names.clone(), names })
    }

    /// The classes of a trained model, in the order of its outputs, for the files of `task`.
    pub fn of_model(names: &[String], task: Task) -> Labels {
        let known = task.classes();
        let spelling = |(at, name): (usize, &String)| {
            let named = known.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
            // A model that does not name its classes has them in the order of the task.
            let place = known.get(at).filter(|_| *name == format!("LABEL_{at}"));
            named.or(place).map_or_else(|| name.clone(), |(spelling, _)| spelling.to_string())
        };
        Labels { spellings: names.iter().enumerate().map(spelling).collect(), names: names.to_vec() }
    }

    /// The names, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of every example.
    ///
    /// # Errors
    /// [`Error::Line`] for a label that is not known.
    pub fn numbers(&self, table: &Table) -> Result<Vec<u32>> {
        let number = self.by_name();
        let all = table.examples.iter().map(|example| {
            let label = example.label.as_deref().unwrap_or_default();
            number.get(label).copied().ok_or_else(|| self.unknown(label, example, table))
        });
        all.collect()
    }

    /// The labels of every example, where a text may have several or each word has one.
    ///
    /// # Errors
    /// [`Error::Line`] for a label that is not known.
    pub fn lists(&self, table: &Table) -> Result<Vec<Vec<u32>>> {
        let number = self.by_name();
        let all = table.examples.iter().map(|example| {
            let labels = example.labels().into_iter();
            let known = |label: String| {
                number.get(label.as_str()).copied().ok_or_else(|| self.unknown(&label, example, table))
            };
            labels.map(known).collect()
        });
        all.collect()
    }

    /// The number of each label by how files spell it, or else by its name; of equal ones the first counts.
    fn by_name(&self) -> HashMap<&str, u32> {
        let mut numbers = HashMap::new();
        for list in [&self.spellings, &self.names] {
            for (label, number) in list.iter().zip(0..) {
                numbers.entry(label.as_str()).or_insert(number);
            }
        }
        numbers
    }

    fn unknown(&self, label: &str, example: &Example, table: &Table) -> Error {
        let known: Vec<_> = self.spellings.iter().take(20).map(|name| quoted(name)).collect();
        let (path, line) = (table.file_of(example).to_path_buf(), example.line);
        let expected = format!("one of the labels {}", known.join(", "));
        Error::Line { path, line, expected, found: quoted(label) }
    }
}

/// The number that labels every example.
///
/// # Errors
/// [`Error::Line`] for a label that is no finite number.
pub fn scores(table: &Table) -> Result<Vec<f32>> {
    let all = table.examples.iter().map(|example| {
        let label = example.label.as_deref().unwrap_or_default();
        let score = label.parse::<f32>().ok().filter(|score| score.is_finite());
        score.ok_or_else(|| {
            let (path, line) = (table.file_of(example).to_path_buf(), example.line);
            Error::Line { path, line, expected: "a number as the label".to_owned(), found: quoted(label) }
        })
    });
    all.collect()
}
