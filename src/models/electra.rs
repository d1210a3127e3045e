//! `electra` (Clark et al. 2020): BERT's encoder, whose embeddings may be narrower than its layers. Of the two models that
//! are trained together the generator guesses masked tokens; the discriminator's head, which tells replaced tokens from
//! original ones, is left out.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::bert::{encoder, has_types, post_norm, post_norm_constants, post_norm_defaults};
use super::config::{Activation, Config, Head};
use super::encoder::Encoder;
use super::family::{Family, TRAINED};
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use crate::Result;
use crate::nn::Scope;

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&Electra];

struct Electra;

const HEADS: TextHeadNames = TextHeadNames {
    pooler: "",
    classifiers_pooler: "classifier.dense",
    classifiers_activation: Activation::Gelu,
    drops_twice: true,
    classifier: "classifier.out_proj",
};

const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "generator_predictions.dense",
    norm: "generator_predictions.LayerNorm",
    bias: "generator_lm_head.bias",
    decoder: "generator_lm_head",
};

impl Family for Electra {
    fn model_type(&self) -> &'static str {
        "electra"
    }

    fn base(&self) -> &'static str {
        "electra"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("ElectraModel", Head::None),
            ("ElectraForMaskedLM", Head::Masked),
            ("ElectraForSequenceClassification", Head::Classifier),
            ("ElectraForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        Box::new(encoder(config, &mut scope.child("electra")))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let head = || MaskedHead::new(scope, config, encoder.words(), &MASKED, Activation::Gelu);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        post_norm(config)?;
        has_types(config)
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        let mut defaults = post_norm_defaults();
        defaults.push(("embedding_size", json!(128)));
        defaults
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        let mut constants = post_norm_constants();
        constants.retain(|(key, _)| *key != "embedding_size");
        constants
    }

    fn parameter(&self, name: &str, config: &Config, _: &HashSet<String>) -> Option<String> {
        let copy = name == "generator_lm_head.weight" && config.tie_word_embeddings;
        (!copy).then(|| name.to_owned())
    }

    fn has_pooler(&self, config: &Config, _: &HashSet<String>) -> bool {
        config.is_classifier()
    }

    fn head_flops(&self, config: &Config) -> f64 {
        let (v, c, e) =
            (config.vocab_size as f64, config.hidden_size as f64, config.embedding_width() as f64);
        TRAINED * (v * e + c * e)
    }
}
