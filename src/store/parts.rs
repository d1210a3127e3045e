//! The parts of an output, found beside it and put together in the order of their items.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::part::{About, Making, Records};
use super::work_shard::{Seen, WorkShard};
use super::{Disk, Store, parent};
use crate::error::quoted;
use crate::format::shortened;
use crate::{Error, Result};

/// All parts of an output, which are whole and belong together.
#[derive(Debug)]
pub struct Parts {
    parts: Vec<Records>,
    /// What the first part says; what matters, all say.
    about: About,
    devices: Vec<String>,
    next: u64,
}

impl Parts {
    /// Finds and opens the parts of `output`: `OUTPUT.1-of-N` to `OUTPUT.N-of-N`.
    ///
    /// # Errors
    /// [`Error::File`] for parts that are missing, not whole, of another input, or made otherwise than the first;
    /// [`Error::Newer`]; [`Error::Io`].
    pub fn open(output: &Path) -> Result<Parts> {
        let shards = find(output)?;
        let open = |shard: &WorkShard| Records::open(&shard.part(output)?);
        let opened = shards.par_iter().map(open).collect::<Result<Vec<_>>>()?;
        let (parts, abouts): (Vec<Records>, Vec<About>) = opened.into_iter().unzip();
        let mut devices: Vec<String> = Vec::new();
        for ((shard, part), about) in shards.iter().zip(&parts).zip(&abouts) {
            if about.shard != *shard {
                let expected = format!("part {shard}, as it is called");
                return Err(Error::file(&part.path, expected, format!("part {}", about.shard)));
            }
            compare((&part.path, about), (&parts[0].path, &abouts[0]))?;
            devices.extend(about.making.device.clone().filter(|device| !devices.contains(device)));
        }
        let about = abouts.into_iter().next();
        let about = about.ok_or_else(|| Error::file(output, "parts to put together", "none"))?;
        Ok(Parts { parts, about, devices, next: 0 })
    }

    /// N
    pub fn of(&self) -> usize {
        self.parts.len()
    }

    /// What the records are.
    pub fn kind(&self) -> &str {
        &self.about.making.kind
    }

    /// What whoever puts them together needs to know, as the first part has it.
    pub fn details(&self) -> &Value {
        &self.about.making.details
    }

    /// The devices that the records were computed on, each once.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// The items of all parts.
    pub fn seen(&self) -> Seen {
        let digest = u64::from_str_radix(&self.about.digest, 16).unwrap_or_default();
        Seen { items: self.about.total, digest }
    }

    /// The part whose next record is that of the next item; none after the last item.
    pub fn next_item(&mut self) -> Option<&mut Records> {
        if self.next == self.about.total {
            return None;
        }
        let part = self.next % self.parts.len() as u64;
        self.next += 1;
        self.parts.get_mut(part as usize)
    }

    /// All items were read.
    ///
    /// # Errors
    /// [`Error::File`] for a part with more records than items.
    pub fn finish(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Records::end)
    }
}

/// The shares whose parts lie beside `output`, which are all of one division, in their order.
fn find(output: &Path) -> Result<Vec<WorkShard>> {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let names = Disk.list(parent(output))?;
    let mut found: Vec<WorkShard> = names.iter().filter_map(|other| WorkShard::named(other, &name)).collect();
    found.sort_by_key(|shard| (shard.of(), shard.number()));
    let expected = |of: &str| format!("its parts {}", quoted(&format!("{name}.1-of-{of}")));
    let Some(first) = found.first() else {
        let expected = format!("{} to `{name}.N-of-N`, as --shard writes them", expected("N"));
        return Err(Error::file(output, expected, "none of them"));
    };
    let of = first.of();
    if let Some(other) = found.iter().find(|shard| shard.of() != of) {
        let found = format!("also such of {}: remove those that are not meant", other.of());
        return Err(Error::file(output, format!("parts of one division, {of}"), found));
    }
    let missing: Vec<String> = (1..=of)
        .filter(|number| found.iter().all(|shard| shard.number() != *number))
        .map(|number| format!("{number}/{of}"))
        .collect();
    if !missing.is_empty() {
        let expected =
            format!("{} to {}", expected(&of.to_string()), quoted(&format!("{name}.{of}-of-{of}")));
        let found = format!("{} of them; missing: {}", found.len(), shortened(&missing.join(", "), 120));
        return Err(Error::file(output, expected, found));
    }
    Ok(found)
}

/// Refuses a part that does not belong to the first one.
fn compare((path, about): (&Path, &About), (first_path, first): (&Path, &About)) -> Result<()> {
    let wrong = |expected: String, found: String| Err(Error::file(path, expected, found));
    let says = |what: &str, value: &str| {
        format!("{what} {}, as {} has", shortened(value, 200), first_path.display())
    };
    let (ours, theirs) = (&about.making, &first.making);
    if ours.kind != theirs.kind {
        return wrong(says("the kind", &theirs.kind), ours.kind.clone());
    }
    let differs =
        theirs.same.keys().chain(ours.same.keys()).find(|key| theirs.same.get(*key) != ours.same.get(*key));
    if let Some(key) = differs {
        let value = |making: &Making| making.same.get(key).cloned().unwrap_or_else(|| "nothing".to_owned());
        return wrong(says(key, &value(theirs)), shortened(&value(ours), 200));
    }
    // Items may be others because they were read in another way, which says more.
    let inputs = |about: &About| (about.total, about.digest.clone());
    if inputs(first) != inputs(about) {
        let told = |about: &About| format!("{} items with digest {}", about.total, about.digest);
        return wrong(says("an input of", &told(first)), format!("one of {}", told(about)));
    }
    Ok(())
}
