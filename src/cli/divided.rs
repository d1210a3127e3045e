//! Where the results of divided work go: an output, or a part of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use wgrad::format::thousands;
use wgrad::gpu::Gpu;
use wgrad::store::{self, Making, PartWriter, Seen, WorkShard};

use super::print;

/// What takes results as they come.
pub enum Target {
    /// A file, a pipe or a terminal.
    Whole(store::Output),
    /// A part, of which `wgrad merge` makes a file with others.
    Part(PartWriter),
}

impl Target {
    /// Opens `output`, or the part of it that `shard` makes; without a name the standard output.
    pub fn open(output: Option<&Path>, shard: Option<WorkShard>) -> anyhow::Result<Self> {
        let named = output.filter(|path| path.as_os_str() != "-");
        match (shard, named) {
            (None, _) => Ok(Target::Whole(print::output(output.unwrap_or(Path::new("-")))?)),
            (Some(shard), Some(output)) => Ok(Target::Part(PartWriter::create(output, shard)?)),
            (Some(_), None) => {
                bail!("--shard: expected --output FILE, by which the parts are called, found none")
            }
        }
    }

    /// Whether what was written can be changed until it is finished.
    pub fn is_file(&self) -> bool {
        matches!(self, Target::Whole(out) if out.is_file())
    }

    /// The place among all items, counted from 0, of number `index` of those that are written here.
    pub fn place(&self, index: usize) -> u64 {
        match self {
            Target::Whole(_) => index as u64,
            Target::Part(part) => part.shard().place(index as u64),
        }
    }

    /// Appends the records of so many items.
    pub fn put(&mut self, items: usize, records: &[u8]) -> wgrad::Result<()> {
        match self {
            Target::Whole(out) => out.put(records),
            Target::Part(part) => part.put(items as u64, records),
        }
    }

    /// Ends the output. Of a part it is told what it is of; `seen` are the items of all parts.
    pub fn finish(self, seen: Seen, making: impl FnOnce() -> wgrad::Result<Making>) -> anyhow::Result<()> {
        let part = match self {
            Target::Whole(out) => return Ok(out.finish()?),
            Target::Part(part) => part,
        };
        let (path, shard) = (part.path().display().to_string(), part.shard());
        part.finish(seen, making()?)?;
        let [own, all] = [shard.items(seen.items), seen.items].map(thousands);
        print::note(format_args!("part {shard}: {own} of {all} texts in {path}"));
        Ok(())
    }
}

/// How the records of a part are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A line each.
    Lines,
    /// A row each of a matrix of NumPy.
    Rows {
        /// Numbers in a row.
        width: usize,
    },
}

/// How the results of a model on `gpu` were made, by what else they follow from.
pub fn making(kind: &str, gpu: &Gpu, follows_from: &[(&str, String)], layout: Layout) -> Making {
    let mut same: BTreeMap<String, String> =
        follows_from.iter().map(|(what, value)| ((*what).to_owned(), value.clone())).collect();
    same.insert("wgrad".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let device = Some(gpu.capabilities().name.clone());
    let details = serde_json::json!(layout);
    same.insert("records".to_owned(), details.to_string());
    Making { kind: kind.to_owned(), same, device, details }
}
