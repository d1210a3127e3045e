//! Labelled texts on the command line: GLUE's folders, or one's own files by column names.

use std::path::{Path, PathBuf};

use anyhow::Context;
use wgrad::data::task::{Columns, Table, Task, WordColumns, glue_files, joined_words};
use wgrad::train::finetune::columns;
use wgrad::{Error, Result};

use super::files::FileArgs;
use super::hub::dataset;

/// The task, and the labelled texts of it, as `finetune` takes them.
#[derive(clap::Args)]
pub struct Labelled {
    /// The task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli of GLUE; classify, multi-label (several labels for
    /// a text), tokens (a label for each word; also token-classification), regress or contrastive for one's own texts.
    #[arg(long, value_name = "TASK")]
    pub task: Task,
    #[command(flatten)]
    files: LabelledFiles,
    /// The column or field that holds a text which looks as if it belonged to the first one and does not (a hard negative),
    /// for contrastive training. Said several times, each text has several.
    #[arg(long, value_name = "NAME")]
    negative_column: Vec<String>,
}

/// Labelled texts: what `finetune` and `evaluate` share.
#[derive(clap::Args)]
pub struct LabelledFiles {
    /// A folder of GLUE's files: the task's, or the one that holds it; GLUE's own .tsv, or .csv, .jsonl and .parquet
    /// with the columns of those or of the Hugging Face hub; or hf:nyu-mll/glue, which is fetched.
    #[arg(long, value_name = "DIR|hf:NAME", conflicts_with = "eval")]
    pub data: Option<PathBuf>,
    /// Texts to measure on: .csv, .tsv, .jsonl, .json or .parquet, plain or packed (.gz, .bz2, .zst, .xz, .zip), several,
    /// or a folder of such; or hf:NAME:CONFIG:SPLIT.
    #[arg(long, value_name = "FILES|hf:NAME", num_args = 1..)]
    pub eval: Vec<PathBuf>,
    /// The column or field that holds the text, or the first of two: its name, its number, or a.b; for tokens the list of
    /// words, or the number of a column where words stand in columns [default: text; for tokens: tokens, or the first].
    #[arg(long, value_name = "NAME|N")]
    pub text_column: Option<String>,
    /// The column or field that holds the second text of a pair.
    #[arg(long, value_name = "NAME")]
    pub pair_column: Option<String>,
    /// The column or field that holds the label, a list where there are several [default: label; none for contrastive; for
    /// tokens tags or ner_tags, or the last column].
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// What stands between the labels of a text in a .csv or .tsv file, for multi-label; a list in JSON needs none
    /// [default: ,].
    #[arg(long, value_name = "TEXT")]
    label_separator: Option<String>,
    /// What the tags are called, for tokens, where a file has their numbers: O,B-PER,I-PER,…
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    tag_names: Vec<String>,
    #[command(flatten)]
    pub how: FileArgs,
}

/// Labelled texts with the name of their set.
pub type Sets = Vec<(String, Table)>;

impl Labelled {
    /// The texts to train on, if `train` or `--data` says where it is, and the sets to measure on.
    pub fn read(&self, train: &[PathBuf]) -> anyhow::Result<(Option<Table>, Sets)> {
        let Labelled { task, files, negative_column } = self;
        if !negative_column.is_empty() && *task != Task::Contrastive {
            return Err(Error::config("negative-column", "--task contrastive", task).into());
        }
        if files.data.is_some() {
            files.check(task.name())?;
            let (train, sets) = files.glue(*task, true)?;
            return Ok((train, sets));
        }
        files.check(task.name())?;
        if train.is_empty() {
            return Ok((None, files.eval(*task)?.into_iter().collect()));
        }
        let train = files.joined(*task, train, &["train"], |path| match negative_column.as_slice() {
            [] => files.file(*task, path, false),
            negatives => {
                let by = columns(*task, files.text_column(), files.pair_column.as_deref(), None);
                Table::read_with_negatives(path, &by, negatives, &files.how.options())
            }
        })?;
        Ok((Some(train), files.eval(*task)?.into_iter().collect()))
    }
}

impl LabelledFiles {
    /// Refuses what says something of another task's files.
    pub fn check(&self, task: &str) -> Result<()> {
        if self.label_separator.is_some() && task != Task::MultiLabel.name() {
            return Err(Error::config("label-separator", "--task multi-label", task));
        }
        if !self.tag_names.is_empty() && task != Task::Tokens.name() {
            return Err(Error::config("tag-names", "--task tokens", task));
        }
        Ok(())
    }

    /// The sets to measure on alone.
    pub fn sets(&self, task: Task) -> anyhow::Result<Sets> {
        if self.data.is_some() {
            return Ok(self.glue(task, false)?.1);
        }
        let eval = self.eval(task)?;
        eval.map(|set| vec![set])
            .ok_or_else(|| Error::config("eval", "--data DIR or --eval FILE", "neither").into())
    }

    /// The column of the text, or of the first of two.
    fn text_column(&self) -> &str {
        self.text_column.as_deref().unwrap_or("text")
    }

    /// The sets in `--data` to measure on, and the table to train on where that is asked for.
    fn glue(&self, task: Task, train: bool) -> anyhow::Result<(Option<Table>, Sets)> {
        let dir = self.data.as_deref().unwrap_or(Path::new(""));
        let files = glue_files(task, &dataset::task_folder(dir, task.name())?)?;
        let read = |path: &Path| Table::read_glue(task, path, &self.how.options());
        let sets = files.dev.iter().map(|(name, path)| Ok((name.to_string(), read(path)?)));
        let sets = sets.collect::<Result<Sets>>()?;
        Ok((train.then(|| read(&files.train)).transpose()?, sets))
    }

    /// What `--eval` names.
    fn eval(&self, task: Task) -> anyhow::Result<Option<(String, Table)>> {
        if self.eval.is_empty() {
            return Ok(None);
        }
        let splits = ["validation", "dev", "validation_matched", "test"];
        let table = self.joined(task, &self.eval, &splits, |path| self.file(task, path, true))?;
        Ok(Some(("eval".to_owned(), table)))
    }

    /// The rows of all files that `paths` name: see [`dataset::tables`].
    pub fn joined(
        &self,
        task: Task,
        paths: &[PathBuf],
        splits: &[&str],
        read: impl Fn(&Path) -> Result<Table>,
    ) -> anyhow::Result<Table> {
        let files = dataset::tables(paths, splits, &self.how.options())?;
        let mut tables = files.iter().map(|path| read(path));
        let first = tables.next().context("a file of labelled texts")??;
        let joined = |table: Table, next: Result<Table>| match task {
            // Where the numbers have names, a name may be a digit.
            Task::Tokens if self.tag_names.is_empty() => joined_words(table, next?),
            _ => Ok(table.joined(next?)),
        };
        Ok(tables.try_fold(first, joined)?)
    }

    fn file(&self, task: Task, path: &Path, measured: bool) -> Result<Table> {
        if task.is_glue() {
            let given = [&self.text_column, &self.pair_column, &self.label_column];
            if let Some(column) = given.into_iter().flatten().next() {
                let expected =
                    "none with a task of GLUE, whose columns are known (--task classify takes any)";
                return Err(Error::config("column", expected, format!("`{column}`")));
            }
            return Table::read_glue(task, path, &self.how.options());
        }
        let (pair, label) = (self.pair_column.as_deref(), self.label_column.as_deref());
        if task == Task::Tokens {
            if pair.is_some() {
                return Err(Error::config("pair-column", "none where words are labelled", "one"));
            }
            let known = WordColumns::default();
            let words = self.text_column.clone().unwrap_or(known.words);
            let tags = label.map_or(known.tags, |label| vec![label.to_owned()]);
            let columns = WordColumns { words, tags, names: self.tag_names.clone() };
            return Table::read_words(path, &columns, &self.how.options());
        }
        // Contrastive training learns from pairs alone; how alike they are is for measuring.
        let label = label.filter(|_| measured || task != Task::Contrastive);
        let columns = columns(task, self.text_column(), pair, label);
        let separator = columns
            .separator
            .is_some()
            .then(|| self.label_separator.clone().unwrap_or_else(|| ",".to_owned()));
        let lists = columns.label.as_ref().filter(|_| task == Task::Classify).cloned();
        let table = Table::read(path, &Columns { separator, ..columns }, &self.how.options());
        table.map_err(|error| match (error, lists) {
            (Error::Line { path, line, expected, found }, Some(label))
                if expected.ends_with(&format!("`{label}`"))
                    && ["an array", "a list"].iter().any(|list| found.starts_with(list)) =>
            {
                let expected = format!("{expected} (--task multi-label takes lists of labels)");
                Error::Line { path, line, expected, found }
            }
            (error, _) => error,
        })
    }
}
