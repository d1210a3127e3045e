//! The version that every format of this crate carries.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// The version that a file of JSON gives under `key`, 1 if it has none. Broken JSON counts as having none, because
/// whatever reads it says what is wrong with it.
pub fn format_of(json: &[u8], key: &str) -> u64 {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    value.get(key).and_then(Value::as_u64).unwrap_or(1)
}

/// Refuses a file whose version is newer than the newest that is known. `what` names the format.
///
/// # Errors
/// [`Error::Newer`].
pub fn refuse_newer(path: impl AsRef<Path>, what: &'static str, found: u64, newest: u32) -> Result<()> {
    if found <= u64::from(newest) {
        return Ok(());
    }
    Err(Error::Newer { path: path.as_ref().to_path_buf(), what, found, newest })
}
