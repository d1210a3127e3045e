//! `electra` (Clark et al. 2020): BERT's encoder, whose embeddings may be narrower than its layers. Of the two models that
//! are trained together the generator guesses masked tokens; the discriminator's head, which tells replaced tokens from
//! original ones, is left out.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::bert::{encoder, has_types, post_norm, post_norm_constants};
use super::config::{Activation, Config, Head};
use super::encoder::Encoder;
use super::family::{Family, TRAINED};
use super::heads::{Heads, MaskedHead, TextHeadNames, Transform};
use crate::Result;
use crate::nn::{Init, LayerNorm, Linear, Scope};

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
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        Box::new(encoder(config, &mut scope.child("electra")))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let (v, c, e) = (config.vocab_size, config.hidden_size, config.embedding_width());
        let init = Init::Normal(config.initializer_range);
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let masked = config.is_masked_lm().then(|| {
            let predictions = &mut scope.child("generator_predictions");
            let linear = Linear::new(predictions, "dense", [e, c], init, true);
            let norm = LayerNorm::new(predictions, "LayerNorm", e, config.layer_norm_eps);
            let weight = match config.tie_word_embeddings {
                true => encoder.words().table,
                false => scope.matrix(&["generator_lm_head"], [v, e], config.head_init()),
            };
            let bias = Some(scope.bias(&["generator_lm_head"], v));
            let transform = Some(Transform { linear, activation: Activation::Gelu, norm });
            MaskedHead { transform, decoder: Linear { weight, bias } }
        });
        Heads { masked, ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        post_norm(config)?;
        has_types(config)
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("embedding_size", json!(128)),
            ("hidden_act", json!("gelu")),
            ("layer_norm_eps", json!(1e-12)),
            ("position_embedding_type", json!("absolute")),
            ("type_vocab_size", json!(2)),
            ("tie_word_embeddings", json!(true)),
            ("hidden_dropout_prob", json!(0.1)),
            ("attention_probs_dropout_prob", json!(0.1)),
        ]
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
