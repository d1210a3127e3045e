//! `wgrad`, this crate's own encoder, after *A BERT for laptops*: norms before each half of a block (Xiong et al.
//! 2020), relative positions (Shaw et al. 2018), no biases, no token types.

use serde_json::{Map, Value, json};

use super::config::{
    Activation, Config, Head, HeadInit, ModelType, NormPosition, PositionEmbedding, default_buckets,
    default_initializer_range,
};
use super::encoder::{Attention, AttentionNames, Embeddings, Encoder, FeedForward, PreNorm, Stack};
use super::family::{Family, TRAINED};
use super::heads::{Heads, MaskedHead, TextHeadNames};
use super::pooling::Pooling;
use crate::nn::{Init, LayerNorm, Linear, Scope};
use crate::{Error, Result};

/// The family.
pub(super) const FAMILIES: &[&dyn Family] = &[&Notebook];

struct Notebook;

impl Family for Notebook {
    fn model_type(&self) -> &'static str {
        "wgrad"
    }

    fn base(&self) -> &'static str {
        "bert"
    }

    fn architectures(&self) -> &'static [(&'static str, Head)] {
        &[
            ("WgradModel", Head::None),
            ("WgradForMaskedLM", Head::Masked),
            ("WgradForSequenceClassification", Head::Classifier),
            ("WgradForTokenClassification", Head::TokenClassifier),
        ]
    }

    fn encoder(&self, config: &Config, scope: &mut Scope) -> Box<dyn Encoder> {
        // Keeps the residual stream's variance from growing with depth (Radford et al. 2019).
        let output = config.initializer_range / (2.0 * config.num_hidden_layers as f64).sqrt();
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let bert = &mut scope.child("bert");
        let embeddings = Embeddings::new(bert, config);
        let stack = Stack::new(bert, config, embeddings, |scope, number| {
            let scope = &mut scope.child(&format!("encoder.layer.{number}"));
            PreNorm {
                attention_norm: Some(LayerNorm::new(scope, "attention.LayerNorm", width, epsilon)),
                attention: Attention::new(
                    &mut scope.child("attention"),
                    config,
                    &AttentionNames::BERT,
                    Init::Normal(output),
                ),
                feed_forward_norm: LayerNorm::new(scope, "intermediate.LayerNorm", width, epsilon),
                feed_forward: FeedForward::new(scope, config, ["intermediate.dense", "output.dense"]),
            }
        });
        Box::new(stack.with_norm(LayerNorm::new(bert, "LayerNorm", width, epsilon)))
    }

    fn heads(&self, config: &Config, scope: &mut Scope, encoder: &dyn Encoder) -> Heads {
        let (v, c) = (config.vocab_size, config.hidden_size);
        let scope = &mut scope.head();
        let heads = Heads::on_a_text(config, scope, &TextHeadNames::BERT);
        let masked = config.is_masked_lm().then(|| {
            let weight = match config.tie_word_embeddings {
                true => encoder.words().table,
                false => scope.matrix(&["cls.predictions.decoder"], [v, c], config.head_init()),
            };
            MaskedHead { transform: None, decoder: Linear { weight, bias: None } }
        });
        Heads { masked, ..heads }
    }

    fn validate(&self, config: &Config) -> Result<()> {
        config.require("norm_position", NormPosition::Pre, config.norm_position)?;
        config.require("use_bias", false, config.use_bias)?;
        config.require("type_vocab_size", 0, config.type_vocab_size)?;
        if !config.is_classifier() {
            config.require("pooler", false, config.pooler)?;
            config.require("classifier_pooling", Pooling::Cls, config.classifier_pooling)?;
        }
        if !matches!(config.classifier_pooling, Pooling::Cls | Pooling::Mean) {
            let found = config.classifier_pooling.name();
            return Err(Error::config("classifier_pooling", "`cls` or `mean`", found));
        }
        Ok(())
    }

    fn further_keys(&self) -> Map<String, Value> {
        // `transformers` takes the architecture from the file that is saved beside this one.
        let classes = [
            ("AutoConfig", "WgradConfig"),
            ("AutoModel", "WgradModel"),
            ("AutoModelForMaskedLM", "WgradForMaskedLM"),
            ("AutoModelForSequenceClassification", "WgradForSequenceClassification"),
            ("AutoModelForTokenClassification", "WgradForTokenClassification"),
        ];
        let places = classes.map(|(auto, class)| (auto.to_owned(), json!(format!("modeling_wgrad.{class}"))));
        Map::from_iter([("auto_map".to_owned(), Value::Object(Map::from_iter(places)))])
    }

    fn python(&self) -> Option<(&'static str, &'static str)> {
        Some(("modeling_wgrad.py", include_str!("modeling_wgrad.py")))
    }

    fn classifier(&self, pooling: Pooling, pooler: bool) -> (Pooling, bool) {
        (pooling, pooler)
    }

    fn joins_pairs_openly(&self) -> bool {
        true
    }

    fn presets(&self) -> &'static [&'static str] {
        &["notebook", "small", "tiny", "micro"]
    }

    fn preset(&self, name: &str) -> Option<Config> {
        let (vocab_size, hidden_size, num_hidden_layers, num_attention_heads, context, head_init) = match name
        {
            "notebook" => (32768, 768, 12, 12, 128, HeadInit::Uniform),
            "small" => (8192, 256, 12, 4, 128, HeadInit::Uniform),
            "tiny" => (8192, 256, 4, 4, 128, HeadInit::Uniform),
            "micro" => (4096, 128, 2, 2, 64, HeadInit::Normal),
            _ => return None,
        };
        let architectures = vec!["WgradForMaskedLM".to_owned()];
        Some(Config {
            architectures,
            model_type: ModelType::new(self.model_type()).ok()?,
            vocab_size,
            hidden_size,
            embedding_size: None,
            num_hidden_layers,
            num_attention_heads,
            intermediate_size: 4 * hidden_size,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            initializer_range: default_initializer_range(),
            position_embedding_type: PositionEmbedding::RelativeBucket,
            relative_attention_num_buckets: default_buckets(),
            max_position_embeddings: context,
            rotary: None,
            norm_position: NormPosition::Pre,
            use_bias: false,
            type_vocab_size: 0,
            tie_word_embeddings: false,
            mask_padding: true,
            head_init,
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

    fn head_flops(&self, config: &Config) -> f64 {
        TRAINED * config.vocab_size as f64 * config.hidden_size as f64
    }
}
