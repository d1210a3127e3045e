//! Where vectors go: a file that appears when it is whole, or standard output.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use wgrad::data::npy;
use wgrad::infer::Embeddings;

/// Writes vectors as they come.
pub struct Output {
    to: To,
    npy: bool,
    width: usize,
    rows: usize,
}

enum To {
    /// A file under a temporary name.
    File {
        out: BufWriter<File>,
        partial: PathBuf,
        path: PathBuf,
    },
    Stdout,
    /// A matrix for standard output, whose number of rows stands before them.
    Held(Vec<f32>),
}

impl Output {
    /// Opens `path`, or standard output.
    pub fn open(path: Option<&Path>, npy: bool, width: usize) -> anyhow::Result<Self> {
        let to = match path {
            None if npy => To::Held(Vec::new()),
            None => To::Stdout,
            Some(path) => {
                let name = path.file_name().with_context(|| format!("{}: not a file", path.display()))?;
                let partial = path.with_file_name(format!(".{}.partial", name.to_string_lossy()));
                let file =
                    File::create(&partial).with_context(|| format!("{}: cannot create", path.display()))?;
                let mut out = BufWriter::new(file);
                if npy {
                    out.write_all(&npy::header(0, width))?;
                }
                To::File { out, partial, path: path.to_path_buf() }
            }
        };
        Ok(Output { to, npy, width, rows: 0 })
    }

    /// Appends the vectors of `texts`, the first of which has the number `first`.
    pub fn write(&mut self, first: usize, texts: &[String], embedded: &Embeddings) -> anyhow::Result<()> {
        self.rows += texts.len();
        match &mut self.to {
            To::Held(values) => values.extend(&embedded.values),
            To::Stdout => lines(&mut std::io::stdout().lock(), first, texts, embedded)?,
            To::File { out, path, .. } => {
                let written =
                    if self.npy { raw(out, &embedded.values) } else { lines(out, first, texts, embedded) };
                written.with_context(|| format!("{}: cannot write", path.display()))?;
            }
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    pub fn finish(mut self) -> anyhow::Result<()> {
        match &mut self.to {
            To::Stdout => Ok(std::io::stdout().flush()?),
            To::Held(values) => {
                let mut out = std::io::stdout().lock();
                out.write_all(&npy::header(self.rows, self.width))?;
                raw(&mut out, values)?;
                Ok(out.flush()?)
            }
            To::File { out, partial, path } => {
                let completed = || -> std::io::Result<()> {
                    if self.npy {
                        out.rewind()?;
                        out.write_all(&npy::header(self.rows, self.width))?;
                    }
                    out.flush()?;
                    out.get_ref().sync_all()?;
                    std::fs::rename(&partial, &path)
                };
                let mut completed = completed;
                completed().with_context(|| format!("{}: cannot write", path.display()))
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let To::File { partial, .. } = &self.to {
            // Gone already when the file was finished; what is half done must not stay.
            let _ = std::fs::remove_file(partial);
        }
    }
}

fn lines(out: &mut dyn Write, first: usize, texts: &[String], embedded: &Embeddings) -> std::io::Result<()> {
    for (index, (text, row)) in texts.iter().zip(embedded.rows()).enumerate() {
        writeln!(out, "{}", json!({"index": first + index, "text": text, "embedding": row}))?;
    }
    Ok(())
}

fn raw(out: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}
