//! From labels as files spell them to numbers, and back.

use super::kind::Task;
use super::table::Table;
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
        let mut names: Vec<String> = Vec::new();
        for example in &table.examples {
            let label = example.label.as_deref().unwrap_or_default();
            if label.is_empty() {
                let (path, line) = (table.path.clone(), example.line);
                let (expected, found) = ("a label".to_owned(), "nothing".to_owned());
                return Err(Error::Line { path, line, expected, found });
            }
            if !names.iter().any(|name| name == label) {
                names.push(label.to_owned());
            }
            if names.len() > MAX_CLASSES {
                break;
            }
        }
        if !(2..=MAX_CLASSES).contains(&names.len()) {
            let found = match names.first() {
                Some(name) if names.len() == 1 => format!("{} only", quoted(name)),
                _ => format!("more than {MAX_CLASSES} (is this the column of the labels?)"),
            };
            return Err(Error::file(&table.path, format!("2 to {MAX_CLASSES} classes"), found));
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
        let number = |label: &str| {
            let by = |list: &[String]| list.iter().position(|known| known == label);
            by(&self.spellings).or_else(|| by(&self.names)).map(|at| at as u32)
        };
        let all = table.examples.iter().map(|example| {
            let label = example.label.as_deref().unwrap_or_default();
            number(label).ok_or_else(|| {
                let known: Vec<_> = self.spellings.iter().take(20).map(|name| quoted(name)).collect();
                let (path, line) = (table.path.clone(), example.line);
                let expected = format!("one of the labels {}", known.join(", "));
                Error::Line { path, line, expected, found: quoted(label) }
            })
        });
        all.collect()
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
            let (path, line) = (table.path.clone(), example.line);
            Error::Line { path, line, expected: "a number as the label".to_owned(), found: quoted(label) }
        })
    });
    all.collect()
}
