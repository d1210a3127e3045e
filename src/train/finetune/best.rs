//! The best epoch of each seed, kept on disk until the run ends: its weights, and what it says of each set.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SeedReport;
use super::score::Scores;
use crate::Result;
use crate::files::{MODEL_FILE, TensorSource, Weights};
use crate::store::{CHECKPOINTS, Store, checksums, write_atomic};
use crate::train::run::save::Tensors;

/// The folder in a run's folder that holds the best epochs.
const FOLDER: &str = "best";

/// What the folder of checkpoints is called while it is being removed.
const REMOVED: &str = ".removed-checkpoints";

/// The best epoch of a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    pub seed: u64,
    /// Counted from 1.
    pub epoch: u64,
    pub measured: Vec<(String, Scores)>,
}

impl Best {
    /// The score that decides.
    pub(super) fn main(&self) -> f64 {
        self.measured.first().map_or(f64::NEG_INFINITY, |(_, measured)| measured.main())
    }

    pub(super) fn report(&self) -> SeedReport {
        let scores = self.measured.iter().flat_map(|(set, measured)| {
            measured.scores.iter().map(|(metric, value)| (set.clone(), metric.name(), *value))
        });
        SeedReport { seed: self.seed, epoch: self.epoch, scores: scores.collect() }
    }

    fn name(&self) -> String {
        format!("seed-{}-epoch-{}", self.seed, self.epoch)
    }

    /// Its folder.
    pub(super) fn folder(&self, out: &Path) -> PathBuf {
        out.join(FOLDER).join(self.name())
    }

    /// The names of its predictions: the first set's is plain.
    pub(super) fn predictions(&self) -> impl Iterator<Item = String> {
        self.measured.iter().enumerate().map(|(index, (set, _))| match index {
            0 => "predictions.tsv".to_owned(),
            _ => format!("predictions_{set}.tsv"),
        })
    }

    /// Writes weights and predictions. The weights come last: a folder that has them is whole.
    fn save(
        &self,
        store: &dyn Store,
        out: &Path,
        weights: TensorSource<'_>,
        predictions: &[String],
    ) -> Result<()> {
        let folder = self.folder(out);
        store.create_dir_all(&folder)?;
        // The name of a new folder survives a power cut only when the folder that it is in was synced.
        for above in [out.join(FOLDER).as_path(), out] {
            store.sync_dir(above)?;
        }
        checksums::replacing(store, &folder, || {
            let mut written = Vec::new();
            for (name, text) in self.predictions().zip(predictions) {
                let digest = write_atomic(store, &folder.join(&name), |sink| sink.put(text.as_bytes()))?;
                written.push((name, digest));
            }
            let digest = write_atomic(store, &folder.join(MODEL_FILE), |sink| weights.write(sink))?;
            written.push((MODEL_FILE.to_owned(), digest));
            Ok(written)
        })
    }

    /// Whether it was saved whole: the weights are written last.
    pub(super) fn is_kept(&self, store: &dyn Store, out: &Path) -> bool {
        store.exists(&self.folder(out).join(MODEL_FILE))
    }

    /// The weights that were saved, as they were saved.
    pub(super) fn weights(&self, store: &dyn Store, out: &Path) -> Result<Weights> {
        let folder = self.folder(out);
        checksums::verify(store, &folder, &[MODEL_FILE], |name| name == MODEL_FILE)?;
        Weights::open_on(store, folder.join(MODEL_FILE))
    }
}

/// A best epoch that the disk has refused so far.
pub(super) struct Waiting {
    pub best: Best,
    weights: Tensors,
    predictions: Vec<String>,
}

impl Waiting {
    pub(super) fn new(best: Best, weights: Tensors, predictions: Vec<String>) -> Self {
        Waiting { best, weights, predictions }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::File`](crate::Error::File) for weights that are not finite.
    pub(super) fn save(&self, store: &dyn Store, out: &Path) -> Result<()> {
        self.best.save(store, out, self.weights.source(), &self.predictions)
    }
}

/// Removes the folders of all epochs but those of `kept`. One that cannot be removed only takes disk space.
pub(super) fn prune<'b>(store: &dyn Store, out: &Path, kept: impl Iterator<Item = &'b Best>) {
    let kept: HashSet<String> = kept.map(Best::name).collect();
    let folder = out.join(FOLDER);
    for name in store.list(&folder).unwrap_or_default() {
        if !kept.contains(&name) {
            let _ = store.remove_dir_all(&folder.join(name));
        }
    }
}

/// Removes what only an unfinished run needs. The folder of checkpoints is renamed first, so that no run resumes from the
/// rest of a removal that was interrupted.
///
/// # Errors
/// [`Error::Io`] for what could not be removed; the model is whole all the same.
pub(super) fn clean(store: &dyn Store, out: &Path) -> Result<()> {
    let (checkpoints, removed) = (out.join(CHECKPOINTS), out.join(REMOVED));
    if store.exists(&removed) {
        store.remove_dir_all(&removed)?;
    }
    store.rename(&checkpoints, &removed)?;
    sweep(store, out)
}

/// Removes what a process left that was killed while it cleaned.
///
/// # Errors
/// As [`clean`].
pub(super) fn sweep(store: &dyn Store, out: &Path) -> Result<()> {
    for folder in [out.join(REMOVED), out.join(FOLDER)] {
        if store.exists(&folder) {
            store.remove_dir_all(&folder)?;
        }
    }
    Ok(())
}
