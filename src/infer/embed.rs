//! Texts to vectors: encoder, pooling over the tokens, L2 normalisation.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::load::{check_vocabulary, load};
use super::readout::Readout;
use super::session::{Sequence, Session};
use crate::budget;
use crate::files::SentenceFolder;
use crate::gpu::Gpu;
use crate::models::{Config, Model, Pooling, Poolings, VectorStep, normalized};
use crate::tensor::DType;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// How vectors are made of hidden states.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedOptions {
    /// How tokens become a text.
    pub pooling: Poolings,
    /// Whether the tokens of the prompt are pooled too.
    pub include_prompt: bool,
    /// What is done with the pooled vector.
    pub steps: Arc<[VectorStep]>,
    /// How many numbers of a vector are kept; all where none is said.
    pub dimensions: Option<usize>,
    /// Whether vectors are at last divided by their length.
    pub normalize: bool,
    /// How many tokens of a text are seen at most, `[CLS]` and `[SEP]` counted.
    pub max_tokens: usize,
    /// Whether texts are lower-cased before they are tokenized.
    pub lower_case: bool,
    /// What is put in front of each text.
    pub prompt: String,
    /// How activations are stored while a text is read: f32, or f16 on devices that have it.
    pub storage: DType,
    /// Whether the vector of a text is what the model's head says of it, the logits of its classes or its number. Then
    /// nothing else of this counts but `max_tokens` and `storage`.
    pub classify: bool,
    /// Whether the head of a folder's model is loaded too, though vectors do without it: for [`Embedder::shared_model`].
    pub head: bool,
}

impl From<&SentenceFolder> for EmbedOptions {
    fn from(folder: &SentenceFolder) -> Self {
        EmbedOptions {
            pooling: folder.pooling,
            include_prompt: folder.include_prompt,
            steps: folder.steps.clone(),
            dimensions: folder.dimensions,
            normalize: folder.normalize,
            max_tokens: folder.max_tokens,
            lower_case: folder.lower_case,
            prompt: folder.prompt().to_owned(),
            storage: DType::F32,
            classify: false,
            head: false,
        }
    }
}

impl From<Poolings> for EmbedOptions {
    /// Pooled vectors divided by their length, of texts of up to 512 tokens.
    fn from(pooling: Poolings) -> Self {
        EmbedOptions {
            pooling,
            include_prompt: true,
            steps: Arc::default(),
            dimensions: None,
            normalize: true,
            max_tokens: 512,
            lower_case: false,
            prompt: String::new(),
            storage: DType::F32,
            classify: false,
            head: false,
        }
    }
}

impl EmbedOptions {
    /// The length of a vector of a model of `config`, before it is cut.
    fn full_width(&self, config: &Config) -> usize {
        if self.classify {
            return config.labels.len();
        }
        self.steps.iter().fold(self.pooling.width(config.hidden_size), |width, step| match step {
            VectorStep::Dense(dense) => dense.outputs(),
            VectorStep::Normalize => width,
        })
    }

    /// Checks that each step takes as many numbers as there are.
    fn check_widths(&self, hidden: usize) -> Result<()> {
        let mut width = self.pooling.width(hidden);
        for step in self.steps.iter() {
            if let VectorStep::Dense(dense) = step {
                if dense.inputs() != width {
                    let expected = format!("a layer behind the pooling that takes {width} numbers");
                    return Err(Error::config(
                        "pooling",
                        expected,
                        format!("one that takes {}", dense.inputs()),
                    ));
                }
                width = dense.outputs();
            }
        }
        Ok(())
    }

    /// Whether a pooled vector needs nothing but to be divided by its length, which the device then does.
    fn ends_with_pooling(&self) -> bool {
        self.classify || (self.steps.is_empty() && self.dimensions.is_none())
    }

    /// What becomes of a pooled vector.
    fn finished(&self, pooled: &[f32]) -> Vec<f32> {
        let mut vector = pooled.to_vec();
        if self.ends_with_pooling() {
            return vector;
        }
        for step in self.steps.iter() {
            vector = step.apply(&vector);
        }
        vector.truncate(self.dimensions.unwrap_or(vector.len()));
        if self.normalize { normalized(&vector) } else { vector }
    }

    /// How many tokens at the beginning of a text with the prompt are not pooled.
    fn unpooled(&self, tokenizer: &Tokenizer) -> Result<usize> {
        if self.include_prompt || self.prompt.is_empty() {
            return Ok(0);
        }
        let ids = tokenizer.encode_with_specials(&self.cased(&self.prompt))?;
        let ends = ids.last().is_some_and(|&last| last == tokenizer.specials().sep);
        Ok(ids.len() - usize::from(ends))
    }

    /// A text as it is tokenized.
    fn cased(&self, text: &str) -> String {
        if self.lower_case { text.to_lowercase() } else { text.to_owned() }
    }

    /// The tokens of a text: see [`Embedder::tokenize`].
    fn tokenize(&self, tokenizer: &Tokenizer, unpooled: usize, text: &str) -> Result<Tokens> {
        let cut = usize::from(budget::is_cut(text));
        let text = self.cased(&format!("{}{}", self.prompt, budget::bounded(text)));
        let mut ids = tokenizer.encode_with_specials(&text)?;
        let most = self.max_tokens;
        let truncated = ids.len().saturating_sub(most);
        if truncated > 0 {
            let last = ids.last().copied();
            ids.truncate(most - 1);
            ids.extend(last);
        }
        Ok(Tokens { ids, truncated: truncated.max(cut), unpooled })
    }
}

/// The tokens of a text as the model sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `[CLS]`, the text, `[SEP]`.
    pub ids: Vec<u32>,
    /// How many more the text has than the model sees; at least these, where it is longer than [`budget::text_limit`].
    pub truncated: usize,
    /// How many of the first are the prompt's and not pooled.
    pub unpooled: usize,
}

impl Sequence for Tokens {
    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn unpooled(&self) -> usize {
        self.unpooled
    }
}

/// The vectors of some texts.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Embeddings {
    /// C, the length of a vector.
    pub width: usize,
    /// `[texts, C]`, in the order of the texts.
    pub values: Vec<f32>,
    /// How many texts were longer than the model sees.
    pub truncated: usize,
    /// How many tokens the model saw, padding not counted.
    pub tokens: usize,
}

impl Embeddings {
    /// The vectors, text after text.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// The cosine of the angle between two vectors, from -1 to 1; 0 where one of them is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { (dot(a, b) / norms).clamp(-1.0, 1.0) } else { 0.0 }
}

/// A model and its tokenizer, ready to embed texts. It keeps the recordings of the lengths it has met.
///
/// [`Embedder::open`] takes a folder's model; here it is one with random weights.
///
/// ```
/// use wgrad::models::{Pooling, Poolings};
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::infer::{EmbedOptions, Embedder, cosine};
/// # use wgrad::models::{Config, Model};
/// # use wgrad::text::{Tokenizer, TokenizerOptions};
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// # let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// # let tokenizer = Tokenizer::train(["a dog barks", "a cat sleeps"].map(|text| Ok(text.to_owned())), &options)?;
/// # let specials = *tokenizer.specials();
/// # let config = Config { vocab_size: tokenizer.vocab_size(), pad_token_id: specials.pad, cls_token_id: specials.cls,
/// #     sep_token_id: specials.sep, mask_token_id: specials.mask, ..Config::preset("micro")? };
/// pollster::block_on(async {
///     let gpu = Gpu::open(&GpuOptions::default()).await?;
///     let model = Model::new(&gpu, config.encoder(), false)?;
///     model.initialize(0)?;
///     let options = EmbedOptions { max_tokens: 64, ..Poolings::from(Pooling::Mean).into() };
///     let mut embedder = Embedder::new(&gpu, model, tokenizer, options)?;
///     let vectors = embedder.embed(&["a dog barks", "a cat sleeps", "a dog barks"], &mut |_| {}).await?;
///     let rows: Vec<&[f32]> = vectors.rows().collect();
///     assert!(cosine(rows[0], rows[2]) > 0.9999 && cosine(rows[0], rows[1]) < 0.9999);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Embedder {
    session: Session,
    tokenizer: Tokenizer,
    options: EmbedOptions,
    /// How many tokens at the beginning of each text are not pooled.
    unpooled: usize,
}

impl Embedder {
    /// Joins a model and a tokenizer.
    ///
    /// # Errors
    /// [`Error::Config`] when they disagree on the vocabulary, `max_tokens` is more than the model has positions for
    /// or leaves no room for a token, a step or `dimensions` does not fit the vectors, or activations are to be f16 while the model has no f16 copies of its weights.
    pub fn new(gpu: &Gpu, model: Model, tokenizer: Tokenizer, mut options: EmbedOptions) -> Result<Self> {
        if options.classify {
            // What a head says is no vector, and of a text as it is.
            let EmbedOptions { max_tokens, storage, classify, head, .. } = options;
            options =
                EmbedOptions { max_tokens, storage, classify, head, ..Poolings::from(Pooling::Cls).into() };
        }
        let config = &model.config;
        check_vocabulary(config, tokenizer.vocab_size())?;
        let most = config.longest_text();
        if !(3..=most).contains(&options.max_tokens) {
            return Err(Error::config("max-tokens", format!("3 to {most}"), options.max_tokens));
        }
        if options.classify && !config.is_classifier() {
            let found = format!("{:?}", config.architectures);
            return Err(Error::config("architectures", "a model with a head that classifies texts", found));
        }
        let width = options.full_width(config);
        if let Some(found) = options.dimensions.filter(|dimensions| !(1..=width).contains(dimensions)) {
            return Err(Error::config("dimensions", format!("1 to {width}, the length of a vector"), found));
        }
        options.check_widths(config.hidden_size)?;
        let unpooled = options.unpooled(&tokenizer)?;
        let session = Session::new(gpu, Arc::new(model), options.storage);
        Ok(Embedder { session, tokenizer, options, unpooled })
    }

    /// Loads a folder onto a device; a head stays on the disk, unless it is what is asked.
    ///
    /// # Errors
    /// Those of reading the files, of [`Embedder::new`] and of the device.
    pub fn open(gpu: &Gpu, folder: &SentenceFolder, options: EmbedOptions) -> Result<Self> {
        let tokenizer = folder.model.tokenizer()?;
        let config = &folder.model.config;
        let whole = options.classify || options.head;
        let config = if whole { config.clone() } else { config.encoder() };
        let model = load(gpu, config, &folder.model.weights, options.storage)?;
        Self::new(gpu, model, tokenizer, options)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        self.session.gpu()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.session.model()
    }

    /// The model, for a head of it that is asked beside this. It has its head where [`EmbedOptions::head`] or
    /// [`EmbedOptions::classify`] says so.
    pub fn shared_model(&self) -> Arc<Model> {
        self.session.shared_model()
    }

    /// How vectors are made.
    pub fn options(&self) -> &EmbedOptions {
        &self.options
    }

    /// Puts `prompt` in front of each text from now on.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn set_prompt(&mut self, prompt: &str) -> Result<()> {
        prompt.clone_into(&mut self.options.prompt);
        self.unpooled = self.options.unpooled(&self.tokenizer)?;
        Ok(())
    }

    /// The length of a vector.
    pub fn width(&self) -> usize {
        let full = self.options.full_width(&self.model().config);
        self.options.dimensions.unwrap_or(full)
    }

    /// The tokens of a text, cut to what the model sees. An empty text has `[CLS]` and `[SEP]`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        self.options.tokenize(&self.tokenizer, self.unpooled, text)
    }

    /// The vectors of `texts`, in their order. `progress` is told after each batch how many are done.
    ///
    /// # Errors
    /// [`Error::Config`] for a model whose vectors are not finite; those of the tokenizer and the device.
    pub async fn embed(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Embeddings> {
        let found = self.embed_unchecked(texts, progress).await?;
        if !found.values.iter().all(|value| value.is_finite()) {
            return Err(Error::config("the model's weights", "finite vectors", "NaN or infinity"));
        }
        Ok(found)
    }

    /// [`Embedder::embed`], which gives back NaN and infinity too.
    pub(super) async fn embed_unchecked(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Embeddings> {
        let width = self.width();
        let Embedder { session, tokenizer, options, unpooled } = self;
        let mut values = vec![0f32; texts.len() * width];
        let (mut truncated, mut seen) = (0, 0);
        let mut windows = texts.chunks(session.window()).map(|window| {
            let one = |text: &_| options.tokenize(tokenizer, *unpooled, AsRef::<str>::as_ref(text));
            let window = window.par_iter().map(one).collect::<Result<Vec<Tokens>>>()?;
            truncated += window.iter().filter(|tokens| tokens.truncated > 0).count();
            seen += window.iter().map(|tokens| tokens.ids.len()).sum::<usize>();
            Ok(window)
        });
        let mut keep = |text: usize, pooled: &[f32]| {
            values[text * width..][..width].copy_from_slice(&options.finished(pooled));
            Ok(())
        };
        let normalize = options.normalize && options.ends_with_pooling();
        let readout = match options.classify {
            true => Readout::Head,
            false => Readout::Vector { pooling: options.pooling, normalize },
        };
        session.each(readout, &mut windows, &mut keep, progress).await?;
        Ok(Embeddings { width, values, truncated, tokens: seen })
    }
}
