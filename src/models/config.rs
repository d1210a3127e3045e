//! A model's shape, as written in `config.json`.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::pooling::Pooling;
use super::rotary::Rotary;
use crate::autograd::Graph;
use crate::error::quoted;
use crate::nn::Init;
use crate::ops::activation::{gelu_tanh, relu, silu};
use crate::ops::gated::Gate;
use crate::ops::gelu::gelu;
use crate::ops::tanh::tanh;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// What stands on an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing, or a pooler.
    None,
    /// A masked-language-model head.
    Masked,
    /// A head that gives classes or a number of a text.
    Classifier,
    /// A head that gives a class of each token.
    TokenClassifier,
}

/// The `model_type`: the name of a family of encoders, which fixes the arithmetic and the parameters' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModelType(&'static str);

impl ModelType {
    /// The family that is called `name`, or was.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none.
    pub fn new(name: &str) -> Result<Self> {
        let mut families = super::families().into_iter();
        let family =
            families.find(|family| family.model_type() == name || family.other_model_types().contains(&name));
        family.map(|family| ModelType(family.model_type())).ok_or_else(|| {
            let known = super::families().into_iter().map(|family| family.model_type());
            let known = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
            Error::config("model_type", format!("a family of encoders: {known}"), quoted(name))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for ModelType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelType::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The function between the two halves of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact GELU, `x·Φ(x)` (Hendrycks and Gimpel 2016).
    Gelu,
    /// GELU with a hyperbolic tangent for Φ.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// `max(x, 0)`
    Relu,
    /// `x / (1 + exp(-x))`
    #[serde(alias = "swish")]
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Of each element of `x`.
    ///
    /// # Errors
    /// As [`Graph::output`].
    pub(super) fn forward(self, graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Gelu => gelu(graph, x),
            Activation::GeluNew => gelu_tanh(graph, x),
            Activation::Relu => relu(graph, x),
            Activation::Silu => silu(graph, x),
            Activation::Tanh => tanh(graph, x),
        }
    }

    /// As that of a gate; none gates with a hyperbolic tangent.
    pub(super) fn gate(self) -> Option<Gate> {
        match self {
            Activation::Gelu => Some(Gate::Gelu),
            Activation::GeluNew => Some(Gate::GeluTanh),
            Activation::Relu => Some(Gate::Relu),
            Activation::Silu => Some(Gate::Silu),
            Activation::Tanh => None,
        }
    }
}

/// How a token knows where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// A learned vector per clamped distance, added to the keys in every layer (Shaw et al. 2018). Works at any
    /// length.
    RelativeBucket,
    /// A learned vector per position, added to the token embedding (Devlin et al. 2018).
    Absolute,
    /// Queries and keys turned by an angle that grows with the position (Su et al. 2021): see [`Rotary`].
    Rotary,
}

/// Where a block normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPosition {
    /// Before attention and before the feed-forward block (Xiong et al. 2020).
    Pre,
    /// After each of them and its residual connection (Devlin et al. 2018).
    Post,
}

/// Where the weights of an untied masked-language-model head start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadInit {
    /// Uniform in ±1/sqrt(C).
    #[default]
    Uniform,
    /// Normal with `initializer_range`, as every other matrix.
    Normal,
}

/// What a head on the encoder gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// One of the classes.
    SingleLabelClassification,
    /// Any of the classes, each alone.
    MultiLabelClassification,
    /// A number.
    Regression,
}

/// The shape of a model: everything needed to name its parameters and to run it.
///
/// It is stored as a Hugging Face `config.json`; keys of other tools are ignored. See [`Config::from_json`] and
/// [`Config::to_json`]. A `Config` built by hand is checked with [`Config::validate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// One entry, a class of the family: what stands on the encoder.
    pub architectures: Vec<String>,
    /// The family, which fixes the parameters' names.
    pub model_type: ModelType,
    /// V, the number of tokens.
    pub vocab_size: usize,
    /// C, the width of a token's vector.
    pub hidden_size: usize,
    /// The width of the embeddings, where it is another than C and a linear layer leads from one to the other (Clark et
    /// al. 2020).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// The number of blocks.
    pub num_hidden_layers: usize,
    /// H, the heads of each attention; D = C / H.
    pub num_attention_heads: usize,
    /// F, the inner width of the feed-forward block.
    pub intermediate_size: usize,
    /// The feed-forward block's activation.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f64,
    /// Standard deviation of the initial matrices.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// How positions are told apart.
    pub position_embedding_type: PositionEmbedding,
    /// Rows of each layer's distance table: distances are clamped to `-n/2 ..= n/2 - 1`.
    #[serde(default = "default_buckets")]
    pub relative_attention_num_buckets: usize,
    /// Absolute and rotary positions: the longest text. Relative: the context of pretraining, no limit. Families whose table begins
    /// with rows for no position count these in their `config.json`: see [`super::Family::counts_from_padding`].
    pub max_position_embeddings: usize,
    /// How queries and keys are turned, where positions are rotary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Where a block normalises.
    pub norm_position: NormPosition,
    /// Whether linear layers have a bias: those of `bert` do.
    #[serde(default)]
    pub use_bias: bool,
    /// Rows of the token-type table: which of two texts a token is of. 0 for `wgrad`, which has none.
    #[serde(default)]
    pub type_vocab_size: usize,
    /// Whether the masked-language-model head is the embedding table itself.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Whether attention leaves out padding. The original recipe attends to it.
    #[serde(default = "default_mask_padding")]
    pub mask_padding: bool,
    /// Where an untied head starts.
    #[serde(default)]
    pub head_init: HeadInit,
    /// Whether there is a pooler, `tanh(dense(x))` on the first token or what a classifier reads; of `wgrad` only
    /// classifiers may have one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pooler: bool,
    /// What a classifier's head reads of a text: its first token, or of `wgrad` perhaps the mean over its tokens.
    #[serde(default, skip_serializing_if = "is_cls")]
    pub classifier_pooling: Pooling,
    /// The share of values that dropout zeroes in hidden states while finetuning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hidden_dropout_prob: f64,
    /// The share of attention probabilities that dropout zeroes while finetuning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attention_probs_dropout_prob: f64,
    /// The names of the classes that the head tells apart; one where it gives a number.
    #[serde(default, rename = "id2label", with = "super::labels", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What the head gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<ProblemType>,
    /// The task the model was finetuned on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetuning_task: Option<String>,
    /// The token that fills short sequences.
    pub pad_token_id: u32,
    /// The token a sequence begins with.
    pub cls_token_id: u32,
    /// The token a text ends with.
    pub sep_token_id: u32,
    /// The token that hides another.
    pub mask_token_id: u32,
}

pub(super) fn default_initializer_range() -> f64 {
    0.02
}

pub(super) fn default_buckets() -> usize {
    32
}

fn default_mask_padding() -> bool {
    true
}

fn is_cls(pooling: &Pooling) -> bool {
    *pooling == Pooling::Cls
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// No text has more tokens.
pub(super) const MAX_POSITIONS: usize = 1 << 16;

impl Config {
    /// The width of the embeddings.
    pub fn embedding_width(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// D, the width of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The runs of columns of heads that are padded on a device, and to which length; none where D is a multiple of 4. Rotary
    /// positions turn a column of a head's first half with one of the second, so there each half is a run.
    pub(super) fn padded_heads(&self) -> Option<(usize, usize)> {
        let size = self.head_size();
        let runs = if self.rotary.is_some() { 2 } else { 1 };
        let padded = size.next_multiple_of(4);
        (padded > size).then(|| (size / runs, padded / runs))
    }

    /// Rows of a layer's table of distances; 0 where positions are absolute.
    pub fn distances(&self) -> usize {
        match self.position_embedding_type {
            PositionEmbedding::Absolute | PositionEmbedding::Rotary => 0,
            PositionEmbedding::RelativeBucket => self.relative_attention_num_buckets,
        }
    }

    /// How the weight of an untied masked-language-model head starts.
    pub(super) fn head_init(&self) -> Init {
        match self.head_init {
            HeadInit::Uniform => Init::Uniform(1.0 / (self.hidden_size as f64).sqrt()),
            HeadInit::Normal => Init::Normal(self.initializer_range),
        }
    }

    /// The longest text in tokens. Relative positions set no bound, so there it is what memory allows for.
    pub fn longest_text(&self) -> usize {
        if self.is_bounded() { self.max_position_embeddings } else { MAX_POSITIONS }
    }

    /// Whether `max_position_embeddings` bounds the length of texts: by a table of absolute positions, or because rotary ones
    /// beyond it were never trained.
    pub fn is_bounded(&self) -> bool {
        self.position_embedding_type != PositionEmbedding::RelativeBucket
    }
}
