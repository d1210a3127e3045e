//! Files that a person named as an output: replaced whole, or, where there is nothing to replace, written in place.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Aside, Disk, Store, parent};
use crate::{Error, Result};

/// An output that is written piece by piece.
///
/// A file appears under its name when it is whole; a link to one stays, and the file that it leads to is replaced. A pipe
/// and a device are no names that a file could take over: they are written to where they are.
pub struct Output {
    path: PathBuf,
    to: To,
}

enum To {
    Aside(Aside<'static>),
    InPlace(Box<dyn Write>),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Output {
    /// Begins to write `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for a folder.
    pub fn create(path: &Path) -> Result<Output> {
        let mut path = path.to_path_buf();
        if path.is_symlink() && path.is_file() {
            path = path.canonicalize().map_err(Error::io(&path, "follow the link"))?;
        }
        let to = match path.symlink_metadata() {
            Ok(about) if about.is_dir() => {
                return Err(Error::file(path, "a file to write", "a folder"));
            }
            Ok(about) if !about.is_file() => {
                let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
                To::InPlace(Box::new(file.map_err(Error::io(&path, "open"))?))
            }
            _ if !parent(&path).is_dir() => {
                return Err(Error::file(parent(&path), "a folder to write to", "none: make it first"));
            }
            _ => To::Aside(Aside::begin(&Disk, &path)?),
        };
        Ok(Output { path, to })
    }

    /// Writes to what is open already, the standard output of a program for example.
    pub fn over(out: Box<dyn Write>) -> Output {
        Output { path: PathBuf::from("-"), to: To::InPlace(out) }
    }

    /// Whether what was written can be changed until the output is finished.
    pub fn is_file(&self) -> bool {
        matches!(self.to, To::Aside(_))
    }

    /// Writes over the first bytes of a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] where [`Output::is_file`] says no.
    pub fn put_first(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.to {
            To::Aside(file) => file.sink().put_first(bytes),
            To::InPlace(_) => Err(Error::file(&self.path, "a file", "what cannot be written over")),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.to {
            To::Aside(file) => file.sink().put(bytes),
            To::InPlace(out) => out.write_all(bytes).map_err(Error::io(&self.path, "write")),
        }
    }

    /// Ends the output: a file is synced and gets its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        match self.to {
            To::InPlace(mut out) => out.flush().map_err(Error::io(&self.path, "write")),
            To::Aside(mut file) => {
                file.sink().finish()?;
                file.rename()?;
                Disk.sync_dir(parent(&self.path))
            }
        }
    }
}

/// Writes a whole output at once.
///
/// # Errors
/// As [`Output`].
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut output = Output::create(path)?;
    output.put(bytes)?;
    output.finish()
}
