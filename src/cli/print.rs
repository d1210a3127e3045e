//! What all commands print with: progress on standard error, results on standard output, numbers with separators.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::store::Output;

/// Writes a line of results.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Begins an output that a person named; `-` is the standard output.
pub fn output(path: &Path) -> wgrad::Result<Output> {
    match path.as_os_str() == "-" {
        true => Ok(Output::over(Box::new(std::io::stdout()))),
        false => Output::create(path),
    }
}

/// Writes a line for whoever watches, to standard error.
pub fn note(text: impl std::fmt::Display) {
    // Nowhere is left to tell of a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The program as it was called, for commands to type next.
pub fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "wgrad".to_string())
}

/// Pads every column but the last to its widest cell, two spaces apart; the columns from `right` on are flush right.
pub fn table(rows: &[Vec<String>], right: usize) -> Vec<String> {
    let width = |cell: &String| cell.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(width).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(c, cell)| {
            let space = " ".repeat(widths[c] - width(cell));
            if c >= right { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// A bar of the bytes taken from files: amount, speed and time left; a counter where the size is not known.
/// Hidden unless standard error is a terminal.
pub struct Bytes {
    bar: ProgressBar,
    read: Option<Arc<AtomicU64>>,
}

impl Bytes {
    /// A bar up to `total` bytes. With `read`, [`Bytes::tick`] follows that counter.
    pub fn new(total: Option<u64>, read: Option<Arc<AtomicU64>>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec} {elapsed} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bytes { bar, read }
    }

    /// Follows the counter.
    pub fn tick(&self) {
        if let Some(read) = &self.read {
            self.bar.set_position(read.load(Ordering::Relaxed));
        }
    }

    /// Moves to `bytes` of `total`.
    pub fn set(&self, bytes: u64, message: String) {
        self.bar.set_position(bytes);
        self.bar.set_message(message);
    }

    /// All bytes are read, and `what` goes on.
    pub fn then(&self, what: &'static str) {
        self.tick();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of things done, the number of which may be known later. Hidden unless standard error is a terminal.
pub struct Items {
    bar: ProgressBar,
    what: &'static str,
}

impl Items {
    /// A counter of `what`, in the plural.
    pub fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {what} {{per_sec}}")) {
            bar.set_style(style);
        }
        Items { bar, what }
    }

    /// There are `total` in all.
    pub fn total(&self, total: usize) {
        self.bar.set_length(total as u64);
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {} {{per_sec}} {{eta}} left", self.what);
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
    }

    /// `done` are done.
    pub fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tables_are_aligned() {
        let rows = [["a", "bb", "1"], ["ccc", "d", "22"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(super::table(&rows, 2), ["a    bb   1", "ccc  d   22"]);
    }
}
