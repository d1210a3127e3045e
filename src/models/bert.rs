//! `bert` (Devlin et al. 2018) as Hugging Face's folders have it: norms after each half of a block, biases, absolute
//! positions and token types.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::config::{Config, Head, NormPosition, PositionEmbedding};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PostNorm, Stack};
use super::family::Family;
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use super::pooling::Pooling;
use crate::nn::{Init, LayerNorm, Scope};
use crate::{Error, Result};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&Bert];

struct Bert;

/// The encoder of BERT and of the families made from it, in the scope that is its own: embeddings, and layers with a norm
/// after each half.
pub(super) fn encoder(config: &Config, scope: &mut Scope) -> Stack<PostNorm> {
    let init = Init::Normal(config.initializer_range);
    let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let embeddings = Embeddings::new(scope, config);
    Stack::new(scope, config, embeddings, |scope, number| {
        let scope = &mut scope.child(&format!("encoder.layer.{number}"));
        PostNorm {
            attention: Attention::new(&mut scope.child("attention"), config, &AttentionNames::BERT, init),
            attention_norm: LayerNorm::new(scope, "attention.output.LayerNorm", width, epsilon),
            feed_forward: FeedForward::new(scope, config, ["intermediate.dense", "output.dense"]),
            output_norm: LayerNorm::new(scope, "output.LayerNorm", width, epsilon),
        }
    })
}

/// What BERT and the families made from it have in common: norms after each half of a block, biases, absolute positions,
/// and heads that read the first token.
///
/// # Errors
/// [`Error::Config`], naming the field that is otherwise.
pub(super) fn post_norm(config: &Config) -> Result<()> {
    config.require("norm_position", NormPosition::Post, config.norm_position)?;
    config.require("use_bias", true, config.use_bias)?;
    config.require("position_embedding_type", PositionEmbedding::Absolute, config.position_embedding_type)?;
    config.require("classifier_pooling", Pooling::Cls, config.classifier_pooling)
}

/// Checks that there are token types, as in all of these families but DistilBERT.
///
/// # Errors
/// [`Error::Config`] where there are none.
pub(super) fn has_types(config: &Config) -> Result<()> {
    if config.type_vocab_size == 0 {
        let expected = format!("at least 1 where `model_type` is `{}`", config.model_type.name());
        return Err(Error::config("type_vocab_size", expected, 0));
    }
    Ok(())
}

/// What `transformers` takes for keys that their `config.json` leaves out.
pub(super) fn post_norm_defaults() -> Vec<(&'static str, Value)> {
    vec![
        ("hidden_act", json!("gelu")),
        ("layer_norm_eps", json!(1e-12)),
        ("position_embedding_type", json!("absolute")),
        ("type_vocab_size", json!(2)),
        ("tie_word_embeddings", json!(true)),
        ("hidden_dropout_prob", json!(0.1)),
        ("attention_probs_dropout_prob", json!(0.1)),
    ]
}

/// The values of their `config.json` that it does not say; the weights say whether there is a pooler.
pub(super) fn post_norm_constants() -> Vec<(&'static str, Value)> {
    vec![
        ("norm_position", json!("post")),
        ("use_bias", json!(true)),
        ("relative_attention_num_buckets", json!(32)),
        ("head_init", json!("uniform")),
        ("pooler", json!(false)),
        ("embedding_size", Value::Null),
    ]
}

/// Those of families that differ from these by rotary positions, with biases or without.
pub(super) fn rotary_constants(use_bias: bool) -> Vec<(&'static str, Value)> {
    let own = [("use_bias", json!(use_bias)), ("position_embedding_type", json!("rotary"))];
    post_norm_constants().into_iter().filter(|(key, _)| *key != "use_bias").chain(own).collect()
}

const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    bias: "cls.predictions.bias",
    decoder: "cls.predictions.decoder",
};

impl Family for Bert {
    fn model_type(&self) -> &'static str {
        "bert"
    }

    fn base(&self) -> &'static str {
        "bert"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("BertModel", Head::None),
            ("BertForMaskedLM", Head::Masked),
            // It has a pooler always; its head that tells whether one sentence follows another is left out.
            ("BertForPreTraining", Head::Masked),
            ("BertForSequenceClassification", Head::Classifier),
            ("BertForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        Box::new(encoder(config, &mut scope.child("bert")))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &TextHeadNames::BERT);
        let head = || MaskedHead::new(scope, config, encoder.words(), &MASKED, config.hidden_act);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        post_norm(config)?;
        has_types(config)
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        post_norm_defaults()
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        post_norm_constants()
    }

    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        let left_out = match name {
            "cls.predictions.decoder.weight" => config.tie_word_embeddings,
            "cls.predictions.decoder.bias" => all.contains("cls.predictions.bias"),
            _ => name.starts_with("cls.seq_relationship."),
        };
        if left_out {
            return None;
        }
        // Old files call the weights of a norm `gamma` and its bias `beta`.
        let mut name = name.to_owned();
        for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
            if let Some(stem) = name.strip_suffix(old) {
                name = format!("{stem}{new}");
            }
        }
        if name == "cls.predictions.decoder.bias" {
            name = "cls.predictions.bias".into();
        }
        Some(name)
    }

    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        config.architectures == ["BertForPreTraining"]
            || parameters.iter().any(|name| name.starts_with("bert.pooler."))
    }
}
