//! Files of JSON, and the version that every format of this crate carries.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Store, write_atomic};
use crate::json::weigh;
use crate::{Error, Result};

/// The version that a file of JSON gives under `key`, 1 if it has none. Broken JSON counts as having none, because
/// whatever reads it says what is wrong with it.
pub fn format_of(json: &[u8], key: &str) -> u64 {
    // What is too much to parse is for whoever reads it to refuse.
    let value: Value = weigh(json).ok().and_then(|()| serde_json::from_slice(json).ok()).unwrap_or_default();
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

/// Reads a file of JSON; `what` says what it must hold.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] when it holds something else.
pub fn read_json<T: DeserializeOwned>(store: &dyn Store, path: &Path, what: &str) -> Result<T> {
    let json = store.read(path)?;
    weigh(&json).map_err(|(expected, found)| Error::file(path, expected, found))?;
    serde_json::from_slice(&json).map_err(|error| Error::file(path, what, error.to_string()))
}

/// The object in a file of settings that need not be there: where there is none, it has no settings.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] when the file holds something else.
pub fn read_settings(store: &dyn Store, path: &Path) -> Result<Map<String, Value>> {
    if store.exists(path) { read_json(store, path, "settings in JSON") } else { Ok(Map::new()) }
}

/// Writes a file of JSON for people to read.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a value that JSON cannot hold.
pub fn write_json(store: &dyn Store, path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value);
    let json = json.map_err(|error| Error::file(path, "a value that JSON can hold", error.to_string()))?;
    write_atomic(store, path, |sink| sink.put(format!("{json}\n").as_bytes())).map(drop)
}
