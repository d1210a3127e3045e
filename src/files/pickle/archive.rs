//! The format of `torch.save` since PyTorch 1.6: a zip archive of a pickle and of storages, none of them packed.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::{Contents, machine, state_dict};
use crate::error::quoted;

/// The tensors of an archive.
///
/// # Errors
/// What was found instead, in words.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, String> {
    let records = records(bytes)?;
    let mut names = records.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let folder = names.find(|folder| folder.is_empty() || folder.ends_with('/'));
    let folder = folder.ok_or("an archive without a data.pkl")?;
    let record = |name: &str| records.get(&format!("{folder}{name}"));
    let order = record("byteorder").map_or(&b"little"[..], |record| &bytes[record.clone()]);
    if order != b"little" {
        return Err(format!("numbers of the byte order {}", quoted(&String::from_utf8_lossy(order))));
    }
    let pickle = record("data.pkl").map_or(&[][..], |record| &bytes[record.clone()]);
    let pickle = machine::read(pickle)?;
    state_dict::contents(&pickle, bytes, |key| record(&format!("data/{key}")).cloned())
}

/// The places of the members of an archive.
fn records(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>, String> {
    let broken =
        |error: zip::result::ZipError| format!("a broken archive ({error}): perhaps it is cut short");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut records = HashMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        if member.encrypted() || member.compression() != CompressionMethod::Stored {
            return Err(format!("{} packed, as PyTorch never does", quoted(&name)));
        }
        let place = member.data_start().and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(member.compressed_size()).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        });
        let place = place.ok_or_else(|| format!("{} beyond the end of the file", quoted(&name)))?;
        if records.insert(name.clone(), place).is_some() {
            return Err(format!("{} twice in the archive", quoted(&name)));
        }
    }
    Ok(records)
}
