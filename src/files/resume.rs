//! Whether a run may go on from a checkpoint: what it was started with must be what it goes on with.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::quoted;
use crate::format::shortened;
use crate::json::leaves;
use crate::{Error, Result};

/// Compares the settings stored in a checkpoint with those of the run that wants to go on: usually the
/// configuration, the corpus's fingerprint, the seed and the recipe. The caller may go on in spite of the error when
/// its user asked for that.
///
/// # Errors
/// [`Error::Config`] listing every field that differs, nested ones as `recipe.learning_rate`.
pub fn check_resume(stored: &Map<String, Value>, current: &Map<String, Value>) -> Result<()> {
    // Lists and empty objects are values.
    let leaves =
        |fields| leaves(fields, &|_, inner| !inner.is_empty()).into_iter().collect::<BTreeMap<_, _>>();
    let (was, is) = (leaves(stored), leaves(current));

    let mut differences = Vec::new();
    for (field, old) in &was {
        match is.get(field) {
            Some(new) if new == old => {}
            Some(new) => differences.push(format!("{} {}, was {}", quoted(field), shown(new), shown(old))),
            None => differences.push(format!("no {}, was {}", quoted(field), shown(old))),
        }
    }
    for (field, new) in is.iter().filter(|(field, _)| !was.contains_key(*field)) {
        differences.push(format!("{} {}, was not set", quoted(field), shown(new)));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::config("resume", "the settings the run was started with", differences.join("; ")))
}

/// The beginning of a value, as JSON, which has no line breaks.
fn shown(value: &Value) -> String {
    shortened(&value.to_string(), 100)
}
