//! `modernbert` (Warner et al. 2024): rotary positions, norms before each half of a layer, a gated feed-forward block, no
//! biases, and layers that attend to what is near alone between those that attend to everything.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::config::{
    Activation, Config, Head, HeadInit, ModelType, NormPosition, PositionEmbedding, default_buckets,
    default_initializer_range,
};
use super::encoder::{
    Attention, AttentionNames, EmbeddingNames, Embeddings, Encoder, FeedForward, PreNorm, Stack,
};
use super::family::{Family, TRAINED};
use super::heads::{Classifier, Heads, MaskedHead, Pooler, Transform};
use super::pooling::Pooling;
use super::rotary::{
    EVERY, LOCAL, LocalAttention, Rotary, WHOLE, alternating, local_layers, positive, require_key,
};
use crate::nn::{DropoutSite, Init, LayerNorm, Linear, Scope};
use crate::ops::gated::Half;
use crate::{Error, Result};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&ModernBert];

struct ModernBert;

const EMBEDDINGS: EmbeddingNames = EmbeddingNames {
    words: "embeddings.tok_embeddings",
    positions: "",
    types: "",
    norm: "embeddings.norm",
    has_bias: false,
};

const ATTENTION: AttentionNames =
    AttentionNames { projections: &["Wqkv"], probabilities: "attn", distances: "", output: "Wo" };

/// What `transformers` takes where a file does not say it.
const WHOLE_THETA: f64 = 160_000.0;
const LOCAL_THETA: f64 = 10_000.0;
/// The same of how many tokens the others attend to, half of them to each side.
const WINDOW: usize = 128;
impl Family for ModernBert {
    fn model_type(&self) -> &'static str {
        "modernbert"
    }

    fn base(&self) -> &'static str {
        "model"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("ModernBertModel", Head::None),
            ("ModernBertForMaskedLM", Head::Masked),
            ("ModernBertForSequenceClassification", Head::Classifier),
            ("ModernBertForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        let (width, epsilon, output) = (config.hidden_size, config.layer_norm_eps, output_init(config));
        let scope = &mut scope.child("model");
        let embeddings = Embeddings::named(scope, config, &EMBEDDINGS);
        let local = config.rotary.as_ref().and_then(|rotary| rotary.local.as_ref());
        let stack = Stack::new(scope, config, embeddings, |scope, number| {
            let scope = &mut scope.child(&format!("layers.{number}"));
            let is_local = local.is_some_and(|local| local.layers.get(number) == Some(&true));
            // The embeddings end in a norm.
            let norm = |scope: &mut Scope| LayerNorm::without_bias(scope, "attn_norm", width, epsilon);
            let attention_norm = (number > 0).then(|| norm(scope));
            let attention = Attention::new(&mut scope.child("attn"), config, &ATTENTION, output);
            let feed_forward_norm = LayerNorm::without_bias(scope, "mlp_norm", width, epsilon);
            let (inner, outer) = ((&["Wi"][..], Half::First), ("Wo", output));
            PreNorm {
                attention_norm,
                attention: attention.within(is_local),
                feed_forward_norm,
                feed_forward: FeedForward::gated(&mut scope.child("mlp"), config, inner, outer, [false; 2]),
            }
        });
        Box::new(stack.with_norm(LayerNorm::without_bias(scope, "final_norm", width, epsilon)))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let (v, c) = (config.vocab_size, config.hidden_size);
        let (scope, output) = (&mut scope.head(), output_init(config));
        let classifies = config.is_classifier() || config.is_token_classifier();
        if !config.is_masked_lm() && !classifies {
            return Heads::default();
        }
        let linear = Linear::new(scope, "head.dense", [c, c], output, false);
        let norm = LayerNorm::without_bias(scope, "head.norm", c, config.layer_norm_eps);
        let activation = Activation::Gelu;
        if classifies {
            let shape = [config.labels.len(), c];
            let dropout = DropoutSite::new(scope, "classifier");
            let last = Linear::new(scope, "classifier", shape, Init::Normal(1.0 / (c as f64).sqrt()), true);
            let pooler = Pooler { linear, activation, norm: Some(norm), dropout: None };
            let classifier = Some(Classifier { linear: last, dropout });
            return Heads { masked: None, pooler: Some(pooler), classifier };
        }
        let weight = match config.tie_word_embeddings {
            true => encoder.words().table,
            false => scope.matrix(&["decoder"], [v, c], output),
        };
        let bias = Some(scope.vector("decoder.bias", v, Init::Zeros));
        let transform = Some(Transform { linear, activation, norm });
        Heads { masked: Some(MaskedHead { transform, decoder: Linear { weight, bias } }), ..Heads::default() }
    }

    fn feed_forward_width(&self, config: &Config) -> usize {
        2 * config.intermediate_size
    }

    fn validate(&self, config: &Config) -> Result<()> {
        config.require("norm_position", NormPosition::Pre, config.norm_position)?;
        config.require("use_bias", false, config.use_bias)?;
        config.require(
            "position_embedding_type",
            PositionEmbedding::Rotary,
            config.position_embedding_type,
        )?;
        config.require("type_vocab_size", 0, config.type_vocab_size)?;
        if !matches!(config.classifier_pooling, Pooling::Cls | Pooling::Mean) {
            let found = config.classifier_pooling.name();
            return Err(Error::config("classifier_pooling", "`cls` or `mean`", found));
        }
        config.require_gate()
    }

    fn renamed_keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("hidden_activation", "hidden_act"),
            ("norm_eps", "layer_norm_eps"),
            ("mlp_dropout", "hidden_dropout_prob"),
            ("attention_dropout", "attention_probs_dropout_prob"),
        ]
    }

    fn read_keys(&self, keys: &mut Map<String, Value>) -> Result<()> {
        for key in ["attention_bias", "mlp_bias", "norm_bias", "classifier_bias"] {
            require_key(keys, key, json!(false))?;
        }
        require_key(keys, "decoder_bias", json!(true))?;
        require_key(keys, "rope_scaling", Value::Null)?;
        require_key(keys, "classifier_activation", json!("gelu"))?;
        let layers = local_layers(keys)?;
        // Earlier versions have a key for each kind of layer.
        let kinds = keys.get("rope_parameters").cloned().unwrap_or_default();
        if !matches!(kinds, Value::Null | Value::Object(_)) {
            return Err(Error::config("rope_parameters", "an object", kinds));
        }
        let kind = |name: &str| {
            let said = kinds.get(name).unwrap_or(&Value::Null);
            Rotary::read_parameters(said, &format!("rope_parameters.{name}"))
        };
        let ((whole, factor), (near, near_factor)) = (kind(WHOLE)?, kind(LOCAL)?);
        if near_factor != 1.0 {
            let key = format!("rope_parameters.{LOCAL}.factor");
            return Err(Error::config(key, "1", near_factor));
        }
        let key = |key: &str| positive(keys, key, key);
        let theta = whole.or(key("global_rope_theta")?).unwrap_or(WHOLE_THETA);
        let named = keys.get("local_rope_theta");
        let unsaid = if named.is_some_and(Value::is_null) { theta } else { LOCAL_THETA };
        let near = near.or(key("local_rope_theta")?).unwrap_or(unsaid);
        let window = match keys.get("local_attention").filter(|value| !value.is_null()) {
            None => WINDOW,
            Some(value) => {
                let window = value.as_u64().and_then(|window| window.try_into().ok());
                window.ok_or_else(|| Error::config("local_attention", "a number of tokens", value))?
            }
        };
        let is_local = layers.contains(&true);
        let local = is_local.then_some(LocalAttention { theta: near, reach: window / 2, layers });
        keys.insert("rotary".into(), json!(Rotary { theta, factor, local }));
        Ok(())
    }

    fn written_keys(&self, config: &Config) -> Map<String, Value> {
        let Some(rotary) = &config.rotary else { return Map::new() };
        let layers = config.num_hidden_layers;
        let whole = vec![false; layers];
        let (local, reach, theta) = match &rotary.local {
            Some(local) => (&local.layers, local.reach, local.theta),
            None => (&whole, WINDOW / 2, LOCAL_THETA),
        };
        let kind = |local: &bool| if *local { LOCAL } else { WHOLE };
        let mut keys = Map::new();
        let mut say = |key: &str, value: Value| keys.insert(key.into(), value);
        say("layer_types", local.iter().map(kind).collect());
        say(
            "rope_parameters",
            json!({WHOLE: Rotary::parameters(rotary.theta, rotary.factor), LOCAL: Rotary::parameters(theta, 1.0)}),
        );
        say("local_attention", json!(2 * reach));
        // What earlier versions of `transformers` read, as far as they can say it.
        if let Some(every) = (1..=layers.max(1)).find(|every| alternating(layers, *every) == *local) {
            say("global_attn_every_n_layers", json!(every));
        }
        say("global_rope_theta", json!(rotary.theta));
        say("local_rope_theta", json!(theta));
        say("embedding_dropout", json!(config.hidden_dropout_prob));
        say("classifier_dropout", json!(config.hidden_dropout_prob));
        // Their defaults are ids of a larger vocabulary.
        say("bos_token_id", json!(config.cls_token_id));
        say("eos_token_id", json!(config.sep_token_id));
        keys
    }

    fn defaults(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("hidden_act", json!("gelu")),
            ("layer_norm_eps", json!(1e-5)),
            ("max_position_embeddings", json!(8192)),
            ("tie_word_embeddings", json!(true)),
            ("hidden_dropout_prob", json!(0.0)),
            ("attention_probs_dropout_prob", json!(0.0)),
        ]
    }

    fn constants(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("norm_position", json!("pre")),
            ("use_bias", json!(false)),
            ("position_embedding_type", json!("rotary")),
            ("relative_attention_num_buckets", json!(32)),
            ("type_vocab_size", json!(0)),
            ("head_init", json!("normal")),
            ("pooler", json!(false)),
            ("embedding_size", Value::Null),
        ]
    }

    fn parameter(&self, name: &str, config: &Config, _: &HashSet<String>) -> Option<String> {
        let copy = name == "decoder.weight" && config.tie_word_embeddings;
        (!copy).then(|| name.to_owned())
    }

    fn has_pooler(&self, config: &Config, _: &HashSet<String>) -> bool {
        config.is_classifier()
    }

    fn classifier(&self, pooling: Pooling, _: bool) -> (Pooling, bool) {
        (pooling, true)
    }

    fn transforms_tokens(&self) -> bool {
        true
    }

    fn presets(&self) -> &'static [&'static str] {
        &["modern-base", "modern-tiny"]
    }

    fn preset(&self, name: &str) -> Option<Config> {
        let (vocab_size, hidden_size, num_hidden_layers, num_attention_heads, context) = match name {
            "modern-base" => (50_368, 768, 22, 12, 1024),
            "modern-tiny" => (8192, 256, 4, 4, 128),
            _ => return None,
        };
        let layers = alternating(num_hidden_layers, EVERY);
        let local = Some(LocalAttention { theta: LOCAL_THETA, reach: WINDOW / 2, layers });
        Some(Config {
            architectures: vec!["ModernBertForMaskedLM".to_owned()],
            model_type: ModelType::new(self.model_type()).ok()?,
            vocab_size,
            hidden_size,
            embedding_size: None,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size: hidden_size * 3 / 2,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
            initializer_range: default_initializer_range(),
            position_embedding_type: PositionEmbedding::Rotary,
            relative_attention_num_buckets: default_buckets(),
            max_position_embeddings: context,
            rotary: Some(Rotary { local, ..Rotary::new(WHOLE_THETA) }),
            norm_position: NormPosition::Pre,
            use_bias: false,
            type_vocab_size: 0,
            tie_word_embeddings: true,
            mask_padding: true,
            head_init: HeadInit::Normal,
            pooler: false,
            classifier_pooling: Pooling::Cls,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            labels: Vec::new(),
            problem_type: None,
            finetuning_task: None,
            pad_token_id: 0,
            cls_token_id: 1,
            sep_token_id: 2,
            mask_token_id: 3,
        })
    }

    /// `6 · (layers · (4C² + 3CF) + Σ 2KC)` over the layers, of which each attends to K tokens: T, or those that are near.
    fn body_flops(&self, config: &Config, tokens: usize) -> f64 {
        let (c, f) = (config.hidden_size as f64, config.intermediate_size as f64);
        let local = config.rotary.as_ref().and_then(|rotary| rotary.local.as_ref());
        let seen = |number: usize| match local.filter(|local| local.layers.get(number) == Some(&true)) {
            Some(local) => tokens.min(2 * local.reach + 1) as f64,
            None => tokens as f64,
        };
        let layer = |number: usize| 4.0 * c * c + 3.0 * c * f + 2.0 * seen(number) * c;
        TRAINED * (0..config.num_hidden_layers).map(layer).sum::<f64>()
    }
}

/// How the layers that add to the residual stream start: so that its variance does not grow with depth.
fn output_init(config: &Config) -> Init {
    Init::Normal(config.initializer_range / (2.0 * config.num_hidden_layers as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Value {
        json!({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"], "vocab_size": 61,
            "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
            "hidden_activation": "gelu", "norm_eps": 1e-5, "classifier_pooling": "mean", "pad_token_id": 0,
            "cls_token_id": 2, "sep_token_id": 3, "mask_token_id": 4, "position_embedding_type": "absolute"})
    }

    fn read(edits: &[(&str, Value)]) -> Result<Config> {
        let mut keys = keys();
        for (key, value) in edits {
            keys[*key] = value.clone();
        }
        Config::from_json(keys.to_string().as_bytes(), "config.json")
    }

    #[test]
    fn both_spellings_are_one_model() {
        let earlier = read(&[
            ("global_attn_every_n_layers", json!(3)),
            ("global_rope_theta", json!(160000.0)),
            ("local_rope_theta", json!(10000.0)),
            ("local_attention", json!(128)),
        ]);
        let later = read(&[
            ("layer_types", json!([WHOLE, LOCAL, LOCAL, WHOLE])),
            (
                "rope_parameters",
                json!({WHOLE: {"rope_theta": 160000.0, "rope_type": "default"},
                    LOCAL: {"rope_theta": 10000.0, "rope_type": "default"}}),
            ),
            ("local_attention", json!(128)),
        ]);
        let (earlier, later) = (earlier.unwrap(), later.unwrap());
        assert_eq!(earlier, later);
        // And what is left out is what `transformers` takes.
        assert_eq!(earlier, read(&[]).unwrap());
        let layers = vec![false, true, true, false];
        let local = Some(LocalAttention { theta: 10_000.0, reach: 64, layers });
        assert_eq!(earlier.rotary, Some(Rotary { theta: 160_000.0, factor: 1.0, local }));
        let shared = read(&[("local_rope_theta", json!(null))]).unwrap().rotary.unwrap();
        assert_eq!(shared.local.unwrap().theta, 160_000.0);
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for edits in [
            vec![],
            vec![("layer_types", json!([LOCAL, LOCAL, WHOLE, LOCAL])), ("local_attention", json!(10))],
            vec![("global_attn_every_n_layers", json!(1))],
            vec![("mlp_dropout", json!(0.25))],
        ] {
            let config = read(&edits).unwrap();
            let text = config.to_json();
            let again = Config::from_json(text.as_bytes(), "config.json").unwrap();
            assert_eq!(again.rotary.is_some(), config.rotary.is_some());
            assert_eq!(again, config, "{text}");
            assert!(!text.contains("hidden_act\"") && !text.contains("\"rotary\""), "{text}");
        }
    }

    #[test]
    fn what_is_otherwise_is_refused_by_name() {
        let named = json!({WHOLE: {"rope_type": "yarn", "factor": 2.0}});
        for (key, value, expected) in [
            ("norm_bias", json!(true), "`norm_bias` to be false"),
            ("attention_bias", json!(true), "`attention_bias`"),
            ("mlp_bias", json!("no"), "`mlp_bias`"),
            ("decoder_bias", json!(false), "`decoder_bias` to be true"),
            ("classifier_activation", json!("silu"), "`classifier_activation`"),
            ("global_attn_every_n_layers", json!(0), "`global_attn_every_n_layers`"),
            ("layer_types", json!(["full_attention"]), "`layer_types` to be one for each of 4 layers"),
            ("layer_types", json!(["chunked_attention"]), "`layer_types`"),
            ("layer_types", json!(3), "`layer_types` to be a list"),
            ("local_attention", json!(-1), "`local_attention`"),
            ("local_attention", json!(1u64 << 40), "`local_attention`"),
            ("global_rope_theta", json!("large"), "`global_rope_theta`"),
            ("global_rope_theta", json!(0), "`global_rope_theta`"),
            ("rope_parameters", json!([1]), "`rope_parameters`"),
            ("rope_parameters", named, "`rope_parameters.full_attention.rope_type`"),
            ("hidden_activation", json!("tanh"), "`hidden_activation`"),
            ("num_hidden_layers", json!(1u64 << 60), "`num_hidden_layers`"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{key}: {error}");
        }
    }
}
