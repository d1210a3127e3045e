//! What a run leaves to look at: its metrics and the picture of its loss.

use std::path::Path;

use crate::Result;
use crate::store::{Store, write_atomic};
use crate::train::metrics::{self, Columns, Metrics, Row};
use crate::viz::loss_curve::LossCurve;

/// The picture's name in the run's folder.
pub const PICTURE: &str = "loss.svg";

/// The rows of a run, on disk and in memory.
pub(crate) struct Log {
    metrics: Metrics,
    rows: Vec<Row>,
    /// Whether the last row could not be written: a full disk is reported once, not with every row.
    failing: bool,
}

impl Log {
    /// Starts the files anew.
    pub(super) fn create(store: &dyn Store, folder: &Path, columns: Columns) -> Result<Self> {
        Ok(Self { metrics: Metrics::create(store, folder, columns)?, rows: Vec::new(), failing: false })
    }

    /// Goes on after `step`, with the number of lines that could not be read.
    pub(super) fn resume(
        store: &dyn Store,
        folder: &Path,
        columns: Columns,
        step: u64,
    ) -> Result<(Self, usize)> {
        let metrics = Metrics::resume(store, folder, columns, step)?;
        let unreadable = metrics.unreadable();
        Ok((Self { metrics, rows: metrics::read_on(store, folder)?, failing: false }, unreadable))
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Appends a row; an error is one to show, once until writing works again.
    pub(super) fn append(&mut self, row: Row) -> Option<crate::Error> {
        self.rows.push(row);
        let error = self.metrics.append(&row).err();
        let told = std::mem::replace(&mut self.failing, error.is_some());
        error.filter(|_| !told)
    }

    /// The last measurement on held-out sequences: step, loss, accuracy.
    pub(crate) fn held_out(&self) -> Option<(u64, f64, f64)> {
        let measured = |row: &Row| Some((row.step, row.eval_loss?, row.eval_accuracy?));
        self.rows.iter().rev().find_map(measured)
    }

    /// The mean training loss of the last steps that have one.
    pub(crate) fn loss(&self) -> Option<f64> {
        const STEPS: usize = 100;
        let losses: Vec<f64> =
            self.rows.iter().rev().map(|row| row.loss).filter(|loss| loss.is_finite()).take(STEPS).collect();
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }
}

/// Draws the picture in the folder of a run.
pub(crate) fn draw(store: &dyn Store, folder: &Path, curve: &LossCurve) -> Result<()> {
    let svg = curve.svg();
    write_atomic(store, &folder.join(PICTURE), |sink| sink.put(svg.as_bytes())).map(drop)
}

/// What some rows say, for a picture.
pub(crate) fn points<'r>(
    rows: impl IntoIterator<Item = &'r Row>,
    x: fn(&Row) -> u64,
    value: fn(&Row) -> Option<f64>,
) -> Vec<(f64, f64)> {
    rows.into_iter().filter_map(|row| Some((x(row) as f64, value(row)?))).collect()
}
