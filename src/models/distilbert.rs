//! `distilbert` (Sanh et al. 2019): BERT's layers under other names, without token types.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::bert::{post_norm, post_norm_constants};
use super::config::{Activation, Config, Head};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PostNorm, Stack};
use super::family::Family;
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use crate::Result;
use crate::nn::{Init, LayerNorm, Scope};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&DistilBert];

struct DistilBert;

const ATTENTION: AttentionNames = AttentionNames {
    projections: &["q_lin", "k_lin", "v_lin"],
    probabilities: "dropout",
    distances: "",
    output: "out_lin",
};

const HEADS: TextHeadNames = TextHeadNames {
    pooler: "",
    classifiers_pooler: "pre_classifier",
    classifiers_activation: Activation::Relu,
    drops_twice: false,
    classifier: "classifier",
};

const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "vocab_transform",
    norm: "vocab_layer_norm",
    bias: "vocab_projector.bias",
    decoder: "vocab_projector",
};

impl Family for DistilBert {
    fn model_type(&self) -> &'static str {
        "distilbert"
    }

    fn base(&self) -> &'static str {
        "distilbert"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("DistilBertModel", Head::None),
            ("DistilBertForMaskedLM", Head::Masked),
            ("DistilBertForSequenceClassification", Head::Classifier),
            ("DistilBertForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let init = Init::Normal(config.initializer_range);
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let scope = &mut scope.child("distilbert");
        let embeddings = Embeddings::new(scope, config);
        Box::new(Stack::new(scope, config, embeddings, |scope, number| {
            let scope = &mut scope.child(&format!("transformer.layer.{number}"));
            PostNorm {
                attention: Attention::new(&mut scope.child("attention"), config, &ATTENTION, init),
                attention_norm: LayerNorm::new(scope, "sa_layer_norm", width, epsilon),
                feed_forward: FeedForward::new(scope, config, ["ffn.lin1", "ffn.lin2"]),
                output_norm: LayerNorm::new(scope, "output_layer_norm", width, epsilon),
            }
        }))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let head = || MaskedHead::new(scope, config, encoder.words(), &MASKED, config.hidden_act);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        post_norm(config)?;
        config.require("type_vocab_size", 0, config.type_vocab_size)
    }

    fn renamed_keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("dim", "hidden_size"),
            ("n_layers", "num_hidden_layers"),
            ("n_heads", "num_attention_heads"),
            ("hidden_dim", "intermediate_size"),
            ("activation", "hidden_act"),
            ("dropout", "hidden_dropout_prob"),
            ("attention_dropout", "attention_probs_dropout_prob"),
        ]
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("hidden_act", json!("gelu")),
            ("tie_word_embeddings", json!(true)),
            ("hidden_dropout_prob", json!(0.1)),
            ("attention_probs_dropout_prob", json!(0.1)),
        ]
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        let mut constants = post_norm_constants();
        constants.extend([
            ("layer_norm_eps", json!(1e-12)),
            ("position_embedding_type", json!("absolute")),
            ("type_vocab_size", json!(0)),
        ]);
        constants
    }

    fn parameter(&self, name: &str, config: &Config, _: &HashSet<String>) -> Option<String> {
        let copy = name == "vocab_projector.weight" && config.tie_word_embeddings;
        (!copy).then(|| name.to_owned())
    }

    fn has_pooler(&self, config: &Config, _: &HashSet<String>) -> bool {
        config.is_classifier()
    }
}
