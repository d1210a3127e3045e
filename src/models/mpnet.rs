//! `mpnet` (Song et al. 2020): BERT's layers under names of their own, no token types, positions counted from padding, and
//! biases for distances that all layers share.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::bert::{post_norm, post_norm_constants, post_norm_defaults};
use super::config::{Activation, Config, Head};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PostNorm, Stack};
use super::family::Family;
use super::heads::{Heads, MaskedHead, TextHeadNames};
use super::position_bias::PositionBias;
use super::roberta;
use crate::Result;
use crate::nn::{Init, LayerNorm, Scope};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&Mpnet];

struct Mpnet;

const ATTENTION: AttentionNames = AttentionNames {
    projections: &["attn.q", "attn.k", "attn.v"],
    probabilities: "attn",
    distances: "attn.distances",
    output: "attn.o",
};

const HEADS: TextHeadNames = TextHeadNames { pooler: "mpnet.pooler.dense", ..roberta::HEADS };

impl Family for Mpnet {
    fn model_type(&self) -> &'static str {
        "mpnet"
    }

    fn base(&self) -> &'static str {
        "mpnet"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("MPNetModel", Head::None),
            ("MPNetForMaskedLM", Head::Masked),
            ("MPNetForSequenceClassification", Head::Classifier),
            ("MPNetForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let scope = &mut scope.child("mpnet");
        let init = Init::Normal(config.initializer_range);
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        // The layers share them.
        let mut biases = None;
        let embeddings = Embeddings::new(scope, config);
        Box::new(Stack::new(scope, config, embeddings, |scope, number| {
            let declare = || PositionBias::new(scope, "encoder.relative_attention_bias", config);
            let biases = *biases.get_or_insert_with(declare);
            let scope = &mut scope.child(&format!("encoder.layer.{number}"));
            PostNorm {
                attention: Attention::new(&mut scope.child("attention"), config, &ATTENTION, init)
                    .biased(biases),
                attention_norm: LayerNorm::new(scope, "attention.LayerNorm", width, epsilon),
                feed_forward: FeedForward::new(scope, config, ["intermediate.dense", "output.dense"]),
                output_norm: LayerNorm::new(scope, "output.LayerNorm", width, epsilon),
            }
        }))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let head = || MaskedHead::new(scope, config, encoder.words(), &roberta::MASKED, Activation::Gelu);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        post_norm(config)?;
        config.require("type_vocab_size", 0, config.type_vocab_size)
    }

    fn counts_from_padding(&self) -> bool {
        true
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        let defaults = post_norm_defaults().into_iter();
        defaults.filter(|(key, _)| *key != "type_vocab_size").collect()
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        let mut constants = post_norm_constants();
        constants.push(("type_vocab_size", json!(0)));
        constants
    }

    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        match name {
            "lm_head.decoder.weight" if config.tie_word_embeddings => None,
            "lm_head.decoder.bias" => (!all.contains("lm_head.bias")).then(|| "lm_head.bias".to_owned()),
            _ => Some(name.to_owned()),
        }
    }

    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        config.is_classifier() || parameters.iter().any(|name| name.starts_with("mpnet.pooler."))
    }
}
