//! Finetuning: a pretrained encoder learns a task from labelled texts.
//!
//! [`finetune`] is the whole of it, from tables to a folder; [`TaskLearner`] is a step; [`scores`] says what answers
//! are worth.

mod card;
mod evaluate;
mod job;
mod learner;
mod measure;
mod objective;
mod output;
mod prepare;
mod recipe;
mod rows;
mod run;
pub mod scores;

pub use evaluate::{Evaluated, evaluate};
pub use learner::{TaskBatch, TaskLearner, TaskOptions};
pub use measure::{Measured, measure, measure_pairs, metrics};
pub use objective::{Objective, Targets, in_batch};
pub use output::Answers;
pub use prepare::{Cut, Prepared};
pub use recipe::{Rates, Recipe, RecipeName};
pub use rows::Row;
pub use run::{Event, FinetuneOptions, FinetuneReport, SeedReport, columns, finetune};
pub use scores::Metric;
