//! Labelled texts on the command line: GLUE's folders, or one's own files by column names.

use std::path::{Path, PathBuf};

use wgrad::data::task::{Table, Task, glue_files};
use wgrad::train::finetune::columns;
use wgrad::{Error, Result};

use super::files::FileArgs;

/// What `finetune` and `evaluate` share.
#[derive(clap::Args)]
pub struct Labelled {
    /// The task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli of GLUE; classify, regress or contrastive for
    /// one's own texts.
    #[arg(long, value_name = "TASK")]
    pub task: Task,
    /// A folder of GLUE's files: the task's, or the one that holds it; GLUE's own .tsv, or .csv, .jsonl and .parquet
    /// with the columns of those or of the Hugging Face hub.
    #[arg(long, value_name = "DIR", conflicts_with = "eval")]
    pub data: Option<PathBuf>,
    /// Texts to measure on: .csv, .tsv, .jsonl, .json or .parquet, plain or packed (.gz, .bz2, .zst, .xz, .zip).
    #[arg(long, value_name = "FILE")]
    pub eval: Option<PathBuf>,
    /// The column or field that holds the text, or the first of two: its name, its number, or a.b.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    /// The column or field that holds the second text of a pair.
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    /// The column or field that holds the label [default: label; none for contrastive].
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    #[command(flatten)]
    how: FileArgs,
}

/// Labelled texts with the name of their set.
pub type Sets = Vec<(String, Table)>;

impl Labelled {
    /// The file to train on, if `train` or `--data` says where it is, and the sets to measure on.
    pub fn read(&self, train: Option<&Path>) -> Result<(Option<Table>, Sets)> {
        if let Some(dir) = &self.data {
            let files = glue_files(self.task, dir)?;
            let read = |path: &Path| Table::read_glue(self.task, path, &self.how.options());
            let sets = files.dev.iter().map(|(name, path)| Ok((name.to_string(), read(path)?)));
            let sets = sets.collect::<Result<Sets>>()?;
            return Ok((Some(read(&files.train)?), sets));
        }
        let train = train.map(|path| self.file(path, false)).transpose()?;
        let eval = self.eval.as_ref().map(|path| Ok(("eval".to_owned(), self.file(path, true)?)));
        Ok((train, eval.transpose()?.into_iter().collect()))
    }

    /// The sets to measure on alone.
    pub fn sets(&self) -> Result<Sets> {
        match (&self.data, &self.eval) {
            (Some(dir), _) => {
                let files = glue_files(self.task, dir)?;
                let read = |path: &Path| Table::read_glue(self.task, path, &self.how.options());
                files.dev.iter().map(|(name, path)| Ok((name.to_string(), read(path)?))).collect()
            }
            (None, Some(path)) => Ok(vec![("eval".to_owned(), self.file(path, true)?)]),
            (None, None) => Err(Error::config("eval", "--data DIR or --eval FILE", "neither")),
        }
    }

    fn file(&self, path: &Path, measured: bool) -> Result<Table> {
        if self.task.is_glue() {
            return Table::read_glue(self.task, path, &self.how.options());
        }
        let (pair, label) = (self.pair_column.as_deref(), self.label_column.as_deref());
        // Contrastive training learns from pairs alone; how alike they are is for measuring.
        let label = label.filter(|_| measured || self.task != Task::Contrastive);
        Table::read(path, &columns(self.task, &self.text_column, pair, label), &self.how.options())
    }
}
