//! Where vectors go: a file that appears when it is whole, or a pipe that takes them as they come.

use std::path::Path;

use serde::Serialize;
use wgrad::data::npy;
use wgrad::infer::Embeddings;
use wgrad::store::{Making, Seen, WorkShard};

use crate::cli::divided::{Layout, Target};

/// Writes vectors as they come.
pub struct Output {
    out: Target,
    npy: bool,
    width: usize,
    rows: usize,
    /// A matrix whose number of rows, which stands before them, cannot be filled in afterwards.
    held: Vec<f32>,
}

impl Output {
    /// Opens `path`, or the part of it that `shard` makes, or standard output.
    pub fn open(
        path: Option<&Path>,
        npy: bool,
        width: usize,
        shard: Option<WorkShard>,
    ) -> anyhow::Result<Self> {
        let mut out = Target::open(path, shard)?;
        if npy && out.is_file() {
            out.put(0, &npy::header(0, width))?;
        }
        Ok(Output { out, npy, width, rows: 0, held: Vec::new() })
    }

    /// How the records of a part are put together.
    pub fn layout(&self) -> Layout {
        if self.npy { Layout::Rows { width: self.width } } else { Layout::Lines }
    }

    /// Appends the vectors of `texts`, which follow those before.
    pub fn write(&mut self, texts: &[String], embedded: &Embeddings) -> anyhow::Result<()> {
        match &mut self.out {
            out if !self.npy => out.put(texts.len(), &lines(self.rows, out, texts, embedded)?)?,
            Target::Whole(out) if !out.is_file() => self.held.extend(&embedded.values),
            out => out.put(texts.len(), &raw(&embedded.values))?,
        }
        self.rows += texts.len();
        Ok(())
    }

    /// Completes the file and gives it its name; see [`Target::finish`].
    pub fn finish(self, seen: Seen, making: impl FnOnce() -> Making) -> anyhow::Result<()> {
        let Output { mut out, npy, width, rows, held } = self;
        let header = npy::header(rows, width);
        match &mut out {
            Target::Whole(out) if npy && out.is_file() => out.put_first(&header)?,
            Target::Whole(out) if npy => {
                out.put(&header)?;
                out.put(&raw(&held))?;
            }
            _ => {}
        }
        out.finish(seen, making)
    }
}

/// The lines of `texts`, the first of which is number `first` of those that are written to `out`.
fn lines(first: usize, out: &Target, texts: &[String], embedded: &Embeddings) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (index, (text, embedding)) in texts.iter().zip(embedded.rows()).enumerate() {
        serde_json::to_writer(&mut lines, &Line { index: out.place(first + index), text, embedding })?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A text with its vector. Its numbers have the digits that an f32 has; in a JSON value they would be f64.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    text: &'a str,
    embedding: &'a [f32],
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
