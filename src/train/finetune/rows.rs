//! What finetuning measured, step by step: `metrics.csv` and `metrics.jsonl`, the same rows in both.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::measure::Measured;
use super::scores::Metric;
use crate::train::metrics::{CSV, JSONL};
use crate::{Error, Result};

/// What was measured at one optimizer step; the scores at the last of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Row {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// The optimizer step, counted from 1.
    pub step: u64,
    /// Training loss: nats, or squared error.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The gradient's L2 norm before clipping.
    pub grad_norm: f64,
    /// Time spent training so far. Depends on the clock.
    pub seconds: f64,
    /// Loss on the texts to measure on.
    pub eval_loss: Option<f64>,
    /// The share of right answers there.
    pub accuracy: Option<f64>,
    /// F1 there.
    pub f1: Option<f64>,
    /// Matthews's correlation there.
    pub matthews: Option<f64>,
    /// Pearson's correlation there.
    pub pearson: Option<f64>,
    /// Spearman's correlation there.
    pub spearman: Option<f64>,
    /// The share of partners found there.
    pub recall: Option<f64>,
}

impl Row {
    /// Enters what was measured.
    pub fn put(&mut self, measured: &Measured) {
        self.eval_loss = measured.loss;
        for (metric, value) in &measured.scores {
            let place = match metric {
                Metric::Accuracy => &mut self.accuracy,
                Metric::F1 => &mut self.f1,
                Metric::Matthews => &mut self.matthews,
                Metric::Pearson => &mut self.pearson,
                Metric::Spearman => &mut self.spearman,
                Metric::Recall => &mut self.recall,
            };
            *place = *value;
        }
    }
}

/// The two files of a run.
pub(super) struct Rows {
    csv: (PathBuf, csv::Writer<File>),
    jsonl: (PathBuf, File),
}

impl Rows {
    /// Starts the files anew.
    pub fn create(folder: &Path) -> Result<Self> {
        let create = |name: &str| {
            let path = folder.join(name);
            let file = File::create(&path).map_err(Error::io(&path, "create"))?;
            Ok::<_, Error>((path, file))
        };
        let (path, file) = create(CSV)?;
        Ok(Rows { csv: (path, csv::Writer::from_writer(file)), jsonl: create(JSONL)? })
    }

    /// Appends a row.
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let (path, writer) = &mut self.csv;
        let written = writer.serialize(row).map_err(std::io::Error::from);
        written.and_then(|()| writer.flush()).map_err(Error::io(path, "write"))?;
        let (path, file) = &mut self.jsonl;
        let mut line = serde_json::to_vec(row).unwrap_or_default();
        line.push(b'\n');
        file.write_all(&line).map_err(Error::io(path, "write"))
    }
}
