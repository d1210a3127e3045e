//! A disk that fails, fills up or loses power at a chosen operation. It keeps its own account of what was synced,
//! so nothing waits for the real disk.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use wgrad::files::atomic::{Disk, FileSystem, SyncWrite};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// It fails; the next ones work.
    Fail,
    /// It happens by half, and nothing happens any more: the process is killed and the machine loses what was not
    /// synced.
    PowerCut,
    /// From there on nothing can be written, but files can be removed.
    Full,
}

#[derive(Default)]
struct State {
    done: usize,
    plan: Option<(usize, Fault)>,
    struck: bool,
    unsynced: Vec<PathBuf>,
}

/// The disk; clones share their state.
#[derive(Clone, Default)]
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

    /// Counts an operation; an error says that it must not be done whole.
    fn step(&self, writes: bool) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        let now = state.done;
        state.done += 1;
        let Some((at, fault)) = state.plan else { return Ok(()) };
        let strikes = match fault {
            Fault::Fail => now == at,
            Fault::PowerCut => now >= at,
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
        Err(Error::from(if fault == Fault::Full { ErrorKind::StorageFull } else { ErrorKind::Other }))
    }

    fn dead(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.struck && matches!(state.plan, Some((at, Fault::PowerCut)) if state.done > at + 1)
    }
}

impl FileSystem for Faulty {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.step(true)?;
        Disk.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn SyncWrite>> {
        self.step(true)?;
        self.0.lock().unwrap().unsynced.push(path.to_path_buf());
        Ok(Box::new(Open { disk: self.clone(), path: path.to_path_buf(), file: Disk.create(path)? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step(true)?;
        Disk.rename(from, to)
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        self.step(true)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.step(false)?;
        Disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let go = self.step(false);
        if go.is_err()
            && !self.dead()
            && let Some(Ok(first)) = fs::read_dir(path)?.next()
        {
            fs::remove_file(first.path())?;
        }
        go.and_then(|()| Disk.remove_dir_all(path))
    }
}

struct Open {
    disk: Faulty,
    path: PathBuf,
    file: Box<dyn SyncWrite>,
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self.disk.step(true) {
            Ok(()) => self.file.write(bytes),
            Err(error) if self.disk.dead() => Err(error),
            Err(error) => {
                self.file.write_all(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

impl SyncWrite for Open {
    fn sync(&mut self) -> Result<()> {
        self.disk.step(true)?;
        self.disk.0.lock().unwrap().unsynced.retain(|path| *path != self.path);
        Ok(())
    }
}
