//! Labelled texts on the command line: GLUE's folders, or one's own files by column names.

use std::path::{Path, PathBuf};

use wgrad::data::task::{Table, Task, glue_files};
use wgrad::train::finetune::columns;
use wgrad::{Error, Result};

use super::files::FileArgs;
use super::hub::dataset;

/// What `finetune` and `evaluate` share.
#[derive(clap::Args)]
pub struct Labelled {
    /// The task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli of GLUE; classify, regress or contrastive for
    /// one's own texts.
    #[arg(long, value_name = "TASK")]
    pub task: Task,
    /// A folder of GLUE's files: the task's, or the one that holds it; GLUE's own .tsv, or .csv, .jsonl and .parquet
    /// with the columns of those or of the Hugging Face hub; or hf:nyu-mll/glue, which is fetched.
    #[arg(long, value_name = "DIR|hf:NAME", conflicts_with = "eval")]
    pub data: Option<PathBuf>,
    /// Texts to measure on: .csv, .tsv, .jsonl, .json or .parquet, plain or packed (.gz, .bz2, .zst, .xz, .zip); or
    /// hf:NAME:CONFIG:SPLIT.
    #[arg(long, value_name = "FILE|hf:NAME")]
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
    pub fn read(&self, train: Option<&Path>) -> anyhow::Result<(Option<Table>, Sets)> {
        if let Some(dir) = &self.data {
            let files = glue_files(self.task, &dataset::task_folder(dir, self.task.name())?)?;
            let read = |path: &Path| Table::read_glue(self.task, path, &self.how.options());
            let sets = files.dev.iter().map(|(name, path)| Ok((name.to_string(), read(path)?)));
            let sets = sets.collect::<Result<Sets>>()?;
            return Ok((Some(read(&files.train)?), sets));
        }
        let train = match train {
            Some(path) => Some(self.file(&dataset::table(path, &["train"])?, false)?),
            None => None,
        };
        Ok((train, self.eval()?.into_iter().collect()))
    }

    /// The sets to measure on alone.
    pub fn sets(&self) -> anyhow::Result<Sets> {
        if let Some(dir) = &self.data {
            let files = glue_files(self.task, &dataset::task_folder(dir, self.task.name())?)?;
            let read = |path: &Path| Table::read_glue(self.task, path, &self.how.options());
            let sets = files.dev.iter().map(|(name, path)| Ok((name.to_string(), read(path)?)));
            return Ok(sets.collect::<Result<Sets>>()?);
        }
        let eval = self.eval()?;
        eval.map(|set| vec![set])
            .ok_or_else(|| Error::config("eval", "--data DIR or --eval FILE", "neither").into())
    }

    /// What `--eval` names.
    fn eval(&self) -> anyhow::Result<Option<(String, Table)>> {
        let Some(path) = &self.eval else { return Ok(None) };
        let path = dataset::table(path, &["validation", "dev", "validation_matched", "test"])?;
        Ok(Some(("eval".to_owned(), self.file(&path, true)?)))
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
