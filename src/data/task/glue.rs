//! The layouts of GLUE's own files.

use std::path::{Path, PathBuf};

use super::columns::Columns;
use super::kind::{Kind, Task};
use crate::{Error, Result};

/// Where a task's parts are in its folder: those to train on, and those to measure on with their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlueFiles {
    /// The training file.
    pub train: PathBuf,
    /// The development files; MNLI has two, of the same kinds of text as in training and of others.
    pub dev: Vec<(&'static str, PathBuf)>,
}

/// The files of a folder as GLUE's download has them; `dir` is the task's folder, or the one that holds it.
///
/// # Errors
/// [`Error::File`] when the folder has no such files; [`Error::Config`] for a task that is not GLUE's.
pub fn glue_files(task: Task, dir: &Path) -> Result<GlueFiles> {
    let Some(folder) = folder_name(task) else {
        return Err(Error::config("data", "--train and --eval for a task that is not GLUE's", task));
    };
    let inner = dir.join(folder);
    let dir = if inner.is_dir() { inner } else { dir.to_path_buf() };
    let names: &[(&str, &[&str])] = match task {
        Task::Mnli => &[
            ("matched", &["dev_matched", "validation_matched"]),
            ("mismatched", &["dev_mismatched", "validation_mismatched"]),
        ],
        _ => &[("dev", &["dev", "validation"])],
    };
    let dev: Vec<_> = names.iter().map(|(name, stems)| (*name, find(&dir, stems))).collect();
    let train = find(&dir, &["train"]);
    let missing = std::iter::once(&train).chain(dev.iter().map(|(_, found)| found));
    let missing: Vec<_> = missing.filter_map(|found| found.as_ref().err().cloned()).collect();
    match train {
        Ok(train) if missing.is_empty() => {
            let dev = dev.into_iter().filter_map(|(name, found)| Some((name, found.ok()?)));
            Ok(GlueFiles { train, dev: dev.collect() })
        }
        _ => {
            let expected = format!("the files of GLUE's {folder}, as .tsv, .csv, .jsonl or .parquet");
            Err(Error::file(dir, expected, missing.join(", ")))
        }
    }
}

/// The file of `dir` with one of the names `stems` and the ending of a table, or with the name that the Hugging Face hub
/// gives a file that is the only one of its part; else what is missing.
fn find(dir: &Path, stems: &[&str]) -> std::result::Result<PathBuf, String> {
    let endings = ["tsv", "csv", "jsonl", "json", "parquet"];
    let names = stems.iter().flat_map(|stem| {
        endings
            .iter()
            .flat_map(move |ending| [format!("{stem}.{ending}"), format!("{stem}-00000-of-00001.{ending}")])
    });
    let mut paths = names.map(|name| dir.join(name));
    paths.find(|path| path.is_file()).ok_or_else(|| format!("no {}.tsv", stems[0]))
}

/// The name of the task's folder in GLUE's download.
fn folder_name(task: Task) -> Option<&'static str> {
    Some(match task {
        Task::Cola => "CoLA",
        Task::Sst2 => "SST-2",
        Task::Mrpc => "MRPC",
        Task::Qqp => "QQP",
        Task::Stsb => "STS-B",
        Task::Mnli => "MNLI",
        Task::Qnli => "QNLI",
        Task::Rte => "RTE",
        Task::Wnli => "WNLI",
        Task::Classify | Task::MultiLabel | Task::Tokens | Task::Regress | Task::Contrastive => return None,
    })
}

/// Where a file of a task holds texts and labels.
pub(super) struct Layout {
    pub(super) columns: Columns,
    /// Whether the columns have names; otherwise they go by number.
    pub(super) header: bool,
}

/// The layouts of a GLUE task's files: that of GLUE's own download, and that of the Hugging Face hub's copy; none for one's
/// own tasks.
pub(super) fn layouts(task: Task) -> Vec<Layout> {
    let layout = |text: &str, pair: Option<&str>, label: &str| {
        let (text, label) = (text.to_owned(), Some(label.to_owned()));
        Layout {
            columns: Columns {
                text,
                pair: pair.map(str::to_owned),
                label,
                numbers: task.kind() != Kind::Classes,
                separator: None,
            },
            header: true,
        }
    };
    match task {
        // It has no header: source, label, the author's own mark, sentence.
        Task::Cola => {
            vec![Layout { header: false, ..layout("4", None, "2") }, layout("sentence", None, "label")]
        }
        Task::Sst2 => vec![layout("sentence", None, "label")],
        Task::Mrpc => vec![
            layout("#1 String", Some("#2 String"), "Quality"),
            layout("sentence1", Some("sentence2"), "label"),
        ],
        Task::Qqp => vec![
            layout("question1", Some("question2"), "is_duplicate"),
            layout("question1", Some("question2"), "label"),
        ],
        Task::Stsb => vec![
            layout("sentence1", Some("sentence2"), "score"),
            layout("sentence1", Some("sentence2"), "label"),
        ],
        Task::Mnli => vec![
            layout("sentence1", Some("sentence2"), "gold_label"),
            layout("premise", Some("hypothesis"), "label"),
        ],
        Task::Qnli => vec![layout("question", Some("sentence"), "label")],
        Task::Rte | Task::Wnli => vec![layout("sentence1", Some("sentence2"), "label")],
        Task::Classify | Task::MultiLabel | Task::Tokens | Task::Regress | Task::Contrastive => Vec::new(),
    }
}
