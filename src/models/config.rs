//! A model's shape, as written in `config.json`.

use serde::{Deserialize, Serialize};

use super::pooling::Pooling;
use crate::error::quoted;
use crate::{Error, Result};

/// The `architectures` entry: a family, and what stands on its encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// The encoder with a masked-language-model head.
    WgradForMaskedLM,
    /// The encoder alone.
    WgradModel,
    /// The encoder with a head on its first token or the mean over all: classes, or a number.
    WgradForSequenceClassification,
    /// Hugging Face's encoder, mostly with a pooler.
    BertModel,
    /// Hugging Face's encoder with a masked-language-model head.
    BertForMaskedLM,
    /// The same with a pooler; its head that tells whether one sentence follows another is left out.
    BertForPreTraining,
    /// Hugging Face's encoder with a head on its first token: classes, or a number.
    BertForSequenceClassification,
}

impl Architecture {
    /// The `model_type` it belongs to.
    pub fn family(self) -> ModelType {
        match self {
            Architecture::WgradForMaskedLM
            | Architecture::WgradModel
            | Architecture::WgradForSequenceClassification => ModelType::Wgrad,
            Architecture::BertModel
            | Architecture::BertForMaskedLM
            | Architecture::BertForPreTraining
            | Architecture::BertForSequenceClassification => ModelType::Bert,
        }
    }

    /// Whether there is a masked-language-model head.
    pub fn guesses(self) -> bool {
        !matches!(self, Architecture::WgradModel | Architecture::BertModel) && !self.classifies()
    }

    /// Whether there is a head that gives classes or a number.
    pub fn classifies(self) -> bool {
        matches!(
            self,
            Architecture::WgradForSequenceClassification | Architecture::BertForSequenceClassification
        )
    }
}

/// The `model_type`: a family of encoders, which fixes the parameters' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// This crate's encoder: pre-LN, no biases, no token types.
    Wgrad,
    /// Hugging Face's: post-LN, biases, absolute positions and token types (Devlin et al. 2018).
    Bert,
}

/// The function between the two halves of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact GELU, `x·Φ(x)` (Hendrycks and Gimpel 2016).
    Gelu,
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
    /// A number.
    Regression,
}

/// The shape of a model: everything needed to name its parameters and to run it.
///
/// It is stored as a Hugging Face `config.json`; keys of other tools are ignored. See [`Config::from_json`] and
/// [`Config::to_json`]. A `Config` built by hand is checked with [`Config::validate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// One entry: what the weights can do.
    pub architectures: Vec<Architecture>,
    /// The family, which fixes the parameters' names.
    pub model_type: ModelType,
    /// V, the number of tokens.
    pub vocab_size: usize,
    /// C, the width of a token's vector.
    pub hidden_size: usize,
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
    /// Absolute positions: the rows of the table, the longest text. Relative: the context of pretraining, no limit.
    pub max_position_embeddings: usize,
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

fn default_initializer_range() -> f64 {
    0.02
}

fn default_buckets() -> usize {
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

/// The names [`Config::preset`] knows.
pub const PRESETS: [&str; 4] = ["notebook", "small", "tiny", "micro"];

impl Config {
    /// A named shape. All have relative positions, an untied head and four-fold inner width.
    ///
    /// | name | V | C | layers | H | F | context | parameters |
    /// |---|---|---|---|---|---|---|---|
    /// | `notebook` | 32768 | 768 | 12 | 12 | 3072 | 128 | 135,330,816 |
    /// | `small` | 8192 | 256 | 12 | 4 | 1024 | 128 | 13,669,376 |
    /// | `tiny` | 8192 | 256 | 4 | 4 | 1024 | 128 | 7,353,344 |
    /// | `micro` | 4096 | 128 | 2 | 2 | 512 | 64 | 1,447,424 |
    ///
    /// `small` has ELECTRA-small's encoder and its 14M parameters; tied, a vocabulary of 16384 has the same total.
    /// `micro` starts its head from a normal distribution, as its published reference loss does. Special tokens are
    /// 0 to 3 (padding, first, separator, mask) until a tokenizer says otherwise.
    ///
    /// ```
    /// use wgrad::models::Config;
    ///
    /// let micro = Config::preset("micro")?;
    /// assert_eq!((micro.hidden_size, micro.parameter_count()), (128, 1_447_424));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] when no preset has the name.
    pub fn preset(name: &str) -> Result<Config> {
        let (vocab_size, hidden_size, num_hidden_layers, num_attention_heads, context, head_init) = match name
        {
            "notebook" => (32768, 768, 12, 12, 128, HeadInit::Uniform),
            "small" => (8192, 256, 12, 4, 128, HeadInit::Uniform),
            "tiny" => (8192, 256, 4, 4, 128, HeadInit::Uniform),
            "micro" => (4096, 128, 2, 2, 64, HeadInit::Normal),
            _ => {
                let known = PRESETS.map(|p| format!("`{p}`")).join(", ");
                return Err(Error::config("preset", format!("one of {known}"), quoted(name)));
            }
        };
        Ok(Config {
            architectures: vec![Architecture::WgradForMaskedLM],
            model_type: ModelType::Wgrad,
            vocab_size,
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size: 4 * hidden_size,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            initializer_range: default_initializer_range(),
            position_embedding_type: PositionEmbedding::RelativeBucket,
            relative_attention_num_buckets: default_buckets(),
            max_position_embeddings: context,
            norm_position: NormPosition::Pre,
            use_bias: false,
            type_vocab_size: 0,
            tie_word_embeddings: false,
            mask_padding: true,
            head_init,
            pooler: false,
            classifier_pooling: Pooling::Cls,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            labels: Vec::new(),
            problem_type: None,
            finetuning_task: None,
            pad_token_id: 0,
            cls_token_id: 1,
            sep_token_id: 2,
            mask_token_id: 3,
        })
    }

    /// D, the width of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The longest text in tokens. Relative positions set no bound, so there it is what memory allows for.
    pub fn longest_text(&self) -> usize {
        match self.position_embedding_type {
            PositionEmbedding::Absolute => self.max_position_embeddings,
            PositionEmbedding::RelativeBucket => MAX_POSITIONS,
        }
    }

    /// The same encoder with nothing on it.
    pub fn encoder(&self) -> Config {
        let alone = match self.model_type {
            ModelType::Wgrad => Architecture::WgradModel,
            ModelType::Bert => Architecture::BertModel,
        };
        Config { architectures: vec![alone], pooler: false, classifier_pooling: Pooling::Cls, ..self.clone() }
    }

    /// What stands on the encoder; a valid configuration names one architecture.
    pub fn architecture(&self) -> Option<Architecture> {
        self.architectures.first().copied()
    }

    /// Whether there is a masked-language-model head.
    pub fn guesses(&self) -> bool {
        self.architecture().is_some_and(Architecture::guesses)
    }

    /// Whether there is a head that gives classes or a number.
    pub fn classifies(&self) -> bool {
        self.architecture().is_some_and(Architecture::classifies)
    }

    /// The same encoder with a head: one of `labels`, or a number where `problem` says so. It reads what `pooling`
    /// makes of a text's tokens; with a `pooler` it is dense, tanh, linear, else one linear layer. Those of `bert`
    /// always read the first token and have a pooler.
    pub fn classifier(
        &self,
        labels: Vec<String>,
        problem: ProblemType,
        pooling: Pooling,
        pooler: bool,
    ) -> Config {
        let bert = self.model_type == ModelType::Bert;
        let architecture = match self.model_type {
            ModelType::Wgrad => Architecture::WgradForSequenceClassification,
            ModelType::Bert => Architecture::BertForSequenceClassification,
        };
        Config {
            architectures: vec![architecture],
            pooler: pooler || bert,
            classifier_pooling: if bert { Pooling::Cls } else { pooling },
            labels,
            problem_type: Some(problem),
            ..self.clone()
        }
    }
}
