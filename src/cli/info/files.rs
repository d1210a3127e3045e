//! What files and folders other than models are.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use wgrad::data::about::about;
use wgrad::data::files::sources;
use wgrad::data::source::{Compression, Format};
use wgrad::data::{FileOptions, Split, manifest};
use wgrad::files::Weights;
use wgrad::text::tokenizer;
use wgrad::train::pretrain::RECIPE;
use wgrad::{Error, Result};

use crate::cli::models;

const PIPE: &str = "a pipe or device, which only gives what it has once";

/// Whoever opens a pipe waits for one that writes to it.
///
/// # Errors
/// [`Error::File`] for a pipe or device in a folder, or in those in it, that has the name of a file which is opened.
fn not_waited_for(folder: &Path, inner: bool) -> Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let opened = path.extension().is_some_and(|ending| {
            ["json", "safetensors", "bin", "pt", "pth", "txt", "model"].iter().any(|known| ending == *known)
        });
        match std::fs::metadata(&path) {
            Ok(about) if about.is_dir() && inner => not_waited_for(&path, false)?,
            Ok(about) if opened && !about.is_dir() && !about.is_file() => {
                return Err(Error::file(path, "files and folders", PIPE));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `path` is, under `kind` and whatever there is to say of such; none if it is for the model's loader to say.
pub fn describe(path: &Path) -> Result<Option<Value>> {
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        // A name on the hub, perhaps.
        Err(_) => return Ok(None),
    };
    let holds = |name: &str| path.join(name).is_file();
    if about.is_dir() {
        not_waited_for(path, true)?;
        return match () {
            () if holds("config.json") || holds("modules.json") => Ok(None),
            () if holds(manifest::FILE) => data(path).map(Some),
            () if holds(RECIPE) || holds("finetune.json") => Ok(Some(run(path))),
            () if holds(tokenizer::FILE) => tokens(path).map(Some),
            () => texts(path).map(Some),
        };
    }
    if !about.is_file() {
        return Err(Error::file(path, "a file or folder", PIPE));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.as_ref() {
        name if [".safetensors", ".pt", ".pth"].iter().any(|ending| name.ends_with(ending)) => {
            weights(path).map(Some)
        }
        tokenizer::FILE => tokens(path).map(Some),
        name if name == manifest::FILE || name.ends_with(".bin") || name.ends_with(".idx") => {
            let folder = path.parent().filter(|folder| folder.join(manifest::FILE).is_file());
            match folder {
                Some(folder) => data(folder).map(Some),
                None if name.ends_with(".bin") => weights(path).map(Some).map_err(|error| {
                    let why = format!("no dataset.json beside it, and as weights it is wrong ({error})");
                    Error::file(path, "a file of a data folder, or weights of PyTorch", why)
                }),
                None => Err(Error::file(path, "a file of a data folder", "no dataset.json beside it")),
            }
        }
        _ if wgrad::data::files::is_archive(path) => texts(path).map(Some),
        _ => file(path).map(Some),
    }
}

fn data(path: &Path) -> Result<Value> {
    let dataset = models::dataset(&[path.to_path_buf()])?;
    let part = |split| json!({"sequences": dataset.len(split), "tokens": dataset.tokens(split)});
    Ok(json!({
        "kind": "data folder",
        "seq_len": dataset.seq_len(),
        "vocab_size": dataset.table().vocab_size(),
        "packed": dataset.packed(),
        "train": part(Split::Train),
        "held_out": part(Split::HeldOut),
    }))
}

fn run(path: &Path) -> Value {
    let checkpoints = std::fs::read_dir(path).into_iter().flatten().flatten();
    let checkpoints =
        checkpoints.filter(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint"));
    json!({
        "kind": "run that has not ended (go on with --resume)",
        "checkpoints": checkpoints.count(),
    })
}

fn tokens(path: &Path) -> Result<Value> {
    let tokenizer = models::tokenizer(path)?;
    let specials = tokenizer.specials();
    Ok(json!({
        "kind": "tokenizer",
        "vocab_size": tokenizer.vocab_size(),
        "fingerprint": format!("{:016x}", tokenizer.fingerprint()),
        "pad": specials.pad, "unk": specials.unk, "cls": specials.cls, "sep": specials.sep,
        "mask": specials.mask,
    }))
}

fn weights(path: &Path) -> Result<Value> {
    let weights = Weights::open(path)?;
    weights.check()?;
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for dtype in weights.names().filter_map(|name| weights.dtype(name)) {
        *stored.entry(dtype.to_string()).or_default() += 1;
    }
    let is_safetensors = path.extension().is_some_and(|ending| ending == "safetensors");
    let kind = if is_safetensors { "safetensors" } else { "weights of PyTorch" };
    Ok(json!({"kind": kind, "tensors": weights.names().count(), "stored": stored}))
}

fn texts(path: &Path) -> Result<Value> {
    let found = sources(&[path.to_path_buf()], &FileOptions::default())?;
    let names: Vec<String> = found.files.iter().map(|file| file.path.display().to_string()).collect();
    Ok(json!({"kind": "texts", "files": names, "passed_over": found.passed_over}))
}

fn file(path: &Path) -> Result<Value> {
    let about = about(path, &FileOptions::default())?;
    let kind = match about.format {
        Format::Text => "plain text",
        Format::Json => "JSON objects",
        Format::Csv => "values separated by commas",
        Format::Tsv => "values separated by tabs",
        Format::Parquet => "Parquet",
    };
    let packed = match about.compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Bzip2 => Some("bzip2"),
        Compression::Zstd => Some("zstd"),
        Compression::Xz => Some("xz"),
    };
    let mut value = json!({"kind": kind});
    if let Some(packed) = packed {
        value["compression"] = packed.into();
    }
    if about.format != Format::Text {
        value["columns"] = about.columns.into();
    }
    if let Some(rows) = about.rows {
        value["rows"] = rows.into();
    }
    Ok(value)
}

/// The lines for a person.
pub fn lines(described: &Value) -> Vec<Vec<String>> {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{value} {name}")).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let fields = described.as_object().into_iter().flatten();
    fields.map(|(name, value)| vec![name.replace('_', " "), shown(value)]).collect()
}
