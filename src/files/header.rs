//! The header of a safetensors file, read strictly: eight bytes of length, JSON, then the tensors without a gap.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::quoted;
use crate::{Error, Result};

/// The format's own bound on the JSON.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// The key that holds free text instead of a tensor.
const METADATA: &str = "__metadata__";

/// What a file says it holds.
pub(super) struct Header {
    /// Name and place of every tensor, in the order of the data.
    pub tensors: Vec<(String, TensorInfo)>,
    /// Free text, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// Where the tensors' bytes begin in the file.
    pub data_start: usize,
}

/// Reads and checks the header of a whole file.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Header> {
    let wrong = |expected: &str, found: String| Error::file(path, expected, found);
    if let Some(kind) = foreign(bytes) {
        return Err(wrong("a safetensors file", kind.to_string()));
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(wrong(
            "a safetensors file, which has at least 8 bytes",
            format!("{} bytes", bytes.len()),
        ));
    };
    let length = u64::from_le_bytes(*prefix);
    if length > MAX_HEADER {
        let found = format!("{length} in the first 8 bytes");
        return Err(wrong("a safetensors file, with a header of at most 100000000 bytes", found));
    }
    let length = length as usize;
    if length > rest.len() {
        let found =
            format!("a header of {length} bytes in a file of {}: cut short, or not safetensors", bytes.len());
        return Err(wrong("a whole safetensors file", found));
    }
    let (json, data) = rest.split_at(length);
    let json = std::str::from_utf8(json)
        .map_err(|error| wrong("a safetensors header in UTF-8", format!("something else: {error}")))?;
    let Unique(entries) = serde_json::from_str::<Unique<Entry>>(json)
        .map_err(|error| wrong("a safetensors header in JSON", format!("a fault: {error}")))?;

    let mut header =
        Header { tensors: Vec::with_capacity(entries.len()), metadata: vec![], data_start: 8 + length };
    for (name, entry) in entries {
        match entry {
            Entry::Tensor(info) => header.tensors.push((name, info)),
            Entry::Metadata(pairs) => header.metadata = pairs,
        }
    }
    header.tensors.sort_by_key(|(_, info)| info.data_offsets);
    check_places(&header.tensors, data.len(), path)?;
    Ok(header)
}

/// Every tensor has the bytes its shape needs, and together they cover the data once.
fn check_places(tensors: &[(String, TensorInfo)], available: usize, path: &Path) -> Result<()> {
    let promised = tensors.iter().map(|(_, info)| info.data_offsets.1).max().unwrap_or(0);
    if promised > available {
        let expected = format!("{promised} bytes of tensors, as the header says");
        return Err(Error::file(path, expected, format!("{available}: the file is cut short")));
    }
    let mut covered = 0;
    let mut before = "";
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        let shown = quoted(name);
        if end < start {
            let found = format!("{shown} ending at byte {end}, before its start {start}");
            return Err(Error::file(path, "tensors that end after they start", found));
        }
        if start < covered {
            let found = format!("{shown} starting at byte {start}, inside {}", quoted(before));
            return Err(Error::file(path, "tensors that do not overlap", found));
        }
        if start > covered {
            let found = format!("a hole at bytes {covered} to {start}, before {shown}");
            return Err(Error::file(path, "tensors that follow each other without a gap", found));
        }
        // In u64: the bits of a tensor overflow the web's 32-bit usize before its bytes do.
        let bits =
            info.shape.iter().try_fold(info.dtype.bitsize() as u64, |n, &size| n.checked_mul(size as u64));
        let Some(bits) = bits else {
            let found = format!("{shown} with {} {:?}, which overflows", info.dtype, info.shape);
            return Err(Error::file(path, "tensors that fit in memory", found));
        };
        if !bits.is_multiple_of(8) || bits / 8 != (end - start) as u64 {
            let expected = format!("{} bytes for {shown}, {} {:?}", bits.div_ceil(8), info.dtype, info.shape);
            return Err(Error::file(path, expected, format!("{} bytes", end - start)));
        }
        (covered, before) = (end, name);
    }
    if covered != available {
        let found = format!("{} bytes more", available - covered);
        return Err(Error::file(path, "the end of the file after the last tensor", found));
    }
    Ok(())
}

/// What a file that is not safetensors looks like, with what to do.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    if bytes.first_chunk().is_some_and(|prefix| u64::from_le_bytes(*prefix) <= MAX_HEADER) {
        return None;
    }
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins =
        |word: &str| start.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word.as_bytes()));
    if bytes.is_empty() {
        Some("an empty file")
    } else if begins("version https://git-lfs") {
        Some("a Git LFS pointer: the file itself was not fetched; run `git lfs pull`")
    } else if ["<!doctype", "<html", "<?xml", "<head", "<body"].into_iter().any(begins) {
        Some("a web page, perhaps an error page saved as the file: download it again")
    } else if bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..]) {
        Some(PICKLE)
    } else {
        None
    }
}

/// What a PyTorch file is told.
const PICKLE: &str = "a PyTorch pickle, which can run any code when it is read; convert it in Python: \
     `from safetensors.torch import save_file; w = torch.load(FILE, weights_only=True); \
     save_file({k: v.contiguous().clone() for k, v in w.items()}, 'model.safetensors')`";

/// A value of the header's top level.
enum Entry {
    Tensor(TensorInfo),
    Metadata(Vec<(String, String)>),
}

/// A JSON object as a list, refusing a key that comes twice (a map would keep the last).
pub(super) struct Unique<T>(pub Vec<(String, T)>);

/// Reads the value that belongs to a key.
pub(super) trait Keyed: Sized {
    fn next<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error>;
}

impl Keyed for String {
    fn next<'de, A: MapAccess<'de>>(_: &str, map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}

impl Keyed for Entry {
    fn next<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error> {
        if key == METADATA {
            return map.next_value::<Unique<String>>().map(|pairs| Entry::Metadata(pairs.0));
        }
        let described = map
            .next_value::<TensorInfo>()
            .map_err(|error| A::Error::custom(format!("{}: {error}", quoted(key))));
        described.map(Entry::Tensor)
    }
}

impl<'de, T: Keyed> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Keyed> Visitor<'de> for Entries<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut seen = std::collections::HashSet::new();
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = T::next(&key, &mut map)?;
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {} comes twice", quoted(&key))));
                    }
                    entries.push((key, value));
                }
                Ok(Unique(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
