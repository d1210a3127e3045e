//! `bert` (Devlin et al. 2018) as Hugging Face's folders have it: norms after each half of a block, biases, absolute
//! positions and token types.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::config::{Config, Head, NormPosition, PositionEmbedding};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PostNorm, Stack};
use super::family::Family;
use super::heads::{Heads, MaskedHead};
use super::pooling::Pooling;
use crate::nn::{Init, LayerNorm, Linear, Scope};
use crate::{Error, Result};

/// The family.
pub(super) const FAMILY: &dyn Family = &Bert;

struct Bert;

impl Family for Bert {
    fn model_type(&self) -> &'static str {
        "bert"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("BertModel", Head::None),
            ("BertForMaskedLM", Head::Masked),
            // It has a pooler always; its head that tells whether one sentence follows another is left out.
            ("BertForPreTraining", Head::Masked),
            ("BertForSequenceClassification", Head::Classifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let init = Init::Normal(config.initializer_range);
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let bert = &mut scope.child("bert");
        let embeddings = Embeddings::new(bert, config);
        let layer = |number| {
            let scope = &mut bert.child(&format!("encoder.layer.{number}"));
            PostNorm {
                attention: Attention::new(&mut scope.child("attention"), config, &AttentionNames::BERT, init),
                attention_norm: LayerNorm::new(scope, "attention.output.LayerNorm", width, epsilon),
                feed_forward: FeedForward::new(scope, config, ["intermediate.dense", "output.dense"]),
                output_norm: LayerNorm::new(scope, "output.LayerNorm", width, epsilon),
            }
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        Box::new(Stack { embeddings, layers, norm: None })
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let (v, c) = (config.vocab_size, config.hidden_size);
        let init = Init::Normal(config.initializer_range);
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope);
        let masked = config.is_masked_lm().then(|| {
            let scope = &mut scope.child("cls.predictions");
            let transform = Linear::new(scope, "transform.dense", [c, c], init, true);
            let norm = LayerNorm::new(scope, "transform.LayerNorm", c, config.layer_norm_eps);
            let bias = scope.vector("bias", v, Init::Zeros);
            let weight = match config.tie_word_embeddings {
                true => encoder.words().table,
                false => scope.matrix(&["decoder"], [v, c], config.head_init()),
            };
            let decoder = Linear { weight, bias: Some(bias) };
            MaskedHead { transform: Some((transform, norm)), decoder }
        });
        Heads { masked, ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        config.require("norm_position", NormPosition::Post, config.norm_position)?;
        config.require("use_bias", true, config.use_bias)?;
        config.require(
            "position_embedding_type",
            PositionEmbedding::Absolute,
            config.position_embedding_type,
        )?;
        config.require("classifier_pooling", Pooling::Cls, config.classifier_pooling)?;
        if config.type_vocab_size == 0 {
            return Err(Error::config("type_vocab_size", "at least 1 where `model_type` is `bert`", 0));
        }
        Ok(())
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("architectures", json!(["BertModel"])),
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
        vec![
            ("norm_position", json!("post")),
            ("use_bias", json!(true)),
            ("relative_attention_num_buckets", json!(32)),
            ("head_init", json!("uniform")),
            // The weights say whether there is one.
            ("pooler", json!(false)),
        ]
    }

    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        let left_out = match name {
            "cls.predictions.decoder.weight" => config.tie_word_embeddings,
            "cls.predictions.decoder.bias" => all.contains("cls.predictions.bias"),
            _ => name.ends_with("embeddings.position_ids") || name.starts_with("cls.seq_relationship."),
        };
        if left_out {
            return None;
        }
        // Names come with and without `bert.`; old files call the weights of a norm `gamma` and its bias `beta`.
        let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part));
        let mut name = if bare { format!("bert.{name}") } else { name.to_owned() };
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
