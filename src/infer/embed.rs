//! Texts to vectors: encoder, pooling over the tokens, L2 normalisation.

use half::f16;
use serde::Serialize;

use super::buckets::{Bucket, buckets};
use super::load::load;
use super::shapes::Shapes;
use crate::autograd::Graph;
use crate::bert::{InputSlots, Model, Pooling, encode};
use crate::checkpoint::SentenceFolder;
use crate::gpu::{AdapterKind, Buffer, Gpu, Recording};
use crate::ops::normalize::normalize;
use crate::tensor::DType;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// How vectors are made of hidden states.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedOptions {
    /// How tokens become a text.
    pub pooling: Pooling,
    /// Whether vectors are divided by their length.
    pub normalize: bool,
    /// How many tokens of a text are seen at most, `[CLS]` and `[SEP]` counted.
    pub max_tokens: usize,
    /// Whether texts are lower-cased before they are tokenized.
    pub lower_case: bool,
    /// What is put in front of each text.
    pub prompt: String,
    /// How activations are stored while a text is read: f32, or f16 on devices that have it.
    pub storage: DType,
}

impl From<&SentenceFolder> for EmbedOptions {
    fn from(folder: &SentenceFolder) -> Self {
        EmbedOptions {
            pooling: folder.pooling,
            normalize: folder.normalize,
            max_tokens: folder.max_tokens,
            lower_case: folder.lower_case,
            prompt: folder.prompt.clone(),
            storage: DType::F32,
        }
    }
}

/// The tokens of a text as the model sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// `[CLS]`, the text, `[SEP]`.
    pub ids: Vec<u32>,
    /// How many more the text has than the model sees; at least these, for one of over a million bytes.
    pub truncated: usize,
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

/// A longer text is cut before it is tokenized, which bounds memory; no model sees as many tokens.
const MAX_BYTES: usize = 1 << 20;

/// A model and its tokenizer, ready to embed texts. It keeps the recordings of the lengths it has met.
pub struct Embedder {
    gpu: Gpu,
    model: Model,
    tokenizer: Tokenizer,
    options: EmbedOptions,
    recorded: Shapes<Recorded>,
}

/// B texts of T tokens.
struct Recorded {
    slots: InputSlots,
    /// What is pooled: see [`Pooling::slots`].
    pooled: Buffer,
    /// `[B, C]`
    vectors: Buffer,
    recording: Recording,
}

impl Embedder {
    /// Joins a model and a tokenizer.
    ///
    /// # Errors
    /// [`Error::Config`] when they disagree on the vocabulary, `max_tokens` is more than the model has positions for
    /// or leaves no room for a token, or activations are to be f16 while the model has no f16 copies of its weights.
    pub fn new(gpu: &Gpu, model: Model, tokenizer: Tokenizer, options: EmbedOptions) -> Result<Self> {
        let config = &model.config;
        if tokenizer.vocab_size() != config.vocab_size {
            let expected = format!("{}, as in tokenizer.json", tokenizer.vocab_size());
            return Err(Error::config("vocab_size", expected, config.vocab_size));
        }
        let most = config.longest_text();
        if !(3..=most).contains(&options.max_tokens) {
            return Err(Error::config("max-tokens", format!("3 to {most}"), options.max_tokens));
        }
        Ok(Embedder { gpu: gpu.clone(), model, tokenizer, options, recorded: Shapes::new() })
    }

    /// Loads a folder onto a device; a head that guesses stays on the disk.
    ///
    /// # Errors
    /// Those of reading the files, of [`Embedder::new`] and of the device.
    pub fn open(gpu: &Gpu, folder: &SentenceFolder, options: EmbedOptions) -> Result<Self> {
        let tokenizer = Tokenizer::from_named(folder.model.tokenizer_json.clone(), &folder.model.tokenizer)?;
        let model = load(gpu, folder.model.config.encoder(), &folder.model.weights, options.storage)?;
        Self::new(gpu, model, tokenizer, options)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How vectors are made.
    pub fn options(&self) -> &EmbedOptions {
        &self.options
    }

    /// The tokens of a text, cut to what the model sees. An empty text has `[CLS]` and `[SEP]`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn tokenize(&self, text: &str) -> Result<Tokens> {
        let end = (0..=text.len().min(MAX_BYTES)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let mut text = format!("{}{}", self.options.prompt, &text[..end]);
        if self.options.lower_case {
            text = text.to_lowercase();
        }
        let mut ids = self.tokenizer.encode_with_specials(&text)?;
        let most = self.options.max_tokens;
        let truncated = ids.len().saturating_sub(most);
        if truncated > 0 {
            let last = ids.last().copied();
            ids.truncate(most - 1);
            ids.extend(last);
        }
        Ok(Tokens { ids, truncated })
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
        let tokens = texts.iter().map(|text| self.tokenize(text.as_ref())).collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
        let width = self.model.config.hidden_size;
        let mut values = vec![0f32; texts.len() * width];
        let mut done = 0;
        for bucket in buckets(&lengths, self.options.max_tokens, |tokens| self.capacity(tokens)) {
            let ids: Vec<&[u32]> = bucket.texts.iter().map(|&text| tokens[text].ids.as_slice()).collect();
            let vectors = self.compute(&bucket, &ids).await?;
            for (&text, vector) in bucket.texts.iter().zip(vectors.chunks_exact(width)) {
                values[text * width..][..width].copy_from_slice(vector);
            }
            done += bucket.texts.len();
            progress(done);
        }
        let truncated = tokens.iter().filter(|tokens| tokens.truncated > 0).count();
        Ok(Embeddings { width, values, truncated, tokens: lengths.iter().sum() })
    }

    /// How many sequences of `tokens` are computed at once: as many as keep the device busy, within its bindings.
    fn capacity(&self, tokens: usize) -> usize {
        let config = &self.model.config;
        let rows = match self.gpu.capabilities().kind {
            AdapterKind::Software => 1024,
            AdapterKind::Plain => 8192,
        };
        let scores = config.num_attention_heads * tokens * tokens.next_multiple_of(4);
        let widest = tokens * config.intermediate_size.max(3 * config.hidden_size);
        let bindable = self.gpu.capabilities().max_binding as usize / 4 / scores.max(widest);
        (rows / tokens).min(bindable).max(1)
    }

    /// The vectors of one bucket, `[B, C]`.
    async fn compute(&mut self, bucket: &Bucket, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let (sequences, tokens) = (texts.len(), bucket.tokens);
        let config = &self.model.config;
        let mut ids = vec![config.pad_token_id; sequences * tokens];
        let mut bounds = vec![[0u32, 0]; sequences * tokens];
        for (sequence, text) in texts.iter().enumerate() {
            let start = sequence * tokens;
            ids[start..start + text.len()].copy_from_slice(text);
            bounds[start..start + text.len()].fill([0, text.len() as u32]);
        }
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let pooled = self.options.pooling.slots(&lengths, tokens);
        let (gpu, model, options) = (&self.gpu, &self.model, &self.options);
        let recorded =
            self.recorded.get((sequences, tokens), || record(gpu, model, options, sequences, tokens))?;
        recorded.slots.write(&self.gpu, &self.model.config, &ids, &bounds)?;
        self.gpu.write(&recorded.pooled, 0, &pooled);
        recorded.recording.replay()?;
        let elements = sequences * self.model.config.hidden_size;
        if self.options.storage == DType::F16 {
            // Widths are multiples of 4, so that pairs end where vectors do.
            let halves: Vec<f16> = self.gpu.read(&recorded.vectors, 0, elements).await?;
            return Ok(halves.into_iter().map(f16::to_f32).collect());
        }
        self.gpu.read(&recorded.vectors, 0, elements).await
    }
}

/// Records B texts of T tokens, and says how many bytes the recording takes on the device.
fn record(
    gpu: &Gpu,
    model: &Model,
    options: &EmbedOptions,
    sequences: usize,
    tokens: usize,
) -> Result<(Recorded, u64)> {
    let slots = InputSlots::of(gpu, model, options.storage, sequences, tokens)?;
    let mut graph = Graph::inference(gpu).with_storage(options.storage);
    let config = &model.config;
    let inputs = slots.inputs(&mut graph, config)?;
    let hidden = encode(&mut graph, config, &model.parameters, &inputs)?;
    let pooled = gpu.buffer("pooled rows", sequences as u64 * 8)?;
    let rows = graph.input(&pooled, options.pooling.slots_shape(sequences).as_slice(), DType::U32)?;
    let mut vectors = options.pooling.record(&mut graph, &hidden.last, &rows)?;
    if options.normalize {
        vectors = normalize(&mut graph, &vectors)?;
    }
    let kept = gpu.buffer("vectors", vectors.shape().elements() as u64 * vectors.dtype().bytes())?;
    let to = graph.recorder().bind(&(&kept).into());
    graph.recorder().copy(vectors.view(), to);
    let recording = graph.finish("embedding")?;
    let bytes = recording.transient_bytes();
    Ok((Recorded { slots, pooled, vectors: kept, recording }, bytes))
}
