//! The layouts of GLUE's own files.

use std::path::{Path, PathBuf};

use super::columns::Columns;
use super::kind::Task;
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
    let names: &[(&str, &str)] = match task {
        Task::Mnli => &[("matched", "dev_matched.tsv"), ("mismatched", "dev_mismatched.tsv")],
        _ => &[("dev", "dev.tsv")],
    };
    let dev = names.iter().map(|(name, file)| (*name, dir.join(file))).collect();
    let files = GlueFiles { train: dir.join("train.tsv"), dev };
    let missing = std::iter::once(&files.train).chain(files.dev.iter().map(|(_, path)| path));
    let missing: Vec<_> = missing
        .filter(|path| !path.is_file())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    if missing.is_empty() {
        return Ok(files);
    }
    let expected = format!("the files of GLUE's {folder}, as its own download has them");
    Err(Error::file(dir, expected, format!("no {}", missing.join(", no "))))
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
        Task::Classify | Task::Regress | Task::Contrastive => return None,
    })
}

/// Where a GLUE task's files hold texts and label; none for one's own tasks.
pub(super) fn columns(task: Task) -> Option<Columns> {
    let pair = |text: &str, pair: &str, label: &str| Columns {
        text: text.to_owned(),
        pair: Some(pair.to_owned()),
        label: Some(label.to_owned()),
    };
    Some(match task {
        // It has no header: source, label, the author's own mark, sentence.
        Task::Cola => Columns { text: "3".into(), pair: None, label: Some("1".into()) },
        Task::Sst2 => Columns { text: "sentence".into(), pair: None, label: Some("label".into()) },
        Task::Mrpc => pair("#1 String", "#2 String", "Quality"),
        Task::Qqp => pair("question1", "question2", "is_duplicate"),
        Task::Stsb => pair("sentence1", "sentence2", "score"),
        Task::Mnli => pair("sentence1", "sentence2", "gold_label"),
        Task::Qnli => pair("question", "sentence", "label"),
        Task::Rte | Task::Wnli => pair("sentence1", "sentence2", "label"),
        Task::Classify | Task::Regress | Task::Contrastive => return None,
    })
}

/// How many columns a file without a header has.
pub(super) const COLA_COLUMNS: usize = 4;
