//! The format of `torch.save` before PyTorch 1.6: five pickles, one behind the other, then the storages.

use std::collections::HashMap;
use std::ops::Range;

use super::Contents;
use super::machine;
use super::state_dict::{self, width};
use super::values::{Pickle, Value};
use crate::error::quoted;

/// What the first of the pickles holds.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// And the second.
const VERSION: i128 = 1001;

/// The tensors of a file.
///
/// # Errors
/// What was found instead, in words.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, String> {
    let mut at = 0;
    let mut next = || {
        let pickle = machine::read(&bytes[at..])?;
        at += pickle.end;
        Ok::<_, String>(pickle)
    };
    let number = |pickle: &Pickle| match pickle.value(pickle.root) {
        Value::Int(number) => Some(*number),
        _ => None,
    };
    if number(&next()?) != Some(MAGIC) {
        return Err("a pickle that `torch.save` did not write".to_owned());
    }
    let version = number(&next()?);
    if version != Some(VERSION) {
        return Err(format!("version {version:?} of PyTorch's earlier format"));
    }
    let system = next()?;
    if field(&system, "little_endian").is_some_and(|little| matches!(little, Value::Bool(false))) {
        return Err("numbers of the byte order `big`".to_owned());
    }
    let tensors = next()?;
    let keys = next()?;
    let storages = storages(bytes, at, &tensors, &keys)?;
    state_dict::contents(&tensors, bytes, |key| storages.get(key).cloned())
}

fn field<'p>(dict: &'p Pickle, name: &str) -> Option<&'p Value> {
    let Value::Dict(pairs) = dict.value(dict.root) else { return None };
    let (_, value) = pairs.iter().find(|(key, _)| dict.text(*key) == Some(name))?;
    Some(dict.value(*value))
}

/// The places of the storages, which lie from byte `at` on in the order of `keys`, each behind its number of elements.
fn storages<'p>(
    bytes: &[u8],
    mut at: usize,
    tensors: &'p Pickle,
    keys: &'p Pickle,
) -> Result<HashMap<&'p str, Range<usize>>, String> {
    let Value::List(list) = keys.value(keys.root) else { return Err("no list of storages".to_owned()) };
    let widths: HashMap<&str, usize> = tensors
        .storages()
        .filter_map(|storage| Some((tensors.key(storage)?, width(storage.dtype))))
        .collect();
    let mut places = HashMap::new();
    for &key in list {
        let key = keys.text(key).ok_or("a storage without a name")?;
        let shown = quoted(key);
        let &width = widths.get(key).ok_or_else(|| format!("a storage {shown} that no tensor is in"))?;
        let cut = || format!("the file cut short in the storage {shown}");
        let elements = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*elements)).ok().and_then(|n| n.checked_mul(width));
        let start = at + 8;
        let end = length.and_then(|length| start.checked_add(length)).filter(|&end| end <= bytes.len());
        at = end.ok_or_else(cut)?;
        places.insert(key, start..at);
    }
    Ok(places)
}
