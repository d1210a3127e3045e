//! Where vectors go: a file that appears when it is whole, or a pipe that takes them as they come.

use std::path::Path;

use serde::Serialize;
use wgrad::data::npy;
use wgrad::infer::Embeddings;
use wgrad::store;

use crate::cli::print;

/// Writes vectors as they come.
pub struct Output {
    out: store::Output,
    npy: bool,
    width: usize,
    rows: usize,
    /// A matrix whose number of rows, which stands before them, cannot be filled in afterwards.
    held: Vec<f32>,
}

impl Output {
    /// Opens `path`, or standard output.
    pub fn open(path: Option<&Path>, npy: bool, width: usize) -> anyhow::Result<Self> {
        let mut out = print::output(path.unwrap_or(Path::new("-")))?;
        if npy && out.is_file() {
            out.put(&npy::header(0, width))?;
        }
        Ok(Output { out, npy, width, rows: 0, held: Vec::new() })
    }

    /// Appends the vectors of `texts`, the first of which has the number `first`.
    pub fn write(&mut self, first: usize, texts: &[String], embedded: &Embeddings) -> anyhow::Result<()> {
        self.rows += texts.len();
        match (self.npy, self.out.is_file()) {
            (false, _) => self.out.put(&lines(first, texts, embedded)?)?,
            (true, true) => self.out.put(&raw(&embedded.values))?,
            (true, false) => self.held.extend(&embedded.values),
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let header = npy::header(self.rows, self.width);
        if self.npy && self.out.is_file() {
            self.out.put_first(&header)?;
        } else if self.npy {
            self.out.put(&header)?;
            self.out.put(&raw(&self.held))?;
        }
        Ok(self.out.finish()?)
    }
}

fn lines(first: usize, texts: &[String], embedded: &Embeddings) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (index, (text, embedding)) in texts.iter().zip(embedded.rows()).enumerate() {
        serde_json::to_writer(&mut lines, &Line { index: first + index, text, embedding })?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A text with its vector. Its numbers have the digits that an f32 has; in a JSON value they would be f64.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    text: &'a str,
    embedding: &'a [f32],
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
