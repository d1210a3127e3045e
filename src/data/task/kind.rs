//! The tasks and what is known of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::{Error, Result};

/// What is learned from labelled texts: one of GLUE's nine tasks (Wang et al. 2019), or one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Whether a sentence is grammatical.
    Cola,
    /// Whether a film review is positive.
    Sst2,
    /// Whether two sentences say the same.
    Mrpc,
    /// Whether two questions ask the same.
    Qqp,
    /// How alike two sentences are, from 0 to 5.
    Stsb,
    /// Whether a sentence follows from another, contradicts it or neither.
    Mnli,
    /// Whether a sentence answers a question.
    Qnli,
    /// Whether a sentence follows from another.
    Rte,
    /// Whether a sentence with its pronoun replaced follows from the sentence.
    Wnli,
    /// One's own classes.
    Classify,
    /// One's own labels, of which a text may have several.
    #[serde(rename = "multi-label")]
    MultiLabel,
    /// A label of each word, such as the entities in a text.
    Tokens,
    /// One's own numbers.
    Regress,
    /// Embeddings: texts that belong together come near each other.
    Contrastive,
}

/// What a task's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of several classes.
    Classes,
    /// Any of several labels.
    Labels,
    /// One of several labels for each word.
    Words,
    /// A number.
    Number,
    /// A vector.
    Vector,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 14] = [
        Task::Cola,
        Task::Sst2,
        Task::Mrpc,
        Task::Qqp,
        Task::Stsb,
        Task::Mnli,
        Task::Qnli,
        Task::Rte,
        Task::Wnli,
        Task::Classify,
        Task::MultiLabel,
        Task::Tokens,
        Task::Regress,
        Task::Contrastive,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Task::Cola => "cola",
            Task::Sst2 => "sst2",
            Task::Mrpc => "mrpc",
            Task::Qqp => "qqp",
            Task::Stsb => "stsb",
            Task::Mnli => "mnli",
            Task::Qnli => "qnli",
            Task::Rte => "rte",
            Task::Wnli => "wnli",
            Task::Classify => "classify",
            Task::MultiLabel => "multi-label",
            Task::Tokens => "tokens",
            Task::Regress => "regress",
            Task::Contrastive => "contrastive",
        }
    }

    /// What its answers are.
    pub fn kind(self) -> Kind {
        match self {
            Task::Stsb | Task::Regress => Kind::Number,
            Task::Contrastive => Kind::Vector,
            Task::MultiLabel => Kind::Labels,
            Task::Tokens => Kind::Words,
            _ => Kind::Classes,
        }
    }

    /// Whether it is one of GLUE's, whose files have a layout of their own.
    pub fn is_glue(self) -> bool {
        use Task::{Classify, Contrastive, MultiLabel, Regress, Tokens};
        !matches!(self, Classify | MultiLabel | Tokens | Regress | Contrastive)
    }

    /// The classes of a task of GLUE: how its files spell each, and its name, in the order of their numbers.
    pub fn classes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Task::Cola => &[("0", "unacceptable"), ("1", "acceptable")],
            Task::Sst2 => &[("0", "negative"), ("1", "positive")],
            Task::Mrpc => &[("0", "not_equivalent"), ("1", "equivalent")],
            Task::Qqp => &[("0", "not_duplicate"), ("1", "duplicate")],
            Task::Mnli => {
                &[("entailment", "entailment"), ("neutral", "neutral"), ("contradiction", "contradiction")]
            }
            Task::Qnli | Task::Rte => &[("entailment", "entailment"), ("not_entailment", "not_entailment")],
            Task::Wnli => &[("0", "not_entailment"), ("1", "entailment")],
            Task::Stsb
            | Task::Classify
            | Task::MultiLabel
            | Task::Tokens
            | Task::Regress
            | Task::Contrastive => &[],
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        // As `transformers` calls it.
        let name = if name == "token-classification" { "tokens" } else { name };
        Task::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let known = Task::ALL.map(|task| format!("`{task}`")).join(", ");
            Error::config("task", format!("one of {known}"), quoted(name))
        })
    }
}
