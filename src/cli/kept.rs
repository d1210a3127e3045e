//! What was found out about an adapter, kept so that later commands need not find it out again.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wgrad::gpu::Capabilities;
use wgrad::ops;
use wgrad::store::{Disk, Store, format_of, refuse_newer, write_json};

use super::{folders, print};

/// A file of findings in the folder of caches.
pub struct Kept {
    /// Its name.
    pub file: &'static str,
    /// What it holds, for people.
    pub what: &'static str,
    /// The key of the list of findings. The first format of some files was the list alone.
    pub key: &'static str,
    /// The format that is written.
    pub format: u32,
}

impl Kept {
    /// Nowhere on a machine without a folder for that.
    fn path(&self) -> Option<PathBuf> {
        Some(folders::caches()?.join("wgrad").join(self.file))
    }

    /// A file that cannot be read holds nothing.
    pub fn read<T: DeserializeOwned>(&self, path: &Path) -> wgrad::Result<Vec<T>> {
        let bytes = std::fs::read(path).unwrap_or_default();
        refuse_newer(path, self.what, format_of(&bytes, "format"), self.format)?;
        let mut kept: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let list = kept.get_mut(self.key).map_or(Value::Null, Value::take);
        let list = if list.is_null() { kept } else { list };
        Ok(serde_json::from_value(list).unwrap_or_default())
    }

    /// The finding that `is` what is looked for.
    pub fn find<T: DeserializeOwned>(&self, is: impl Fn(&T) -> bool) -> Option<T> {
        self.read(&self.path()?).unwrap_or_default().into_iter().find(is)
    }

    /// Keeps a finding in the place of those that it `replaces`. What cannot be kept is found again.
    pub fn keep<T: Serialize + DeserializeOwned>(&self, finding: T, replaces: impl Fn(&T) -> bool) {
        let Some(path) = self.path() else { return };
        let kept = || -> wgrad::Result<()> {
            let mut all = self.read(&path)?;
            all.retain(|other| !replaces(other));
            all.push(finding);
            Disk.create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            write_json(&Disk, &path, &json!({ "format": self.format, self.key: all }))
        };
        if let Err(error) = kept() {
            print::note(format_args!("note: {} were not kept: {error}", self.what));
        }
    }
}

/// The program's version, that of the compiler of its shaders, and a checksum of the shaders of which there are several
/// forms and of what is done to them.
pub fn version() -> String {
    let kernels = ops::matmul::KERNELS.iter().chain(ops::attention::KERNELS);
    let shaders = kernels.map(|kernel| kernel.source.text);
    let sources = shaders.chain([wgrad::gpu::spirv::SOURCE]).collect::<String>();
    let checksum = crc32fast::hash(sources.as_bytes());
    format!(
        "{}, naga {}, {checksum:08x}",
        env!("CARGO_PKG_VERSION"),
        locked("naga").unwrap_or("of unknown version")
    )
}

/// The version of a package that this program was built with.
fn locked(package: &str) -> Option<&'static str> {
    let (_, entry) =
        include_str!("../../Cargo.lock").split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}

/// What a finding is of: an adapter as its driver shows it, and the version of the program and of its kernels.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Subject {
    pub adapter: String,
    pub driver: String,
    pub wgrad: String,
}

impl Subject {
    /// The adapter with this program.
    pub fn of(adapter: &Capabilities) -> Self {
        Subject { adapter: adapter.name.clone(), driver: adapter.driver.clone(), wgrad: version() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Kept = Kept { file: "numbers.json", what: "numbers", key: "list", format: 2 };

    #[test]
    fn a_version_names_the_compiler_of_its_shaders() {
        assert!(locked("naga").is_some_and(|version| version.split('.').count() == 3));
        assert_eq!(locked("no such package"), None);
        assert!(version().contains(", naga "));
    }

    #[test]
    fn what_is_kept_is_read_in_all_its_formats() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers.json");
        let read = |json: &str| {
            std::fs::write(&path, json).unwrap();
            NUMBERS.read::<u32>(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read("[7]"), Ok(vec![7]));
        assert_eq!(read(r#"{"format":2,"list":[7, 8]}"#), Ok(vec![7, 8]));
        assert_eq!(read("{"), Ok(vec![]));
        assert_eq!(read(r#"{"format":2,"list":["seven"]}"#), Ok(vec![]));
        let refused = read(r#"{"format":3,"list":{}}"#).unwrap_err();
        assert!(refused.contains("made by a newer wgrad: numbers of format 3"), "{refused}");
    }
}
