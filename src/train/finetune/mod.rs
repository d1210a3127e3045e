//! Finetuning: a pretrained encoder learns a task from labelled texts.
//!
//! [`finetune`] is the whole of it, from tables to a folder; [`Trainer`](super::Trainer) is a step; [`scores`] says what
//! answers are worth.

mod card;
mod evaluate;
mod job;
mod measure;
mod output;
mod prepare;
mod recipe;
mod rows;
mod run;
pub mod scores;

pub use evaluate::{Evaluated, evaluate};
pub use measure::{Measured, measure, measure_pairs, metrics};
pub use output::Answers;
pub use prepare::{Cut, Prepared};
pub use recipe::{Rates, Recipe, RecipeName};
pub use rows::Row;
pub use run::{Event, FinetuneOptions, FinetuneReport, SeedReport, columns, finetune};
pub use scores::Metric;
