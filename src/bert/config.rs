//! A model's shape, as written in `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parameters::ParameterSpec;
use crate::error::quoted;
use crate::{Error, Result};

/// The `architectures` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// The encoder with a masked-language-model head.
    WgradForMaskedLM,
}

/// The `model_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// This crate's encoder: pre-LN, no biases, no token types.
    Wgrad,
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

/// The shape of a model: everything needed to name its parameters and to run it.
///
/// It is stored as a Hugging Face `config.json`; keys of other tools are ignored. A `Config` built by hand is
/// checked with [`Config::validate`].
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
    /// Whether linear layers have a bias; this family has none.
    #[serde(default)]
    pub use_bias: bool,
    /// Rows of the token-type table; this family has none.
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

/// The names [`Config::preset`] knows.
pub const PRESETS: [&str; 4] = ["notebook", "small", "tiny", "micro"];

// Bounds that keep every product of sizes inside 32-bit shader indices and 64-bit byte counts.
const MAX_VOCABULARY: usize = 1 << 20;
const MAX_WIDTH: usize = 1 << 13;
const MAX_INNER: usize = 1 << 16;
const MAX_LAYERS: usize = 256;
const MAX_POSITIONS: usize = 1 << 16;
const MAX_BUCKETS: usize = 1 << 8;
const MAX_TENSOR: usize = 1 << 30;

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

    /// Reads and checks the bytes of a `config.json`; `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::File`], naming the key at fault.
    pub fn from_json(bytes: &[u8], path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let config: Config = serde_json::from_slice(bytes).map_err(|error| {
            let place = culprit(bytes).map(|key| format!(" in `{key}`")).unwrap_or_default();
            Error::file(path, "a wgrad config.json", format!("{error}{place}"))
        })?;
        config.validate().map_err(|error| match error {
            Error::Config { field, expected, found } => {
                Error::file(path, format!("`{field}` to be {expected}"), found)
            }
            other => other,
        })?;
        Ok(config)
    }

    /// The text of `config.json`, indented, with a final newline.
    pub fn to_json(&self) -> String {
        // A struct of numbers, booleans and unit variants always serialises.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Checks that the sizes fit each other, the kernels' alignment and the arithmetic done on them.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first field at fault.
    pub fn validate(&self) -> Result<()> {
        fn within(field: &str, value: usize, low: usize, high: usize) -> Result<()> {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(field, format!("a number from {low} to {high}"), value))
        }
        fn positive(field: &str, value: f64) -> Result<()> {
            if value > 0.0 && value < 1.0 {
                return Ok(());
            }
            Err(Error::config(field, "a number above 0 and below 1", value))
        }
        fn multiple(field: &str, value: usize, of: usize) -> Result<()> {
            if value.is_multiple_of(of) {
                return Ok(());
            }
            Err(Error::config(field, format!("a multiple of {of}"), value))
        }

        if self.architectures.len() != 1 {
            return Err(Error::config("architectures", "one entry", self.architectures.len()));
        }
        within("vocab_size", self.vocab_size, 5, MAX_VOCABULARY)?;
        within("hidden_size", self.hidden_size, 8, MAX_WIDTH)?;
        within("num_hidden_layers", self.num_hidden_layers, 1, MAX_LAYERS)?;
        within("num_attention_heads", self.num_attention_heads, 1, self.hidden_size)?;
        within("intermediate_size", self.intermediate_size, 8, MAX_INNER)?;
        within("max_position_embeddings", self.max_position_embeddings, 1, MAX_POSITIONS)?;
        within("relative_attention_num_buckets", self.relative_attention_num_buckets, 2, MAX_BUCKETS)?;
        multiple("relative_attention_num_buckets", self.relative_attention_num_buckets, 2)?;
        multiple("hidden_size", self.hidden_size, 8)?;
        multiple("intermediate_size", self.intermediate_size, 8)?;
        let heads = self.num_attention_heads;
        if !self.hidden_size.is_multiple_of(heads) {
            let expected = format!("a multiple of `num_attention_heads` ({heads})");
            return Err(Error::config("hidden_size", expected, self.hidden_size));
        }
        if !self.head_size().is_multiple_of(4) {
            let expected = "a divisor of `hidden_size` that leaves heads of a multiple of 4";
            let found = format!("{heads}, which gives heads of {}", self.head_size());
            return Err(Error::config("num_attention_heads", expected, found));
        }
        positive("layer_norm_eps", self.layer_norm_eps)?;
        positive("initializer_range", self.initializer_range)?;
        if self.use_bias {
            return Err(Error::config("use_bias", "false", true));
        }
        if self.type_vocab_size != 0 {
            return Err(Error::config("type_vocab_size", "0", self.type_vocab_size));
        }
        let specials = [
            ("pad_token_id", self.pad_token_id),
            ("cls_token_id", self.cls_token_id),
            ("sep_token_id", self.sep_token_id),
            ("mask_token_id", self.mask_token_id),
        ];
        for (i, &(field, id)) in specials.iter().enumerate() {
            if id as usize >= self.vocab_size {
                let expected = format!("below `vocab_size` ({})", self.vocab_size);
                return Err(Error::config(field, expected, id));
            }
            if let Some((other, _)) = specials[..i].iter().find(|(_, earlier)| *earlier == id) {
                return Err(Error::config(field, format!("different from `{other}`"), id));
            }
        }
        let largest = self.parameters().into_iter().max_by_key(ParameterSpec::elements);
        if let Some(spec) = largest.filter(|spec| spec.elements() > MAX_TENSOR) {
            let expected = format!("sizes that keep every tensor within {MAX_TENSOR} elements");
            let found = format!("{} for `{}`", spec.elements(), spec.name);
            return Err(Error::config("vocab_size and hidden_size", expected, found));
        }
        Ok(())
    }
}

/// The key whose value makes these bytes unreadable: the one that also spoils an otherwise good configuration.
fn culprit(bytes: &[u8]) -> Option<String> {
    let given: serde_json::Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let good = serde_json::to_value(Config::preset("micro").ok()?).ok()?;
    given.into_iter().find_map(|(key, value)| {
        let mut trial = good.clone();
        *trial.get_mut(&key)? = value;
        serde_json::from_value::<Config>(trial).is_err().then_some(key)
    })
}
