//! `nomic_bert` (Nussbaum et al. 2024): rotary positions, a gated feed-forward block (SwiGLU), no biases, and a norm after
//! each half of a layer. It lived on the hub as code of its own before `transformers` had it, with keys after GPT-2's; files
//! have the same names of tensors in both.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::bert::rotary_constants;
use super::config::{Activation, Config, Head, NormPosition, PositionEmbedding};
use super::encoder::{
    Attention, AttentionNames, EmbeddingNames, Embeddings, Encoder, FeedForward, PostNorm, Stack,
};
use super::family::{Family, gated_flops};
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use super::pooling::Pooling;
use super::rotary::{Rotary, positive, require_key};
use crate::nn::{Init, LayerNorm, Scope};
use crate::ops::gated::Half;
use crate::{Error, Result};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&NomicBert];

struct NomicBert;

const EMBEDDINGS: EmbeddingNames = EmbeddingNames { norm: "emb_ln", ..EmbeddingNames::BERT };

const ATTENTION: AttentionNames =
    AttentionNames { projections: &["Wqkv"], probabilities: "attn", distances: "", output: "out_proj" };

const HEADS: TextHeadNames = TextHeadNames {
    pooler: "nomic_bert.pooler.dense",
    classifiers_pooler: "nomic_bert.pooler.dense",
    classifiers_activation: Activation::Tanh,
    drops_twice: false,
    classifier: "classifier",
};

const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.layer_norm",
    bias: "cls.predictions.bias",
    decoder: "cls.predictions.decoder",
};

/// What `transformers` takes where a file does not say it.
const THETA: f64 = 1000.0;

impl Family for NomicBert {
    fn model_type(&self) -> &'static str {
        "nomic_bert"
    }

    fn base(&self) -> &'static str {
        "nomic_bert"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("NomicBertModel", Head::None),
            ("NomicBertForMaskedLM", Head::Masked),
            // As the code on the hub calls it.
            ("NomicBertForPreTraining", Head::Masked),
            ("NomicBertForSequenceClassification", Head::Classifier),
            ("NomicBertForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let init = Init::Normal(config.initializer_range);
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let scope = &mut scope.child("nomic_bert");
        let embeddings = Embeddings::named(scope, config, &EMBEDDINGS);
        Box::new(Stack::new(scope, config, embeddings, |scope, number| {
            let scope = &mut scope.child(&format!("encoder.layers.{number}"));
            let attention = Attention::new(&mut scope.child("attn"), config, &ATTENTION, init);
            let attention_norm = LayerNorm::new(scope, "norm1", width, epsilon);
            // The second of the two is the gate.
            let inner = (&["fc11", "fc12"][..], Half::Second);
            let feed_forward =
                FeedForward::gated(&mut scope.child("mlp"), config, inner, ("fc2", init), [false; 2]);
            let output_norm = LayerNorm::new(scope, "norm2", width, epsilon);
            PostNorm { attention, attention_norm, feed_forward, output_norm }
        }))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let head = || MaskedHead::new(scope, config, encoder.words(), &MASKED, config.hidden_act);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn feed_forward_width(&self, config: &Config) -> usize {
        2 * config.intermediate_size
    }

    fn validate(&self, config: &Config) -> Result<()> {
        config.require("norm_position", NormPosition::Post, config.norm_position)?;
        config.require("use_bias", false, config.use_bias)?;
        config.require(
            "position_embedding_type",
            PositionEmbedding::Rotary,
            config.position_embedding_type,
        )?;
        config.require("classifier_pooling", Pooling::Cls, config.classifier_pooling)?;
        config.require_gate()
    }

    fn read_keys(&self, keys: &mut Map<String, Value>) -> Result<()> {
        require_key(keys, "rope_scaling", Value::Null)?;
        let earlier = keys.contains_key("n_embd");
        if earlier {
            for (key, expected) in [
                ("qkv_proj_bias", json!(false)),
                ("mlp_fc1_bias", json!(false)),
                ("mlp_fc2_bias", json!(false)),
                ("prenorm", json!(false)),
                ("parallel_block", json!(false)),
                ("use_rms_norm", json!(false)),
                ("causal", json!(false)),
                ("rotary_emb_interleaved", json!(false)),
                ("rotary_emb_scale_base", Value::Null),
                ("rotary_scaling_factor", Value::Null),
            ] {
                require_key(keys, key, expected)?;
            }
            // Its default is 0: no rotary positions.
            let fraction = keys.get("rotary_emb_fraction").and_then(Value::as_f64).unwrap_or_default();
            if fraction != 1.0 {
                return Err(Error::config("rotary_emb_fraction", "1", fraction));
            }
            let act = keys.get("activation_function").cloned().unwrap_or_default();
            let gate = match act.as_str() {
                Some("swiglu") => "silu",
                Some("geglu") => "gelu",
                _ => return Err(Error::config("activation_function", "`swiglu` or `geglu`", act)),
            };
            keys.insert("hidden_act".into(), json!(gate));
            for (theirs, ours) in [
                ("n_embd", "hidden_size"),
                ("n_layer", "num_hidden_layers"),
                ("n_head", "num_attention_heads"),
                ("n_inner", "intermediate_size"),
                ("n_positions", "max_position_embeddings"),
                ("layer_norm_epsilon", "layer_norm_eps"),
                ("resid_pdrop", "hidden_dropout_prob"),
                ("attn_pdrop", "attention_probs_dropout_prob"),
            ] {
                if let Some(value) = keys.remove(theirs) {
                    keys.insert(ours.into(), value);
                }
            }
        }
        let said = keys.get("rope_parameters").unwrap_or(&Value::Null);
        let (theta, factor) = Rotary::read_parameters(said, "rope_parameters")?;
        let base = positive(keys, "rotary_emb_base", "rotary_emb_base")?;
        let theta = theta.or(base).unwrap_or(THETA);
        keys.insert("rotary".into(), json!(Rotary { theta, factor, local: None }));
        Ok(())
    }

    fn written_keys(&self, config: &Config) -> Map<String, Value> {
        config.rotary.as_ref().map(Rotary::written).unwrap_or_default()
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("hidden_act", json!("silu")),
            ("layer_norm_eps", json!(1e-12)),
            ("max_position_embeddings", json!(2048)),
            ("type_vocab_size", json!(2)),
            ("tie_word_embeddings", json!(true)),
            ("hidden_dropout_prob", json!(0.0)),
            ("attention_probs_dropout_prob", json!(0.0)),
        ]
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        rotary_constants(false)
    }

    fn parameter(&self, name: &str, config: &Config, all: &HashSet<String>) -> Option<String> {
        match name {
            "cls.predictions.decoder.weight" if config.tie_word_embeddings => None,
            "cls.predictions.decoder.bias" => {
                (!all.contains("cls.predictions.bias")).then(|| "cls.predictions.bias".to_owned())
            }
            _ => Some(name.to_owned()),
        }
    }

    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        config.is_classifier() || parameters.iter().any(|name| name.starts_with("nomic_bert.pooler."))
    }

    fn body_flops(&self, config: &Config, tokens: usize) -> f64 {
        gated_flops(config, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier() -> Value {
        json!({"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "vocab_size": 61, "n_embd": 48,
            "n_layer": 2, "n_head": 4, "n_inner": 64, "n_positions": 128, "activation_function": "swiglu",
            "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": false, "rotary_emb_scale_base": null, "rotary_scaling_factor": null,
            "qkv_proj_bias": false, "mlp_fc1_bias": false, "mlp_fc2_bias": false, "prenorm": false,
            "parallel_block": false, "use_rms_norm": null, "causal": false, "resid_pdrop": 0.0, "attn_pdrop": 0.0,
            "type_vocab_size": 2, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4})
    }

    fn read(keys: &Value) -> Result<Config> {
        Config::from_json(keys.to_string().as_bytes(), "config.json")
    }

    #[test]
    fn both_spellings_are_one_model() {
        let later = json!({"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "vocab_size": 61,
            "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
            "max_position_embeddings": 128, "hidden_act": "silu", "layer_norm_eps": 1e-12, "type_vocab_size": 2,
            "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"}, "head_dim": 12,
            "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4});
        let config = read(&earlier()).unwrap();
        assert_eq!(config, read(&later).unwrap());
        assert_eq!(config.rotary, Some(Rotary::new(1000.0)));
        assert_eq!(read(&serde_json::from_str(&config.to_json()).unwrap()).unwrap(), config);
    }

    #[test]
    fn what_is_otherwise_is_refused_by_name() {
        for (key, value) in [
            ("qkv_proj_bias", json!(true)),
            ("mlp_fc1_bias", json!(true)),
            ("prenorm", json!(true)),
            ("use_rms_norm", json!(true)),
            ("rotary_emb_interleaved", json!(true)),
            ("rotary_emb_fraction", json!(0.5)),
            ("rotary_scaling_factor", json!(2)),
            ("rotary_emb_base", json!("large")),
            ("activation_function", json!("gelu")),
            ("n_embd", json!(50)),
        ] {
            let mut keys = earlier();
            keys[key] = value;
            let error = read(&keys).unwrap_err().to_string();
            let named = if key == "n_embd" { "hidden_size" } else { key };
            assert!(error.contains(&format!("`{named}`")), "{key}: {error}");
        }
    }
}
