//! What a finetuned model says of texts: classes or labels with their probabilities, or numbers.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::load::{load, longest_in};
use super::logits::{argmax, softmax};
use super::readout::Readout;
use super::session::{Sequence, Session};
use crate::data::task::{Encoded, encode};
use crate::files::ModelFolder;
use crate::gpu::Gpu;
use crate::models::{Config, Model, ProblemType};
use crate::store::{Disk, Store};
use crate::tensor::DType;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// What a model says of a text or pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The likeliest class; none where the model gives a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// All labels of at least the threshold's probability, where a text may have several: perhaps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The probability of that class, or the number.
    pub score: f64,
    /// The probability of every class, in the model's order; empty where it gives a number. Where a text may have several
    /// labels each is a probability of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f64>,
    /// How many tokens were truncated.
    pub truncated: usize,
}

/// A finetuned model and its tokenizer, ready to predict.
///
/// This one is not run, because it needs a finetuned model: the example of
/// [`finetune`](crate::train::finetune::finetune()) makes one.
///
/// ```no_run
/// use wgrad::files::ModelFolder;
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::infer::Classifier;
/// use wgrad::tensor::DType;
///
/// # pollster::block_on(async {
/// let gpu = Gpu::open(&GpuOptions::default()).await?;
/// let mut classifier = Classifier::open(&gpu, &ModelFolder::load("runs/reviews")?, DType::F32)?;
/// let texts = [("a lovely, funny film".to_owned(), None)];
/// for answer in classifier.predict(&texts, &mut |_| {}).await? {
///     println!("{}: {:.2}", answer.label.unwrap_or_default(), answer.score);
/// }
/// # Ok::<(), wgrad::Error>(()) });
/// ```
#[derive(Debug)]
pub struct Classifier {
    session: Session,
    tokenizer: Tokenizer,
    template: Template,
    longest: usize,
    threshold: f64,
}

/// The probability from which on a text has a label, where it may have several.
const THRESHOLD: f64 = 0.5;

impl Sequence for Encoded {
    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn types(&self) -> &[u32] {
        &self.types
    }
}

impl Classifier {
    /// Loads a folder onto a device. Activations are stored as `storage`: f32, or f16 on devices that have it.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a head on its first token; those of reading the files and of the device.
    pub fn open(gpu: &Gpu, folder: &ModelFolder, storage: DType) -> Result<Self> {
        Self::open_in(&Disk, gpu, folder, None, storage)
    }

    /// [`Classifier::open`] of a folder in `store`. Where its `model`, head and all, is on the device already, with f16 copies
    /// if `storage` is f16, it is not loaded once more.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn open_in(
        store: &dyn Store,
        gpu: &Gpu,
        folder: &ModelFolder,
        model: Option<Arc<Model>>,
        storage: DType,
    ) -> Result<Self> {
        if !folder.config.is_classifier() {
            let expected = "a model with a head that classifies texts, such as BertForSequenceClassification";
            let found = format!("{:?} in {}", folder.config.architectures, folder.path.display());
            return Err(Error::config("architectures", expected, found));
        }
        let tokenizer = folder.tokenizer()?;
        let load = || load(gpu, folder.config.clone(), &folder.weights, storage).map(Arc::new);
        Ok(Classifier {
            template: Template::of(&tokenizer)?,
            longest: longest_in(store, &folder.path, &folder.config)?,
            session: Session::new(gpu, model.map_or_else(load, Ok)?, storage),
            tokenizer,
            threshold: THRESHOLD,
        })
    }

    /// The same, where a text has all labels of at least this probability instead of 0.5.
    #[must_use]
    pub fn with_threshold(self, threshold: f64) -> Self {
        Classifier { threshold, ..self }
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.session.model().config
    }

    /// How many tokens of a text are seen at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The tokens of a text or pair as the model sees them.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn encode(&self, text: &str, pair: Option<&str>) -> Result<Encoded> {
        encode(&self.tokenizer, &self.template, text, pair, self.longest)
    }

    /// The outputs of the head for each text: the logits of the classes, or the number. `progress` is told how many
    /// are done.
    ///
    /// # Errors
    /// As [`Session::compute`].
    pub async fn outputs(
        &mut self,
        texts: &[Encoded],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        self.session.compute(Readout::Head, texts, progress).await
    }

    /// What the model says of each text or pair, in their order.
    ///
    /// # Errors
    /// As [`Classifier::encode`] and [`Classifier::outputs`].
    pub async fn predict(
        &mut self,
        texts: &[(String, Option<String>)],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Prediction>> {
        let Classifier { session, tokenizer, template, longest, .. } = self;
        let mut truncated = Vec::with_capacity(texts.len());
        let mut windows = texts.chunks(session.window()).map(|window| {
            let one = |(text, pair): &(String, Option<String>)| {
                encode(tokenizer, template, text, pair.as_deref(), *longest)
            };
            let window = window.par_iter().map(one).collect::<Result<Vec<_>>>()?;
            truncated.extend(window.iter().map(|text| text.truncated));
            Ok(window)
        });
        let outputs = session.compute_windows(Readout::Head, &mut windows, progress).await?;
        Ok(outputs
            .iter()
            .zip(truncated)
            .map(|(output, truncated)| self.prediction(output, truncated))
            .collect())
    }

    fn prediction(&self, output: &[f32], truncated: usize) -> Prediction {
        let config = self.config();
        if config.problem_type == Some(ProblemType::MultiLabelClassification) {
            let probabilities: Vec<f64> =
                output.iter().map(|&logit| 1.0 / (1.0 + (-f64::from(logit)).exp())).collect();
            let given =
                config.labels.iter().zip(&probabilities).filter(|(_, share)| **share >= self.threshold);
            let labels = Some(given.map(|(label, _)| label.clone()).collect());
            let best = argmax(output);
            let label = config.labels.get(best).cloned();
            return Prediction { label, labels, score: probabilities[best], probabilities, truncated };
        }
        let number = config.problem_type == Some(ProblemType::Regression) || config.labels.len() == 1;
        if number {
            let (label, labels, probabilities) = (None, None, Vec::new());
            return Prediction { label, labels, score: f64::from(output[0]), probabilities, truncated };
        }
        let probabilities = softmax(output);
        let best = argmax(output);
        let label = config.labels.get(best).cloned();
        Prediction { label, labels: None, score: probabilities[best], probabilities, truncated }
    }
}

/// How many tokens a folder's model sees of a text: see [`longest_in`].
///
/// # Errors
/// As [`longest_in`].
pub fn longest(folder: &Path, config: &Config) -> Result<usize> {
    longest_in(&Disk, folder, config)
}
