//! The folder of one training run: its lock and its checkpoints.
//!
//! ```text
//! OUT/lock                                  held by the process that trains
//! OUT/checkpoints/step-00000123/            complete, because it has this name
//!     model.safetensors  optimizer.safetensors  state.json  checksums.json
//! OUT/checkpoints/.partial-step-00000124/   being written
//! OUT/checkpoints/.replaced-step-00000123/  out of the way of a new one with its name
//! OUT/checkpoints/.removed-step-00000121/   being removed
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MODEL_FILE;
use super::weights::Weights;
use super::writer::TensorSource;
use crate::store::checksums::FORMAT;
use crate::store::{
    CHECKPOINTS, CHECKSUMS_FILE, Checksums, FolderLock, Store, format_of, read_json, refuse_newer, write_file,
};
use crate::{Error, Result};

// A folder whose name begins like this is never taken for a checkpoint; the head of this file says what each is.
const PARTIAL: &str = ".partial-";
const REPLACED: &str = ".replaced-";
const REMOVED: &str = ".removed-";

const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
/// What a checkpoint holds beside its checksums, sorted.
const FILES: [&str; 3] = [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE];

/// Where training stands, stored as `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Optimizer steps done.
    pub step: u64,
    /// Sequences consumed, over all epochs: where the data goes on.
    pub sequence: u64,
    /// What the run was started with, for [`check_resume`](super::check_resume).
    pub fingerprint: Map<String, Value>,
    /// What else the trainer needs in order to go on.
    pub extra: Value,
}

/// What `state.json` holds.
#[derive(Serialize)]
struct Stored<'a> {
    format: u32,
    #[serde(flatten)]
    state: &'a CheckpointState,
}

/// A checkpoint that was saved.
#[derive(Debug)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// Messages for a person about old checkpoints that could not be removed.
    pub notes: Vec<String>,
}

/// A checkpoint that was read and whose bytes are those that were saved.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Where training stood.
    pub state: CheckpointState,
    /// The model's parameters.
    pub model: Weights,
    /// The optimizer's state.
    pub optimizer: Weights,
    /// Messages for a person about newer checkpoints that are damaged and were passed over.
    pub notes: Vec<String>,
}

/// The folder of a run, locked against other processes while this value lives.
pub struct RunFolder {
    root: PathBuf,
    keep: usize,
    store: Arc<dyn Store>,
    damaged: Mutex<BTreeSet<u64>>,
    _lock: Option<FolderLock>,
}

impl RunFolder {
    /// Starts a run in a new folder, or one without checkpoints.
    ///
    /// # Errors
    /// [`Error::File`] when another process uses the folder or it already has checkpoints; [`Error::Io`].
    pub fn create(store: Arc<dyn Store>, out: impl AsRef<Path>) -> Result<RunFolder> {
        let root = out.as_ref();
        store.create_dir_all(root)?;
        let run = Self::locked(store, root)?;
        if let Some(step) = run.steps()?.pop() {
            let found = format!("one at step {step}: resume the run, or choose another folder");
            return Err(Error::file(root, "a folder without checkpoints", found));
        }
        run.store.sync_dir(root)?;
        Ok(run)
    }

    /// Opens the folder of a run that was started before.
    ///
    /// # Errors
    /// [`Error::File`] when another process uses the folder or it is no run's; [`Error::Io`].
    pub fn open(store: Arc<dyn Store>, out: impl AsRef<Path>) -> Result<RunFolder> {
        let root = out.as_ref();
        if !store.is_dir(&root.join(CHECKPOINTS)) {
            return Err(Error::file(root, "the folder of a run, with `checkpoints/`", "none"));
        }
        Self::locked(store, root)
    }

    fn locked(store: Arc<dyn Store>, root: &Path) -> Result<RunFolder> {
        let lock = if store.is_shared() { Some(FolderLock::acquire(root)?) } else { None };
        // After the lock, by which a folder is known to be a run's.
        if !store.is_dir(&root.join(CHECKPOINTS)) {
            store.create_dir_all(&root.join(CHECKPOINTS))?;
        }
        let (root, damaged) = (root.to_path_buf(), Mutex::default());
        let run = RunFolder { root, keep: 2, store, damaged, _lock: lock };
        run.tidy()?;
        Ok(run)
    }

    /// Keeps this many of the newest checkpoints (2 unless told, at least 1).
    pub fn keep(mut self, checkpoints: usize) -> Self {
        self.keep = checkpoints.max(1);
        self
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Saves a checkpoint and removes the oldest beyond those kept: [`RunFolder::add`], then [`RunFolder::prune`].
    ///
    /// # Errors
    /// As [`RunFolder::add`].
    pub fn save(
        &self,
        state: &CheckpointState,
        model: TensorSource,
        optimizer: TensorSource,
    ) -> Result<Saved> {
        let path = self.add(state, model, optimizer)?;
        Ok(Saved { path, notes: self.prune(state.step) })
    }

    /// Saves a checkpoint, whose folder this gives back, and removes none. A process killed at any moment leaves the
    /// previous one, or this one.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses (temporary files are removed, the earlier checkpoints stay, and training
    /// can go on and save later); [`Error::File`] for values that are not finite or do not fit their shapes; those
    /// of the sources.
    pub fn add(
        &self,
        state: &CheckpointState,
        model: TensorSource,
        optimizer: TensorSource,
    ) -> Result<PathBuf> {
        let name = folder_name(state.step);
        let staging = self.checkpoints().join(format!("{PARTIAL}{name}"));
        let path = self.checkpoints().join(&name);
        let written = self
            .write(&staging, state, model, optimizer)
            .and_then(|()| self.move_into_place(&staging, &path, &name));
        if written.is_err() {
            // An error of the clean-up would hide the one that led to it.
            let _ = self.store.remove_dir_all(&staging);
        }
        written?;
        let checkpoints = self.checkpoints();
        self.store.sync_dir(&checkpoints)?;
        self.damaged().remove(&state.step);
        Ok(path)
    }

    fn write(
        &self,
        dir: &Path,
        state: &CheckpointState,
        model: TensorSource,
        optimizer: TensorSource,
    ) -> Result<()> {
        let store = self.store.as_ref();
        if store.exists(dir) {
            store.remove_dir_all(dir)?;
        }
        store.create_dir_all(dir)?;
        let json = serde_json::to_vec_pretty(&Stored { format: FORMAT, state }).map_err(|error| {
            Error::file(dir.join(STATE_FILE), "a state that JSON can hold", error.to_string())
        })?;
        let sums = Checksums::new([
            (MODEL_FILE, write_file(store, &dir.join(MODEL_FILE), |sink| model.write(sink))?),
            (OPTIMIZER_FILE, write_file(store, &dir.join(OPTIMIZER_FILE), |sink| optimizer.write(sink))?),
            (STATE_FILE, write_file(store, &dir.join(STATE_FILE), |sink| sink.put(&json))?),
        ]);
        write_file(store, &dir.join(CHECKSUMS_FILE), |sink| sink.put(&sums.to_json()))?;
        store.sync_dir(dir)
    }

    fn move_into_place(&self, staging: &Path, path: &Path, name: &str) -> Result<()> {
        self.put_back(name)?;
        if !self.store.exists(path) {
            return self.rename(staging, path);
        }
        // A folder cannot be renamed over another. If the process ends between the two renames, the first is
        // undone when the run is opened.
        let aside = self.checkpoints().join(format!("{REPLACED}{name}"));
        self.rename(path, &aside)?;
        self.rename(staging, path).inspect_err(|_| {
            let _ = self.store.rename(&aside, path);
        })?;
        let _ = self.store.remove_dir_all(&aside);
        Ok(())
    }

    /// Completes a replacement that was interrupted: the old checkpoint gets its name back unless the new one has it.
    fn put_back(&self, name: &str) -> Result<()> {
        let aside = self.checkpoints().join(format!("{REPLACED}{name}"));
        if !self.store.exists(&aside) {
            return Ok(());
        }
        let path = self.checkpoints().join(name);
        if !self.store.exists(&path) {
            return self.rename(&aside, &path);
        }
        self.store.remove_dir_all(&aside)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.store.rename(from, to)
    }

    /// The newest checkpoint whose bytes are those that were saved, or nothing when the run has none yet.
    ///
    /// # Errors
    /// [`Error::Newer`] for a checkpoint that a newer version saved, which must not be passed over;
    /// [`Error::File`] when there are checkpoints and all are damaged; [`Error::Io`] when the folder cannot be read.
    pub fn latest(&self) -> Result<Option<LoadedCheckpoint>> {
        let mut notes = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Ok(mut checkpoint) => {
                    checkpoint.notes = notes;
                    return Ok(Some(checkpoint));
                }
                Err(error @ Error::Newer { .. }) => return Err(error),
                Err(error) => {
                    self.damaged().insert(step);
                    notes.push(format!(
                        "the checkpoint of step {step} is damaged and was passed over: {error}"
                    ));
                }
            }
        }
        if notes.is_empty() {
            return Ok(None);
        }
        Err(Error::file(self.checkpoints(), "a sound checkpoint", notes.join("; ")))
    }

    fn load(&self, step: u64) -> Result<LoadedCheckpoint> {
        let path = self.checkpoints().join(folder_name(step));
        let store = self.store.as_ref();
        // If only one of the two names a newer format, a flipped bit may have made it so.
        let format = |name: &str| store.read(&path.join(name)).map_or(1, |json| format_of(&json, "format"));
        refuse_newer(&path, "a checkpoint", format(CHECKSUMS_FILE).min(format(STATE_FILE)), FORMAT)?;
        Checksums::of_complete(store, &path, &FILES)?.verify(store, &path)?;
        let state_path = path.join(STATE_FILE);
        let state: CheckpointState = read_json(store, &state_path, "the state of a checkpoint")?;
        if state.step != step {
            return Err(Error::file(&state_path, format!("step {step}"), format!("step {}", state.step)));
        }
        let model = Weights::open_on(store, path.join(MODEL_FILE))?;
        let optimizer = Weights::open_on(store, path.join(OPTIMIZER_FILE))?;
        Ok(LoadedCheckpoint { step, path, state, model, optimizer, notes: Vec::new() })
    }

    /// Removes all but the newest sound checkpoints, of which the one of step `saved` is one; a damaged one goes too. Gives
    /// messages for a person about those that could not be removed.
    pub fn prune(&self, saved: u64) -> Vec<String> {
        let steps = match self.steps() {
            Ok(steps) => steps,
            Err(error) => return vec![error.to_string()],
        };
        let damaged = self.damaged().clone();
        let sound = |step: &u64| {
            let dir = self.checkpoints().join(folder_name(*step));
            !damaged.contains(step) && Checksums::of_complete(self.store.as_ref(), &dir, &FILES).is_ok()
        };
        let kept: BTreeSet<u64> =
            steps.iter().rev().copied().filter(sound).take(self.keep).chain([saved]).collect();
        let mut notes = Vec::new();
        for step in steps.into_iter().filter(|step| !kept.contains(step)) {
            let name = folder_name(step);
            let doomed = self.checkpoints().join(format!("{REMOVED}{name}"));
            let path = self.checkpoints().join(&name);
            // A removal that is interrupted must not leave half a checkpoint under its name.
            let removed = self.store.rename(&path, &doomed).and_then(|()| self.store.remove_dir_all(&doomed));
            if let Err(error) = removed {
                notes.push(format!("an old checkpoint was left: {error}"));
            }
        }
        notes
    }

    /// Cleans up after a process that was killed.
    fn tidy(&self) -> Result<()> {
        for entry in self.entries()? {
            if let Some(name) = entry.strip_prefix(REPLACED) {
                self.put_back(name)?;
            } else if entry.starts_with(PARTIAL) || entry.starts_with(REMOVED) {
                // What cannot be removed is in nobody's way until the same step is saved, which then says so.
                let _ = self.store.remove_dir_all(&self.checkpoints().join(entry));
            }
        }
        Ok(())
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join(CHECKPOINTS)
    }

    fn damaged(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The steps that have a checkpoint, oldest first.
    fn steps(&self) -> Result<Vec<u64>> {
        let mut steps: Vec<u64> = self.entries()?.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn entries(&self) -> Result<Vec<String>> {
        let dir = self.checkpoints();
        self.store.list(&dir)
    }
}

impl std::fmt::Debug for RunFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RunFolder({})", self.root.display())
    }
}

fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a checkpoint's folder; nothing for any other name.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}
