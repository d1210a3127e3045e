//! What files there are: how they spell documents, how they are packed, and what their names tell of it.

use std::path::Path;

/// How a file spells documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain text.
    Text,
    /// JSON objects: one a line, or in one array; the file's beginning says which.
    Json,
    /// Comma-separated values with a header; quotes as in RFC 4180.
    Csv,
    /// Tab-separated values with a header; no quoting, as GLUE's files have it.
    Tsv,
    /// Parquet.
    Parquet,
}

/// How a file is packed. Files of several members are read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
    /// `.zst`
    Zstd,
    /// `.xz`
    Xz,
}

/// How files are taken, whatever they are read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// What all files are, whatever their names and contents say.
    pub format: Option<Format>,
    /// Whether the first row of a `.csv` or `.tsv` file names the columns. Without names, columns go by number.
    pub header: bool,
    /// Refuse what would be put right or left out.
    pub strict: bool,
    /// Go on however many rows cannot be used; otherwise one in a hundred at most may be lost.
    pub lenient: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        FileOptions { format: None, header: true, strict: false, lenient: false }
    }
}

/// The format and packing that a file's name tells; none if it tells neither.
pub fn recognise(path: &Path) -> Option<(Format, Compression)> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let (stem, ending) = name.rsplit_once('.')?;
    let packed = match ending {
        "gz" => Some(Compression::Gzip),
        "bz2" => Some(Compression::Bzip2),
        "zst" => Some(Compression::Zstd),
        "xz" => Some(Compression::Xz),
        _ => None,
    };
    let ending = match packed {
        Some(_) => stem.rsplit_once('.')?.1,
        None => ending,
    };
    let format = match ending {
        "txt" => Format::Text,
        "jsonl" | "ndjson" | "json" => Format::Json,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "parquet" => Format::Parquet,
        _ => return None,
    };
    Some((format, packed.unwrap_or(Compression::None)))
}

/// Whether a name has no ending but that of a packing, as `wiki_00` and `wiki_00.bz2`: it says nothing, so that the content
/// may.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn is_nameless(path: &Path) -> bool {
    let stem = path.file_stem().map(Path::new);
    let named = if packing_by_name(path) == Compression::None { Some(path) } else { stem };
    named.is_none_or(|named| named.extension().is_none())
}

/// The packing that an ending tells where the ending before it tells nothing.
pub(super) fn packing_by_name(path: &Path) -> Compression {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Compression::Gzip,
        Some("bz2") => Compression::Bzip2,
        Some("zst") => Compression::Zstd,
        Some("xz") => Compression::Xz,
        _ => Compression::None,
    }
}
