//! What can go wrong, told to a person: what was expected, what was found, where, and what to do.

use std::path::{Path, PathBuf};

use crate::format::shortened;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of the library. Each message is one line and names the place where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as an infinitive: `read`, `create the folder`.
        action: &'static str,
        /// What the operating system said. It is part of the message, and so not a `source` to print after it.
        cause: std::io::Error,
    },
    /// A file's contents are not what they must be.
    #[error("{}: expected {expected}, found {found}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file has a format that only a later version of this crate knows.
    #[error(
        "{}: made by a newer wgrad: {what} of format {found}, this one reads up to {newest}; update wgrad",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
        /// Its format.
        found: u64,
        /// The newest format that is known here.
        newest: u32,
    },
    /// A line of a text or table is not what it must be.
    #[error("{}, line {line}: expected {expected}, found {found}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A setting has a value that cannot work.
    #[error("{field}: expected {expected}, found {found}")]
    Config {
        /// The setting, spelled as the user spells it.
        field: String,
        /// What would have been right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An operation was given tensors that do not fit.
    #[error("{operation}: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The shapes it takes.
        expected: String,
        /// The shapes it was given.
        found: String,
    },
    /// No graphics adapter answers.
    #[error(
        "no GPU adapter found{asked}: install a Vulkan, Metal or DirectX 12 driver; \
             on Debian or Ubuntu without a GPU, `apt-get install mesa-vulkan-drivers libvulkan1` gives a software one"
    )]
    NoAdapter {
        /// What was asked for, as ` matching "…"`, or nothing.
        asked: String,
    },
    /// The adapter cannot do what was asked for.
    #[error("{operation}: this adapter ({adapter}) gives {found}, needed {expected}")]
    Limit {
        /// The operation or buffer.
        operation: String,
        /// The adapter's name.
        adapter: String,
        /// What was needed.
        expected: String,
        /// What the adapter gives.
        found: String,
    },
    /// A shader does not compile.
    #[error("{file}, line {line}: {message}")]
    Shader {
        /// The shader's file under `shaders/`.
        file: String,
        /// The line in that file, counted from 1.
        line: usize,
        /// What the compiler said.
        message: String,
    },
    /// The driver rejected a command.
    #[error("{operation}: the GPU driver rejected it: {message}")]
    Gpu {
        /// What was being done.
        operation: String,
        /// What the driver said.
        message: String,
    },
    /// Not enough memory on the GPU.
    #[error("out of GPU memory: {operation} asked for {bytes} bytes; {hint}")]
    OutOfMemory {
        /// What asked.
        operation: String,
        /// How much it asked for.
        bytes: u64,
        /// What is taken, and what to do.
        hint: String,
    },
    /// The driver dropped the device: a reset, a sleep, an unplugged card.
    #[error("the GPU device was lost during {operation}: {message}")]
    DeviceLost {
        /// What was being done.
        operation: String,
        /// What the driver said.
        message: String,
    },
    /// The driver dropped work and called it done.
    #[error("the GPU lost work in {operation}: {message}")]
    WorkLost {
        /// What was being done.
        operation: String,
        /// What shows it.
        message: String,
    },
    /// The loss of a training run is far above where it was, and stays there.
    #[error(
        "step {step}: the loss has exploded: {now:.4} over the last steps, where it was {best:.4} at best; {hint}"
    )]
    Diverged {
        /// The last step that was done.
        step: u64,
        /// The best level that the loss had.
        best: f64,
        /// Its present level.
        now: f64,
        /// What is kept, and what to do.
        hint: String,
    },
    /// The device computes, and what it computes is wrong.
    #[error("{device} computes wrong: expected {expected}, found {found}; {hint}")]
    WrongResult {
        /// The adapter's name.
        device: String,
        /// What would have been right.
        expected: String,
        /// What it computed.
        found: String,
        /// What to do.
        hint: String,
    },
    /// Another process that trains the same model cannot go on.
    #[error("rank {rank}: {message}")]
    Rank {
        /// Which one, counted from 0.
        rank: usize,
        /// Why.
        message: String,
    },
    /// Training cannot go on.
    #[error("training stopped at step {step}: {message}")]
    Training {
        /// The optimizer step, counted from 1.
        step: u64,
        /// Why, and what to do.
        message: String,
    },
}

impl Error {
    /// An [`Error::Io`] for `map_err`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |cause| Error::Io { path, action, cause }
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::File { path: path.as_ref().to_path_buf(), expected: expected.into(), found: found.into() }
    }

    /// An [`Error::Shape`].
    pub fn shape(
        operation: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Error::Shape { operation, expected: expected.into(), found: found.to_string() }
    }

    /// An [`Error::Config`].
    pub fn config(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Error::Config { field: field.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Adds what whoever asked for too much can do about it: limits and memory are known where commands are recorded, and
    /// the settings that lead to them only further up. The first advice stands: who is nearer knows better.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        match self {
            Error::Limit { operation, adapter, expected, found } if !expected.ends_with(')') => {
                Error::Limit { operation, adapter, expected: format!("{expected} ({advice})"), found }
            }
            Error::OutOfMemory { operation, bytes, hint } if !hint.contains("; ") => {
                Error::OutOfMemory { operation, bytes, hint: format!("{hint}; {advice}") }
            }
            other => other,
        }
    }
}

/// A name that came from outside, in backquotes, safe to show on one line.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", shortened(name, 120).escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_given_once_and_to_those_who_asked_for_too_much() {
        let limit = Error::Limit {
            operation: "linear".into(),
            adapter: "a card".into(),
            expected: "8 bytes in one binding".into(),
            found: "at most 4".into(),
        };
        let told = limit.with_advice("lower it").with_advice("or that").to_string();
        assert_eq!(
            told,
            "linear: this adapter (a card) gives at most 4, needed 8 bytes in one binding (lower it)"
        );
        let full =
            Error::OutOfMemory { operation: "linear".into(), bytes: 8, hint: "3 of 4 are taken".into() };
        let told = full.with_advice("lower it").with_advice("or that").to_string();
        assert_eq!(told, "out of GPU memory: linear asked for 8 bytes; 3 of 4 are taken; lower it");
        let other = Error::config("a", "b", "c").with_advice("lower it").to_string();
        assert!(!other.contains("lower it"), "{other}");
    }

    #[test]
    fn what_the_system_said_is_said_once() {
        let error = Error::io("a/b", "read")(std::io::Error::other("no such luck"));
        assert_eq!(error.to_string(), "a/b: cannot read: no such luck");
        assert!(std::error::Error::source(&error).is_none());
    }
}
