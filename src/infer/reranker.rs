//! How well texts answer a query, by a cross-encoder: a model that reads both at once (Nogueira and Cho 2019).

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::classifier::longest;
use super::load::load;
use super::logits::softmax;
use super::readout::Readout;
use super::session::Session;
use crate::data::task::encode;
use crate::error::quoted;
use crate::files::ModelFolder;
use crate::files::list::{CONFIG_FILE, PROMPTS_FILE};
use crate::gpu::Gpu;
use crate::models::{Config, DenseActivation, ProblemType};
use crate::store::{Disk, read_settings};
use crate::tensor::DType;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// How well a text answers a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relevance {
    /// The score; more is better.
    pub score: f64,
    /// How many tokens of the pair were cut off.
    pub truncated: usize,
}

/// What becomes of the outputs of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scoring {
    /// A function of the only one.
    Activation(DenseActivation),
    /// The probability of the class of this number.
    Class(usize),
    /// That of the label of this number, where a text may have several.
    Label(usize),
}

/// A cross-encoder and its tokenizer, ready to score texts against a query.
///
/// This one is not run, because it needs a cross-encoder, such as `cross-encoder/ms-marco-MiniLM-L6-v2`:
///
/// ```no_run
/// use wgrad::files::ModelFolder;
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::infer::Reranker;
/// use wgrad::tensor::DType;
///
/// # pollster::block_on(async {
/// let gpu = Gpu::open(&GpuOptions::default()).await?;
/// let mut reranker = Reranker::open(&gpu, &ModelFolder::load("data/marco")?, DType::F32, None)?;
/// let texts = ["Lisbon is the capital of Portugal.", "Soup is a dish."];
/// for found in reranker.score("capital of Portugal", &texts, &mut |_| {}).await? {
///     println!("{:.3}", found.score);
/// }
/// # Ok::<(), wgrad::Error>(()) });
/// ```
#[derive(Debug)]
pub struct Reranker {
    session: Session,
    tokenizer: Tokenizer,
    template: Template,
    longest: usize,
    scoring: Scoring,
}

impl Reranker {
    /// Loads a folder onto a device. Activations are stored as `storage`: f32, or f16 on devices that have it.
    ///
    /// A model with one output is scored by the activation that its files name for `sentence-transformers`, else by the
    /// sigmoid. One with several classes is scored by the probability of `class`; of two the second stands for the pairs
    /// that belong together, unless `class` says otherwise.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a head on its first token, or without the class; [`Error::File`] for an
    /// activation that is not known here; those of reading the files and of the device.
    pub fn open(gpu: &Gpu, folder: &ModelFolder, storage: DType, class: Option<&str>) -> Result<Self> {
        if !folder.config.is_classifier() {
            let expected = "a cross-encoder, such as BertForSequenceClassification (a model that makes vectors \
                            compares texts by `wgrad similarity`)";
            let found = format!("{:?} in {}", folder.config.architectures, folder.path.display());
            return Err(Error::config("architectures", expected, found));
        }
        let scoring = scoring(folder, class)?;
        let tokenizer = folder.tokenizer()?;
        let model = load(gpu, folder.config.clone(), &folder.weights, storage)?;
        Ok(Reranker {
            template: Template::of(&tokenizer)?,
            longest: longest(&folder.path, &folder.config)?,
            session: Session::new(gpu, Arc::new(model), storage),
            tokenizer,
            scoring,
        })
    }

    /// The class whose probability is the score, where the model has several.
    pub fn class(&self) -> Option<&str> {
        match self.scoring {
            Scoring::Class(class) | Scoring::Label(class) => {
                self.config().labels.get(class).map(String::as_str)
            }
            Scoring::Activation(_) => None,
        }
    }

    /// How many tokens of a pair are seen at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    fn config(&self) -> &Config {
        &self.session.model().config
    }

    /// The score of each text, in their order. Of a pair that is too long the longer text is cut. `progress` is told how
    /// many are done.
    ///
    /// # Errors
    /// As [`encode`] and [`Session::compute`].
    pub async fn score(
        &mut self,
        query: &str,
        texts: &[impl AsRef<str> + Sync],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Relevance>> {
        let Reranker { session, tokenizer, template, longest, scoring } = self;
        let mut truncated = Vec::with_capacity(texts.len());
        let mut windows = texts.chunks(session.window()).map(|window| {
            let one =
                |text: &_| encode(tokenizer, template, query, Some(AsRef::<str>::as_ref(text)), *longest);
            let window = window.par_iter().map(one).collect::<Result<Vec<_>>>()?;
            truncated.extend(window.iter().map(|pair| pair.truncated));
            Ok(window)
        });
        let outputs = session.compute_windows(Readout::Head, &mut windows, progress).await?;
        let score = |output: &Vec<f32>| match scoring {
            Scoring::Activation(activation) => activation.of(f64::from(output[0])),
            Scoring::Class(class) => softmax(output)[*class],
            Scoring::Label(label) => DenseActivation::Sigmoid.of(f64::from(output[*label])),
        };
        let scores = outputs.iter().map(score);
        Ok(scores.zip(truncated).map(|(score, truncated)| Relevance { score, truncated }).collect())
    }
}

/// How a folder's outputs become scores.
fn scoring(folder: &ModelFolder, class: Option<&str>) -> Result<Scoring> {
    let labels = &folder.config.labels;
    if labels.len() == 1 {
        if let Some(class) = class {
            return Err(Error::config("label", "none, as the model has one output", quoted(class)));
        }
        return Ok(Scoring::Activation(activation(folder)?));
    }
    let known: Vec<String> = labels.iter().map(|label| quoted(label)).collect();
    let known = known.join(", ");
    // Of labels that do not exclude each other none is the opposite of another, and each has a probability of its own.
    let several = folder.config.problem_type == Some(ProblemType::MultiLabelClassification);
    let of = |at| if several { Scoring::Label(at) } else { Scoring::Class(at) };
    match class {
        Some(class) => match labels.iter().position(|label| label == class) {
            Some(at) => Ok(of(at)),
            None => {
                Err(Error::config("label", format!("one of the model's classes, {known}"), quoted(class)))
            }
        },
        None if labels.len() == 2 && !several => Ok(Scoring::Class(positive([&labels[0], &labels[1]]))),
        None => {
            let expected = "the class whose probability is the score (--label)";
            Err(Error::config("label", expected, format!("none, and the classes {known}")))
        }
    }
}

/// Which of two classes stands for what belongs together: the second, unless it is named as the opposite of the first,
/// such as `not_entailment`.
fn positive([first, second]: [&str; 2]) -> usize {
    let opposite = second.len() > first.len() && second.ends_with(first);
    usize::from(!opposite)
}

/// The function of the only output: what `sentence-transformers` reads from its own file or `config.json`, where it had
/// another key before its version 4, or else the sigmoid.
fn activation(folder: &ModelFolder) -> Result<DenseActivation> {
    let read = |name: &str| -> Result<(PathBuf, Map<String, Value>)> {
        let path = folder.path.join(name);
        let settings = read_settings(&Disk, &path)?;
        Ok((path, settings))
    };
    let ((own, settings), (path, config)) = (read(PROMPTS_FILE)?, read(CONFIG_FILE)?);
    let newer = config.get("sentence_transformers").and_then(|settings| settings.get("activation_fn"));
    let places = [
        (&own, "activation_fn", settings.get("activation_fn")),
        (&path, "sentence_transformers.activation_fn", newer),
        (&path, "sbert_ce_default_activation_function", config.get("sbert_ce_default_activation_function")),
    ];
    let Some((path, key, name)) =
        places.into_iter().find_map(|(path, key, value)| Some((path, key, value.filter(|v| !v.is_null())?)))
    else {
        return Ok(DenseActivation::Sigmoid);
    };
    let class = name.as_str().filter(|name| name.starts_with("torch.nn."));
    let class = class.and_then(|name| name.rsplit('.').next());
    class.and_then(DenseActivation::of_class).ok_or_else(|| {
        let expected = format!("`{key}` to name an activation of PyTorch's, such as torch.nn.Sigmoid");
        Error::file(path, expected, name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::positive;

    #[test]
    fn the_class_of_what_belongs_together() {
        assert_eq!(positive(["LABEL_0", "LABEL_1"]), 1);
        assert_eq!(positive(["not_relevant", "relevant"]), 1);
        assert_eq!(positive(["entailment", "not_entailment"]), 0);
        assert_eq!(positive(["same", "same"]), 1);
    }
}
