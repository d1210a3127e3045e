//! Measuring a finetuned model on labelled texts.

use std::sync::Arc;

use super::answers::Answers;
use super::measure::score_set;
use super::prepare::{Prepared, Truncation};
use super::score::{Scores, score_pairs};
use crate::data::task::{self, Kind, Labels, Table, Task};
use crate::files::{ModelFolder, SentenceFolder};
use crate::gpu::Gpu;
use crate::infer::{EmbedOptions, Embedder, Session, load, longest};
use crate::models::{Pooling, ProblemType};
use crate::store::Disk;
use crate::tensor::DType;
use crate::text::Template;
use crate::train::objective::Targets;
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
    let several = config.problem_type == Some(ProblemType::MultiLabelClassification);
    let fits = match task.kind() {
        Kind::Classes => {
            config.is_classifier()
                && answers > 1
                && !several
                && (!task.is_glue() || answers == task.classes().len())
        }
        Kind::Labels => config.is_classifier() && several,
        Kind::Words => config.is_token_classifier(),
        Kind::Number => config.is_classifier() && answers == 1,
        Kind::Vector => true,
    };
    if !fits {
        let expected = match task.kind() {
            Kind::Classes if task.is_glue() => {
                format!("a model finetuned to {} classes", task.classes().len())
            }
            Kind::Classes => "a model finetuned to classes".to_owned(),
            Kind::Labels => "a model finetuned with --task multi-label".to_owned(),
            Kind::Words => "a model finetuned to label words, such as BertForTokenClassification".to_owned(),
            _ => "a model finetuned to numbers".to_owned(),
        };
        let found = match config.is_classifier() {
            true if several => format!("one that gives several labels in {}", folder.path.display()),
            true => format!("one with {answers} outputs in {}", folder.path.display()),
            false if config.is_token_classifier() => {
                format!("one that labels words in {}", folder.path.display())
            }
            false => format!("one without a head in {}", folder.path.display()),
        };
        return Err(Error::config("model", expected, found));
    }
    if task.kind() == Kind::Vector {
        return evaluate_vectors(gpu, (folder, storage), sets, progress).await;
    }
    let tokenizer = folder.tokenizer()?;
    let longest = longest(&folder.path, config)?;
    let truncation = Truncation { template: Template::of(&tokenizer)?, longest, drop_long: false };
    let labels = Labels::of_model(&config.labels, task);
    let mut prepared = Vec::new();
    for (_, table) in sets {
        prepared.push(Prepared::new(task, &tokenizer, table, &labels, &truncation)?);
    }
    let model = load(gpu, config.clone(), &folder.weights, storage)?;
    let mut session = Session::new(gpu, Arc::new(model), storage);
    let mut found = Vec::new();
    for ((name, _), set) in sets.iter().zip(&prepared) {
        let mut tell = |done| progress(done, set.count());
        let (measured, answers) = score_set((task, Pooling::Cls), &mut session, set, &mut tell).await?;
        let (name, texts, truncated) = (name.clone(), set.count(), set.truncated);
        found.push(Evaluated { name, texts, truncated, measured, answers });
    }
    Ok(found)
}

/// Measures the vectors of pairs of texts, as the folder makes vectors.
async fn evaluate_vectors(
    gpu: &Gpu,
    (folder, storage): (&ModelFolder, DType),
    sets: &[(String, Table)],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Evaluated>> {
    let described = SentenceFolder::load_with(&Disk, &folder.path, false)?.with_its_pooling()?;
    // What is compared is the cosine, which is the product of vectors of length 1.
    let options = EmbedOptions { normalize: true, storage, ..EmbedOptions::from(&described) };
    let mut embedder = Embedder::open(gpu, &described, options)?;
    let mut found = Vec::new();
    for (name, table) in sets {
        let examples = &table.examples;
        let targets = match examples.iter().all(|example| example.label.is_some()) {
            true => Targets::Numbers(task::scores(table)?),
            false => Targets::Pairs,
        };
        let partners: Vec<&str> = examples.iter().filter_map(|example| example.pair.as_deref()).collect();
        if partners.len() < examples.len() {
            return Err(Error::config(name.clone(), "pairs (--pair-column)", "single texts"));
        }
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
        let count = texts.len();
        let (vectors, long) = embed(&mut embedder, &texts, &mut |done| progress(done, count)).await?;
        let (others, also_long) = embed(&mut embedder, &partners, &mut |done| progress(done, count)).await?;
        found.push(Evaluated {
            name: name.clone(),
            texts: count,
            truncated: long.iter().zip(&also_long).filter(|(a, b)| **a || **b).count(),
            measured: score_pairs(&vectors, &others, &targets),
            answers: Answers::of_pairs(&vectors, &others, &targets),
        });
    }
    Ok(found)
}

/// The vectors of some texts, and of each whether it was truncated.
async fn embed(
    embedder: &mut Embedder,
    texts: &[&str],
    progress: &mut dyn FnMut(usize),
) -> Result<(Vec<Vec<f32>>, Vec<bool>)> {
    let found = embedder.embed(texts, progress).await?;
    let long = match found.truncated {
        0 => vec![false; texts.len()],
        _ => texts.iter().map(|text| Ok(embedder.tokenize(text)?.truncated > 0)).collect::<Result<_>>()?,
    };
    Ok((found.rows().map(<[f32]>::to_vec).collect(), long))
}
