//! Measuring a finetuned model on labelled texts.

use std::sync::Arc;

use super::answers::Answers;
use super::prepare::{Prepared, Truncation};
use super::score::Scores;
use super::setup::score_set;
use crate::data::task::{Kind, Labels, Table, Task};
use crate::files::{ModelFolder, SentenceFolder};
use crate::gpu::Gpu;
use crate::infer::{Session, load, longest};
use crate::models::Pooling;
use crate::store::Disk;
use crate::tensor::DType;
use crate::text::Template;
use crate::{Error, Result};

/// What was found on one set.
#[derive(Debug)]
pub struct Evaluated {
    /// The set.
    pub name: String,
    /// How many texts or pairs it has.
    pub texts: usize,
    /// How many were truncated.
    pub truncated: usize,
    /// How good the answers are.
    pub measured: Scores,
    /// The answers.
    pub answers: Answers,
}

/// Measures the model of `folder` on labelled texts; activations are stored as `storage`. `progress` is told how many
/// texts of a set are done, and of how many.
///
/// # Errors
/// [`Error::Config`] for a model that does not answer as the task asks; those of labels, files and the device.
pub async fn evaluate(
    gpu: &Gpu,
    (folder, storage): (&ModelFolder, DType),
    task: Task,
    sets: &[(String, Table)],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Evaluated>> {
    let config = &folder.config;
    let answers = config.labels.len();
    let fits = match task.kind() {
        Kind::Classes => {
            config.is_classifier() && answers > 1 && (!task.is_glue() || answers == task.classes().len())
        }
        Kind::Number => config.is_classifier() && answers == 1,
        Kind::Vector => true,
    };
    if !fits {
        let expected = match task.kind() {
            Kind::Classes if task.is_glue() => {
                format!("a model finetuned to {} classes", task.classes().len())
            }
            Kind::Classes => "a model finetuned to classes".to_owned(),
            _ => "a model finetuned to numbers".to_owned(),
        };
        let found = match config.is_classifier() {
            true => format!("one with {answers} outputs in {}", folder.path.display()),
            false => format!("one without a head in {}", folder.path.display()),
        };
        return Err(Error::config("model", expected, found));
    }
    let tokenizer = folder.tokenizer()?;
    let (pooling, longest) = match task.kind() {
        Kind::Vector => {
            let described = SentenceFolder::load_with(&Disk, &folder.path, false)?;
            (described.pooling, described.max_tokens)
        }
        Kind::Classes | Kind::Number => (Pooling::Cls, longest(&folder.path, config)?),
    };
    let truncation = Truncation { template: Template::of(&tokenizer)?, longest, drop_long: false };
    let labels = Labels::of_model(&config.labels, task);
    let mut prepared = Vec::new();
    for (name, table) in sets {
        let set = Prepared::new(task, &tokenizer, table, &labels, &truncation)?;
        if task.kind() == Kind::Vector && set.partners.is_empty() {
            let expected = "pairs (--pair-column)";
            return Err(Error::config(name.clone(), expected, "single texts"));
        }
        prepared.push(set);
    }
    let shape = if task.kind() == Kind::Vector { config.encoder() } else { config.clone() };
    let model = load(gpu, shape, &folder.weights, storage)?;
    let mut session = Session::new(gpu, Arc::new(model), storage);
    let mut found = Vec::new();
    for ((name, _), set) in sets.iter().zip(&prepared) {
        let mut tell = |done| progress(done, set.count());
        let (measured, answers) = score_set((task, pooling), &mut session, set, &mut tell).await?;
        let (name, texts, truncated) = (name.clone(), set.count(), set.truncated);
        found.push(Evaluated { name, texts, truncated, measured, answers });
    }
    Ok(found)
}
