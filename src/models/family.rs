//! What a family of encoders says of itself. Each is one file beside this one; everything else asks through this trait.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::config::{Config, Head};
use super::encoder::Encoder;
use super::heads::Heads;
use super::pooling::Pooling;
use crate::Result;
use crate::nn::Scope;

/// Operations of one multiplication and addition, in the forward pass and in the two products of its gradients.
pub(super) const TRAINED: f64 = 3.0 * 2.0;

/// A family of encoders: its arithmetic, and its names in the folders that other tools read.
pub trait Family: Sync {
    /// Its `model_type` in `config.json`.
    fn model_type(&self) -> &'static str;

    /// The classes in `architectures`, each with the head that it stands for; of several with one head the first is the
    /// one that is written.
    fn architectures(&self) -> &'static [(&'static str, Head)];

    /// Declares the encoder.
    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder>;

    /// Declares what stands on the encoder.
    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads;

    /// Checks what must hold in this family beside what holds in all.
    ///
    /// # Errors
    /// [`crate::Error::Config`], naming the first field at fault.
    fn validate(&self, config: &Config) -> Result<()>;

    /// Keys of its `config.json` with the names that [`Config`] has for them, where they differ.
    fn renamed_keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether its table of absolute positions begins with rows for no position, up to that of the padding token's id;
    /// `max_position_embeddings` in its `config.json` counts them.
    fn counts_from_padding(&self) -> bool {
        false
    }

    /// Other names by which its `config.json` may call it; it is saved by [`Family::model_type`].
    fn other_model_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// Puts what its `config.json` says in a form of its own, once keys are renamed, under the keys of [`Config`], and checks
    /// what else it says of the arithmetic.
    ///
    /// # Errors
    /// [`crate::Error::Config`], naming the key at fault.
    fn read_keys(&self, keys: &mut Map<String, Value>) -> Result<()> {
        let _ = keys;
        Ok(())
    }

    /// The keys that say what [`Family::read_keys`] reads, of a model.
    fn written_keys(&self, config: &Config) -> Map<String, Value> {
        let _ = config;
        Map::new()
    }

    /// Values that its `config.json` may leave out.
    fn defaults(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Values that all its models have in common, and that its `config.json` therefore does not say.
    fn constants(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Keys that its `config.json` has beside those of [`Config`], for other tools.
    fn further_keys(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Code that `transformers` needs to open its models, as file name and text; none for what it knows itself.
    fn python(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// What the names of the encoder's parameters begin with, without a dot: the name by which Hugging Face's models with
    /// a head hold their encoder. Files of the encoder alone leave it out.
    fn base(&self) -> &'static str;

    /// The parameter that the tensor `name` of a file with the tensors `all` is; none for one that is left out, as it
    /// holds nothing to learn or is a copy. Names of the encoder begin with [`Family::base`], whatever they did in the
    /// file.
    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        let _ = (config, all);
        Some(name.to_owned())
    }

    /// Whether a file of these parameters holds a pooler, where `config.json` does not say so.
    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        let _ = parameters;
        config.pooler
    }

    /// What the head of a new classifier reads, and whether it has a pooler, where these are wished for.
    fn classifier(&self, pooling: Pooling, pooler: bool) -> (Pooling, bool) {
        let _ = (pooling, pooler);
        (Pooling::Cls, true)
    }

    /// Whether the head of a classifier of tokens has a dense layer before its last.
    fn transforms_tokens(&self) -> bool {
        false
    }

    /// Whether finetuning joins pairs as `[CLS] a [SEP] b`, without a separator at the end.
    fn joins_pairs_openly(&self) -> bool {
        false
    }

    /// The widest rows that a feed-forward block computes: a gated one has both halves side by side.
    fn feed_forward_width(&self, config: &Config) -> usize {
        config.intermediate_size
    }

    /// The names of its presets.
    fn presets(&self) -> &'static [&'static str] {
        &[]
    }

    /// The preset `name`.
    fn preset(&self, name: &str) -> Option<Config> {
        let _ = name;
        None
    }

    /// Operations per token of the encoder, forward and backward, in sequences of `tokens` (T) that attend to all of
    /// themselves:
    ///
    /// `6 · layers · (4C² + 2CF + 2TC + buckets·C)`
    ///
    /// Four C×C projections, two of the feed-forward block, the logits and the weighted sum over T keys, and the
    /// product with the table of distances. What is not a matrix product (norms, softmax, GELU, the optimizer) is left
    /// out, as is usual.
    fn body_flops(&self, config: &Config, tokens: usize) -> f64 {
        let (c, f, t) = (config.hidden_size as f64, config.intermediate_size as f64, tokens as f64);
        let buckets = config.distances() as f64;
        TRAINED * config.num_hidden_layers as f64 * (4.0 * c * c + 2.0 * c * f + 2.0 * t * c + buckets * c)
    }

    /// Operations per masked token of the masked-language-model head, forward and backward: `6·V·C` for the decoder
    /// and `6·C²` for the transform before it.
    fn head_flops(&self, config: &Config) -> f64 {
        let (v, c) = (config.vocab_size as f64, config.hidden_size as f64);
        TRAINED * (v * c + c * c)
    }
}

/// [`Family::body_flops`] where feed-forward blocks are gated, and have three matrices:
/// `6 · layers · (4C² + 3CF + 2TC)`.
pub(super) fn gated_flops(config: &Config, tokens: usize) -> f64 {
    let (c, f, t) = (config.hidden_size as f64, config.intermediate_size as f64, tokens as f64);
    TRAINED * config.num_hidden_layers as f64 * (4.0 * c * c + 3.0 * c * f + 2.0 * t * c)
}
