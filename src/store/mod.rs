//! Where files lie, and the only ways in which this crate writes them.
//!
//! A [`Store`] is the [`Disk`], [`Memory`], which is all that a page has, or a disk that fails when a test tells it to.
//! What appears whole or not at all is written by [`write_atomic`], by an [`Aside`] or as a [`NewFolder`]; what a person
//! named as an output by an [`Output`], which knows pipes and devices; what grows line by line by [`Store::append`]. Where
//! several processes divide the work of one output, each writes a [`PartWriter`], and [`Parts`] puts them together.

mod aside;
mod bytes;
pub mod checksums;
mod claim;
mod disk;
mod folder;
mod format;
mod lock;
mod memory;
mod output;
#[cfg(not(target_arch = "wasm32"))]
mod part;
#[cfg(not(target_arch = "wasm32"))]
mod parts;
mod sink;
#[cfg(not(target_arch = "wasm32"))]
mod work_shard;

use std::fmt;
use std::io::{self, Seek, Write};
use std::path::Path;

use crate::Result;

pub use aside::{Aside, write_atomic};
pub use bytes::Bytes;
pub use checksums::{CHECKSUMS_FILE, Checksums};
pub use claim::{CHECKPOINTS, Purpose, claim, holds_only};
pub use disk::Disk;
pub use folder::NewFolder;
pub use format::{format_of, read_json, read_settings, refuse_newer, write_json};
pub use lock::FolderLock;
pub use memory::Memory;
pub use output::{Output, write_output};
#[cfg(not(target_arch = "wasm32"))]
pub use part::{Making, PartWriter, Records};
#[cfg(not(target_arch = "wasm32"))]
pub use parts::Parts;
pub use sink::{Digest, Sink, write_file};
#[cfg(not(target_arch = "wasm32"))]
pub use work_shard::{OfShard, Seen, WorkShard};

/// A place for files. Every change is one method, so that tests can make any of them fail.
///
/// All methods that can fail do so with [`Error::Io`](crate::Error::Io), which names the path.
pub trait Store: fmt::Debug + Send + Sync {
    /// Creates a folder and its parents; one that exists is no error.
    fn create_dir_all(&self, path: &Path) -> Result<()>;
    /// Creates a file to write to. One that exists is an error, so that nobody's file is ever emptied by accident.
    fn create(&self, path: &Path) -> Result<Box<dyn OpenFile>>;
    /// Opens a file to write at its end, creating it if need be.
    fn append(&self, path: &Path) -> Result<Box<dyn OpenFile>>;
    /// Renames a file over another, or a folder to a free name.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes an empty folder; one with something in it is an error.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Removes a folder and what is in it.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> Result<Bytes>;
    /// The names in a folder; one that is no Unicode is there by its likeness.
    fn list(&self, path: &Path) -> Result<Vec<String>>;
    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> bool;
    /// Whether there is a folder of this name.
    fn is_dir(&self, path: &Path) -> bool;
    /// Whether other processes may write there too, so that a run must lock its folder.
    fn is_shared(&self) -> bool;
    /// Removes a file that [`Store::create`] created, unless it is still open there. What cannot be removed stays.
    fn remove_abandoned(&self, path: &Path);
}

/// A file that is open for writing.
pub trait OpenFile: fmt::Debug + Write + Seek + Send {
    /// Makes what was written survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Shortens the file to what is known to be good, and goes on writing there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// The folder that a file or folder is in; the current one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
