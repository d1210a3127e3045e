//! `gte` (Zhang et al. 2024): BERT with rotary positions and a gated feed-forward block. It lived on the hub as code of its
//! own, with the model type `new`, before `transformers` had it; files have the same names of tensors in both, and what is
//! saved is a `gte`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::bert::rotary_constants;
use super::config::{Activation, Config, Head, NormPosition, PositionEmbedding};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PostNorm, Stack};
use super::family::{Family, gated_flops};
use super::heads::{Heads, MaskedHead, MaskedHeadNames, TextHeadNames};
use super::pooling::Pooling;
use super::rotary::{Rotary, positive, require_key};
use crate::nn::{Init, LayerNorm, Scope};
use crate::ops::gated::Half;
use crate::{Error, Result};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&Gte];

struct Gte;

const ATTENTION: AttentionNames = AttentionNames {
    projections: &["qkv_proj"],
    probabilities: "attention",
    distances: "",
    output: "o_proj",
};

const HEADS: TextHeadNames = TextHeadNames {
    pooler: "gte.pooler.dense",
    classifiers_pooler: "gte.pooler.dense",
    classifiers_activation: Activation::Tanh,
    drops_twice: false,
    classifier: "classifier",
};

const MASKED: MaskedHeadNames = MaskedHeadNames {
    dense: "lm_head.dense",
    norm: "lm_head.norm",
    bias: "lm_head.decoder.bias",
    decoder: "lm_head.decoder",
};

/// The model type of the code on the hub.
const EARLIER: &str = "new";
/// What `transformers` takes where a file does not say it, and what the code on the hub took.
const THETA: f64 = 160_000.0;
const EARLIER_THETA: f64 = 10_000.0;

/// The base and the factor of frequencies that the code on the hub stretches by `scaling`: for heads of D and a factor k,
/// `(k·theta)^(-2i / D) / k^(2 / D)`.
fn stretched(scaling: &Value, theta: f64, head_size: f64) -> Result<(f64, f64)> {
    let Some(keys) = scaling.as_object() else {
        return Err(Error::config("rope_scaling", "an object", scaling));
    };
    let kind = keys.get("type").unwrap_or(&Value::Null);
    if kind != "ntk" {
        return Err(Error::config("rope_scaling.type", "`ntk`", kind));
    }
    require_key(keys, "mixed_b", Value::Null)?;
    let by = positive(keys, "factor", "rope_scaling.factor")?;
    let by = by.ok_or_else(|| Error::config("rope_scaling.factor", "a number above 0", "none"))?;
    // It takes what shortens for no scaling at all.
    let (base, factor) = if by > 1.0 { (theta * by, by.powf(2.0 / head_size)) } else { (theta, 1.0) };
    if !(base.is_finite() && factor.is_finite()) {
        return Err(Error::config("rope_scaling.factor", "a number that leaves frequencies", by));
    }
    Ok((base, factor))
}

impl Family for Gte {
    fn model_type(&self) -> &'static str {
        "gte"
    }

    fn other_model_types(&self) -> &'static [&'static str] {
        &[EARLIER]
    }

    fn base(&self) -> &'static str {
        "gte"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("GteModel", Head::None),
            ("GteForMaskedLM", Head::Masked),
            ("GteForSequenceClassification", Head::Classifier),
            ("GteForTokenClassification", Head::TokenClassifier),
            ("NewModel", Head::None),
            ("NewForMaskedLM", Head::Masked),
            ("NewForSequenceClassification", Head::Classifier),
            ("NewForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let init = Init::Normal(config.initializer_range);
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let scope = &mut scope.child("gte");
        let embeddings = Embeddings::new(scope, config);
        Box::new(Stack::new(scope, config, embeddings, |scope, number| {
            let scope = &mut scope.child(&format!("encoder.layer.{number}"));
            let attention = Attention::new(&mut scope.child("attention"), config, &ATTENTION, init);
            // The second half is the gate; of the two layers only the last has a bias.
            let inner = (&["up_gate_proj"][..], Half::Second);
            let outer = ("down_proj", init);
            let feed_forward =
                FeedForward::gated(&mut scope.child("mlp"), config, inner, outer, [false, true]);
            let attention_norm = LayerNorm::new(scope, "attn_ln", width, epsilon);
            let output_norm = LayerNorm::new(scope, "mlp_ln", width, epsilon);
            PostNorm { attention, attention_norm, feed_forward, output_norm }
        }))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &HEADS);
        let head = || MaskedHead::new(scope, config, encoder.words(), &MASKED, Activation::Gelu);
        Heads { masked: config.is_masked_lm().then(head), ..heads }
    }

    fn feed_forward_width(&self, config: &Config) -> usize {
        2 * config.intermediate_size
    }

    fn validate(&self, config: &Config) -> Result<()> {
        config.require("norm_position", NormPosition::Post, config.norm_position)?;
        config.require("use_bias", true, config.use_bias)?;
        config.require(
            "position_embedding_type",
            PositionEmbedding::Rotary,
            config.position_embedding_type,
        )?;
        config.require("classifier_pooling", Pooling::Cls, config.classifier_pooling)?;
        config.require_gate()
    }

    fn read_keys(&self, keys: &mut Map<String, Value>) -> Result<()> {
        let earlier = keys.get("model_type").is_some_and(|name| name == EARLIER);
        let mut theta = THETA;
        if earlier {
            require_key(keys, "position_embedding_type", json!("rope"))?;
            require_key(keys, "layer_norm_type", json!("layer_norm"))?;
            require_key(keys, "logn_attention_scale", json!(false))?;
            theta = EARLIER_THETA;
        }
        let said = keys.get("rope_parameters").unwrap_or(&Value::Null);
        let (parameters, factor) = Rotary::read_parameters(said, "rope_parameters")?;
        let theta = parameters.or(positive(keys, "rope_theta", "rope_theta")?).unwrap_or(theta);
        let size = |key: &str| keys.get(key).and_then(Value::as_u64).unwrap_or(1).max(1) as f64;
        // What is no number of heads is refused when all keys are there.
        let head_size = (size("hidden_size") / size("num_attention_heads")).max(1.0);
        let (theta, factor) = match keys.get("rope_scaling").filter(|scaling| !scaling.is_null()) {
            Some(scaling) => stretched(scaling, theta, head_size)?,
            None => (theta, factor),
        };
        keys.insert("rotary".into(), json!(Rotary { theta, factor, local: None }));
        Ok(())
    }

    fn written_keys(&self, config: &Config) -> Map<String, Value> {
        config.rotary.as_ref().map(Rotary::written).unwrap_or_default()
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("hidden_act", json!("gelu")),
            ("layer_norm_eps", json!(1e-12)),
            ("max_position_embeddings", json!(8192)),
            ("type_vocab_size", json!(1)),
            ("tie_word_embeddings", json!(true)),
            ("hidden_dropout_prob", json!(0.1)),
            ("attention_probs_dropout_prob", json!(0.0)),
        ]
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        rotary_constants(true)
    }

    fn parameter(&self, name: &str, config: &Config, _: &HashSet<String>) -> Option<String> {
        let copy = name == "lm_head.decoder.weight" && config.tie_word_embeddings;
        (!copy).then(|| name.to_owned())
    }

    fn has_pooler(&self, config: &Config, parameters: &HashSet<String>) -> bool {
        config.is_classifier() || parameters.iter().any(|name| name.starts_with("gte.pooler."))
    }

    fn body_flops(&self, config: &Config, tokens: usize) -> f64 {
        gated_flops(config, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier() -> Value {
        json!({"model_type": "new", "architectures": ["NewModel"], "vocab_size": 61, "hidden_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "hidden_act": "gelu",
            "max_position_embeddings": 128, "type_vocab_size": 0, "layer_norm_type": "layer_norm",
            "layer_norm_eps": 1e-12, "position_embedding_type": "rope", "rope_theta": 500000,
            "rope_scaling": {"factor": 2.0, "type": "ntk"}, "pack_qkv": true, "unpad_inputs": false,
            "use_memory_efficient_attention": false, "logn_attention_scale": false, "logn_attention_clip1": false,
            "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0,
            "cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4})
    }

    fn read(keys: &Value) -> Result<Config> {
        Config::from_json(keys.to_string().as_bytes(), "config.json")
    }

    #[test]
    fn the_earlier_spelling_is_saved_as_the_later() {
        let config = read(&earlier()).unwrap();
        assert_eq!((config.model_type.name(), config.architectures[0].as_str()), ("gte", "GteModel"));
        let rotary = config.rotary.clone().unwrap();
        assert_eq!(rotary.theta, 1_000_000.0);
        assert!((rotary.factor - 2f64.powf(1.0 / 6.0)).abs() < 1e-12);
        let written: Value = serde_json::from_str(&config.to_json()).unwrap();
        assert_eq!(written["model_type"], "gte");
        assert_eq!(written["rope_parameters"]["rope_type"], "linear");
        assert_eq!(read(&written).unwrap(), config);
        let mut plain = earlier();
        plain["rope_scaling"] = Value::Null;
        assert_eq!(read(&plain).unwrap().rotary, Some(Rotary::new(500_000.0)));
    }

    #[test]
    fn what_is_otherwise_is_refused_by_name() {
        for (key, value, named) in [
            ("position_embedding_type", json!("absolute"), "position_embedding_type"),
            ("layer_norm_type", json!("rms_norm"), "layer_norm_type"),
            ("logn_attention_scale", json!(true), "logn_attention_scale"),
            ("rope_scaling", json!(2), "rope_scaling"),
            ("rope_scaling", json!({"factor": 2.0, "type": "dynamic"}), "rope_scaling.type"),
            ("rope_scaling", json!({"type": "ntk"}), "rope_scaling.factor"),
            ("rope_scaling", json!({"type": "ntk", "factor": 2, "mixed_b": 0.6}), "mixed_b"),
            ("rope_theta", json!(-1), "rope_theta"),
            ("hidden_act", json!("tanh"), "hidden_act"),
        ] {
            let mut keys = earlier();
            keys[key] = value;
            let error = read(&keys).unwrap_err().to_string();
            assert!(error.contains(&format!("`{named}`")), "{key}: {error}");
        }
    }
}
