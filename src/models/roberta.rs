//! `roberta` (Liu et al. 2019), `xlm-roberta` (Conneau et al. 2020) and `camembert` (Martin et al. 2020): BERT's encoder,
//! whose table of positions begins with rows for padding, under heads of other names.

use std::collections::HashSet;

use serde_json::Value;

use super::bert::{encoder, has_types, post_norm, post_norm_constants, post_norm_defaults};
use super::config::{Activation, Config, Head};
use super::encoder::Encoder;
use super::family::Family;
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use crate::Result;
use crate::nn::Scope;

/// The families, which differ in the names of their classes.
pub(super) const FAMILIES: &[&dyn Family] = &[
    &Roberta {
        model_type: "roberta",
        classes: &[
            ("RobertaModel", Head::None),
            ("RobertaForMaskedLM", Head::Masked),
            ("RobertaForSequenceClassification", Head::Classifier),
            ("RobertaForTokenClassification", Head::TokenClassifier),
        ],
    },
    &Roberta {
        model_type: "xlm-roberta",
        classes: &[
            ("XLMRobertaModel", Head::None),
            ("XLMRobertaForMaskedLM", Head::Masked),
            ("XLMRobertaForSequenceClassification", Head::Classifier),
            ("XLMRobertaForTokenClassification", Head::TokenClassifier),
        ],
    },
    &Roberta {
        model_type: "camembert",
        classes: &[
            ("CamembertModel", Head::None),
            ("CamembertForMaskedLM", Head::Masked),
            ("CamembertForSequenceClassification", Head::Classifier),
            ("CamembertForTokenClassification", Head::TokenClassifier),
        ],
    },
];

struct Roberta {
    model_type: &'static str,
    classes: &'static [(&'static str, Head)],
}

pub(super) const HEADS: TextHeadNames = TextHeadNames {
    pooler: "roberta.pooler.dense",
    classifiers_pooler: "classifier.dense",
    classifiers_activation: Activation::Tanh,
    drops_twice: true,
    classifier: "classifier.out_proj",
};

pub(super) const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "lm_head.dense",
    norm: "lm_head.layer_norm",
    bias: "lm_head.bias",
    decoder: "lm_head.decoder",
};

impl Family for Roberta {
    fn model_type(&self) -> &'static str {
        self.model_type
    }

    fn base(&self) -> &'static str {
        "roberta"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        self.classes
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        Box::new(encoder(config, &mut scope.child("roberta")))
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

    fn counts_from_padding(&self) -> bool {
        true
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        post_norm_defaults()
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        post_norm_constants()
    }

    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        match name {
            "lm_head.decoder.weight" if config.tie_word_embeddings => None,
            "lm_head.decoder.bias" => (!all.contains("lm_head.bias")).then(|| "lm_head.bias".to_owned()),
            _ => Some(name.to_owned()),
        }
    }

    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        config.is_classifier() || parameters.iter().any(|name| name.starts_with("roberta.pooler."))
    }
}
