//! What must hold of a configuration before anything is computed with it.

use serde::Serialize;
use serde_json::{Value, json};

use super::config::{Config, MAX_POSITIONS, PositionEmbedding, ProblemType};
use crate::nn::ParameterSpec;
use crate::{Error, Result};

// Bounds that keep every product of sizes inside 32-bit shader indices and 64-bit byte counts.
const MAX_VOCABULARY: usize = 1 << 20;
const MAX_WIDTH: usize = 1 << 13;
const MAX_INNER: usize = 1 << 16;
const MAX_LAYERS: usize = 256;
const MAX_BUCKETS: usize = 1 << 8;
const MAX_TYPES: usize = 1 << 8;
pub(crate) const MAX_LABELS: usize = 1 << 16;
const MAX_TENSOR: usize = 1 << 30;

impl Config {
    /// Checks that the sizes fit each other, the kernels' alignment and the arithmetic done on them.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first field at fault.
    pub fn validate(&self) -> Result<()> {
        fn within(field: &str, value: usize, low: usize, high: usize) -> Result<()> {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(field, format!("a number from {low} to {high}"), value))
        }
        fn positive(field: &str, value: f64) -> Result<()> {
            if value > 0.0 && value < 1.0 {
                return Ok(());
            }
            Err(Error::config(field, "a number above 0 and below 1", value))
        }
        fn multiple(field: &str, value: usize, of: usize) -> Result<()> {
            if value.is_multiple_of(of) {
                return Ok(());
            }
            Err(Error::config(field, format!("a multiple of {of}"), value))
        }

        if self.architectures.len() != 1 {
            return Err(Error::config("architectures", "one entry", self.architectures.len()));
        }
        within("vocab_size", self.vocab_size, 5, MAX_VOCABULARY)?;
        within("hidden_size", self.hidden_size, 8, MAX_WIDTH)?;
        within("num_hidden_layers", self.num_hidden_layers, 1, MAX_LAYERS)?;
        within("num_attention_heads", self.num_attention_heads, 1, self.hidden_size)?;
        within("intermediate_size", self.intermediate_size, 8, MAX_INNER)?;
        within("max_position_embeddings", self.max_position_embeddings, 1, MAX_POSITIONS)?;
        within("relative_attention_num_buckets", self.relative_attention_num_buckets, 2, MAX_BUCKETS)?;
        multiple("relative_attention_num_buckets", self.relative_attention_num_buckets, 2)?;
        multiple("hidden_size", self.hidden_size, 4)?;
        within("embedding_size", self.embedding_width(), 4, MAX_WIDTH)?;
        multiple("embedding_size", self.embedding_width(), 4)?;
        multiple("intermediate_size", self.intermediate_size, 4)?;
        let heads = self.num_attention_heads;
        if !self.hidden_size.is_multiple_of(heads) {
            let expected = format!("a multiple of `num_attention_heads` ({heads})");
            return Err(Error::config("hidden_size", expected, self.hidden_size));
        }
        if self.rotary.is_some() && !self.head_size().is_multiple_of(2) {
            let expected =
                "a divisor of `hidden_size` that leaves heads of two halves, which rotary positions turn";
            let found = format!("{heads}, which gives heads of {}", self.head_size());
            return Err(Error::config("num_attention_heads", expected, found));
        }
        within("type_vocab_size", self.type_vocab_size, 0, MAX_TYPES)?;
        within("id2label", self.labels.len(), 0, MAX_LABELS)?;
        positive("layer_norm_eps", self.layer_norm_eps)?;
        positive("initializer_range", self.initializer_range)?;
        let rotary = self.position_embedding_type == PositionEmbedding::Rotary;
        if rotary != self.rotary.is_some() {
            let expected = if rotary { "another where no `rotary` says how" } else { "`rotary`" };
            let found = json!(self.position_embedding_type);
            return Err(Error::config("position_embedding_type", expected, found));
        }
        if let Some(rotary) = &self.rotary {
            rotary.validate(self.num_hidden_layers)?;
        }
        self.validate_family()?;
        for (field, share) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::config(field, "a number from 0 to below 1", share));
            }
        }
        let specials = [
            ("pad_token_id", self.pad_token_id),
            ("cls_token_id", self.cls_token_id),
            ("sep_token_id", self.sep_token_id),
            ("mask_token_id", self.mask_token_id),
        ];
        for (i, &(field, id)) in specials.iter().enumerate() {
            if id as usize >= self.vocab_size {
                let expected = format!("below `vocab_size` ({})", self.vocab_size);
                return Err(Error::config(field, expected, id));
            }
            if let Some((other, _)) = specials[..i].iter().find(|(_, earlier)| *earlier == id) {
                return Err(Error::config(field, format!("different from `{other}`"), id));
            }
        }
        let largest = self.parameters().into_iter().max_by_key(ParameterSpec::elements);
        if let Some(spec) = largest.filter(|spec| spec.elements() > MAX_TENSOR) {
            let expected = format!("sizes that keep every tensor within {MAX_TENSOR} elements");
            let found = format!("{} for `{}`", spec.elements(), spec.name);
            return Err(Error::config("vocab_size and hidden_size", expected, found));
        }
        Ok(())
    }

    /// Checks a value that all models of the family have in common.
    ///
    /// # Errors
    /// [`Error::Config`] where `found` is another than `expected`.
    pub(super) fn require<T: PartialEq + Serialize>(&self, field: &str, expected: T, found: T) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        // As `config.json` spells them.
        let [expected, found] = [expected, found].map(|value| match json!(value) {
            Value::String(word) => word,
            other => other.to_string(),
        });
        let family = self.model_type.name();
        Err(Error::config(field, format!("{expected} where `model_type` is `{family}`"), found))
    }

    /// Checks that the activation can be that of a gate.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot.
    pub(super) fn require_gate(&self) -> Result<()> {
        match self.hidden_act.gate() {
            Some(_) => Ok(()),
            None => Err(Error::config("hidden_act", "gelu, gelu_new, relu or silu", "tanh")),
        }
    }

    /// Checks what stands on the encoder, and what the family says.
    fn validate_family(&self) -> Result<()> {
        if self.head().is_none() {
            let classes: Vec<&str> = self.family().architectures().iter().map(|(class, _)| *class).collect();
            let expected =
                format!("one of {} where `model_type` is `{}`", classes.join(", "), self.model_type.name());
            return Err(Error::config("architectures", expected, self.architectures.join(", ")));
        }
        let numbers = self.problem_type == Some(ProblemType::Regression);
        let classifies = self.is_classifier() || self.is_token_classifier();
        if classifies && (self.labels.is_empty() || (numbers && self.labels.len() != 1)) {
            let expected = if numbers { "one name" } else { "at least one name" };
            return Err(Error::config("id2label", expected, self.labels.len()));
        }
        self.family().validate(self)
    }
}
