//! Where the results of divided work go: an output, or a part of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use wgrad::format::thousands;
use wgrad::gpu::Capabilities;
use wgrad::store::{self, Making, PartWriter, Seen, WorkShard};
use wgrad::{Error, budget};

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
        match shard {
            None => Ok(Target::Whole(print::output(output.unwrap_or(Path::new("-")))?)),
            Some(shard) => Ok(Target::Part(PartWriter::create(named(output)?, shard)?)),
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
    pub fn finish(self, seen: Seen, making: impl FnOnce() -> Making) -> anyhow::Result<()> {
        let part = match self {
            Target::Whole(out) => return Ok(out.finish()?),
            Target::Part(part) => part,
        };
        let (path, shard) = (part.path().display().to_string(), part.shard());
        part.finish(seen, making())?;
        let [own, all] = [shard.items(seen.items), seen.items].map(thousands);
        print::note(format_args!("part {shard}: {own} of {all} texts in {path}"));
        Ok(())
    }
}

/// Refuses an output of which `shard` can make no part: before models are read, and before hours of work that nobody could
/// put together.
pub fn check(output: Option<&Path>, shard: Option<WorkShard>) -> anyhow::Result<()> {
    if let Some(shard) = shard {
        shard.part(named(output)?)?;
    }
    Ok(())
}

/// The file that parts will be put together to.
fn named(output: Option<&Path>) -> anyhow::Result<&Path> {
    let Some(output) = output.filter(|path| path.as_os_str() != "-") else {
        bail!("--shard: expected --output FILE, by which the parts are called, found none");
    };
    if output.exists() && !output.is_file() {
        let found = if output.is_dir() { "a folder" } else { "a pipe or device" };
        return Err(Error::file(output, "a file, there or to be made, with --shard", found).into());
    }
    Ok(output)
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

/// How the results of a model were made, by what they follow from beside the device.
pub fn making(kind: &str, device: &Capabilities, follows_from: &[(&str, String)], layout: Layout) -> Making {
    let mut same: BTreeMap<String, String> =
        follows_from.iter().map(|(what, value)| ((*what).to_owned(), value.clone())).collect();
    same.insert("wgrad".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    // What would differ by more than last bits names the option that makes it alike.
    same.insert("matrix units (--matrix-units)".to_owned(), units(device));
    same.insert("bytes of a text (--memory)".to_owned(), budget::text_limit().to_string());
    let details = serde_json::json!(layout);
    same.insert("records".to_owned(), details.to_string());
    Making { kind: kind.to_owned(), same, device: Some(described(device)), details }
}

/// What the device multiplies on its matrix units.
fn units(device: &Capabilities) -> String {
    let tile = device.matrix_tile.map_or(String::new(), |tile| format!(" in tiles of {tile}"));
    device.matrix_operands.map_or("none".to_owned(), |operands| format!("{operands}{tile}"))
}

/// A device by all that last bits depend on: another driver or form of a kernel may add in another order.
fn described(device: &Capabilities) -> String {
    let Capabilities { name, backend, driver, .. } = device;
    let forms = device.choices.iter().map(|(name, form)| format!("{name}={form}"));
    let all = [name, backend, driver].into_iter().cloned().chain(forms);
    all.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use wgrad::gpu::MatrixOperands;

    use super::*;

    #[test]
    fn a_part_says_what_its_records_follow_from() {
        let made = |device: &Capabilities| making("vectors", device, &[], Layout::Lines);
        let plain = Capabilities {
            name: "a GPU".into(),
            backend: "vulkan".into(),
            driver: "driver 1".into(),
            ..Capabilities::default()
        };
        let (operands, tile) = (Some(MatrixOperands::F16), Some(16));
        let on_units = Capabilities { matrix_operands: operands, matrix_tile: tile, ..plain.clone() };
        assert_eq!(made(&plain).same["matrix units (--matrix-units)"], "none");
        assert_eq!(made(&on_units).same["matrix units (--matrix-units)"], "f16 in tiles of 16");
        assert_eq!(made(&plain).device.unwrap(), "a GPU, vulkan, driver 1");
        let mut tuned = Capabilities { driver: String::new(), ..plain.clone() };
        tuned.choices = tuned.choices.with("sums", "whole");
        assert_eq!(made(&tuned).device.unwrap(), "a GPU, vulkan, sums=whole");
        assert_eq!(made(&tuned).same, made(&plain).same);
    }
}
