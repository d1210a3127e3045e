//! A disk that fails, fills up or loses power at a chosen operation. It keeps its own account of what was synced,
//! so nothing waits for the real disk.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use wgrad::store::{Bytes, Disk, OpenFile, Store};
use wgrad::{Error, Result};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// It fails; the next ones work.
    Fail,
    /// It happens by half, and nothing happens any more: the process is killed and the machine loses what was not
    /// synced.
    PowerCut,
    /// From there on nothing can be written, but files can be removed and shortened.
    Full,
    /// From there on nothing can be changed.
    ReadOnly,
}

#[derive(Debug, Default)]
struct State {
    done: usize,
    plan: Option<(usize, Fault)>,
    struck: bool,
    unsynced: Vec<PathBuf>,
}

/// The disk; clones share their state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

impl Faulty {
    pub(crate) fn at(operation: usize, fault: Fault) -> Self {
        let faulty = Self::default();
        faulty.0.lock().unwrap().plan = Some((operation, fault));
        faulty
    }

    /// Whether the chosen operation was reached.
    pub(crate) fn struck(&self) -> bool {
        self.0.lock().unwrap().struck
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().plan = None;
    }

    /// Strikes from now on.
    pub fn strike_now(&self, fault: Fault) {
        self.0.lock().unwrap().plan = Some((0, fault));
    }

    /// Operations so far.
    pub fn done(&self) -> usize {
        self.0.lock().unwrap().done
    }

    /// [`Faulty::strike`] for an operation on `path`.
    fn step(&self, path: &Path, writes: bool) -> Result<()> {
        self.strike(writes).map_err(Error::io(path, "change"))
    }

    /// Counts an operation; an error says that it must not be done whole.
    fn strike(&self, writes: bool) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let now = state.done;
        state.done += 1;
        let Some((at, fault)) = state.plan else { return Ok(()) };
        let strikes = match fault {
            Fault::Fail => now == at,
            Fault::PowerCut | Fault::ReadOnly => now >= at,
            Fault::Full => now >= at && writes,
        };
        if !strikes {
            return Ok(());
        }
        if fault == Fault::PowerCut && !state.struck {
            for path in &state.unsynced {
                if let Ok(file) = OpenOptions::new().write(true).open(path) {
                    file.set_len(0).unwrap();
                }
            }
        }
        state.struck = true;
        Err(io::Error::from(if fault == Fault::Full { ErrorKind::StorageFull } else { ErrorKind::Other }))
    }

    fn dead(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.struck && matches!(state.plan, Some((at, Fault::PowerCut)) if state.done > at + 1)
    }
}

impl Store for Faulty {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.step(path, true)?;
        Disk.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        self.step(path, true)?;
        self.0.lock().unwrap().unsynced.push(path.to_path_buf());
        Ok(Box::new(Open { disk: self.clone(), path: path.to_path_buf(), file: Disk.create(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step(from, true)?;
        Disk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.step(path, true)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.step(path, false)?;
        Disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.step(path, false)?;
        Disk.remove_dir(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let go = self.step(path, false);
        if go.is_err()
            && !self.dead()
            && let Some(Ok(first)) = fs::read_dir(path).map_err(Error::io(path, "read"))?.next()
        {
            let path = first.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        go.and_then(|()| Disk.remove_dir_all(path))
    }

    fn append(&self, path: &Path) -> Result<Box<dyn OpenFile>> {
        self.step(path, true)?;
        Ok(Box::new(Open { disk: self.clone(), path: path.to_path_buf(), file: Disk.append(path)? }))
    }

    fn read(&self, path: &Path) -> Result<Bytes> {
        Disk.read(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        Disk.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        Disk.is_dir(path)
    }

    fn is_shared(&self) -> bool {
        Disk.is_shared()
    }

    fn remove_abandoned(&self, path: &Path) {
        Disk.remove_abandoned(path);
    }
}

#[derive(Debug)]
struct Open {
    disk: Faulty,
    path: PathBuf,
    file: Box<dyn OpenFile>,
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.disk.strike(true) {
            Ok(()) => self.file.write(bytes),
            Err(error) if self.disk.dead() => Err(error),
            Err(error) => {
                self.file.write_all(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Open {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl OpenFile for Open {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.strike(false)?;
        self.file.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.strike(true)?;
        self.disk.0.lock().unwrap().unsynced.retain(|path| *path != self.path);
        Ok(())
    }
}
