//! Heads that label words, and texts with several labels: their files, what `transformers` and `seqeval` make of the same,
//! and the commands.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod entities;
mod files;
mod golden;
