//! The one list of a model's parameters: names, shapes, starting values, roles.

use super::config::{Config, HeadInit, ModelType, PositionEmbedding};
use crate::nn::Role;

/// How a parameter's values start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal around 0 with this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// All 1.
    Ones,
    /// All 0.
    Zeros,
}

/// One parameter of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Its name in `model.safetensors`.
    pub name: String,
    /// Its shape, row-major; a linear layer is `[out, in]`.
    pub shape: Vec<usize>,
    /// How its values start.
    pub init: Init,
    /// What it is for: an optimizer may treat it by that.
    pub role: Role,
}

impl ParameterSpec {
    /// The number of values; the largest `usize` when there are more, which no valid configuration has.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &size| n.saturating_mul(size))
    }
}

impl Config {
    /// The name of the table of word embeddings.
    pub const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";

    /// Every parameter, in the order of files and optimizer state. The configuration must be valid.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let (v, c, f, d) = (self.vocab_size, self.hidden_size, self.intermediate_size, self.head_size());
        let normal = Init::Normal(self.initializer_range);
        // Keeps the residual stream's variance from growing with depth (Radford et al. 2019).
        let residual = Init::Normal(self.initializer_range / (2.0 * self.num_hidden_layers as f64).sqrt());
        let relative = self.position_embedding_type == PositionEmbedding::RelativeBucket;
        let bert = self.model_type == ModelType::Bert;

        let mut list = List { specs: Vec::new(), bias: self.use_bias };
        list.add(Config::WORD_EMBEDDINGS, &[v, c], normal);
        if !relative {
            list.add(
                "bert.embeddings.position_embeddings.weight",
                &[self.max_position_embeddings, c],
                normal,
            );
        }
        if self.type_vocab_size > 0 {
            list.add("bert.embeddings.token_type_embeddings.weight", &[self.type_vocab_size, c], normal);
        }
        list.norm("bert.embeddings.LayerNorm", c);
        for i in 0..self.num_hidden_layers {
            let layer = format!("bert.encoder.layer.{i}");
            if !bert {
                list.norm(&format!("{layer}.attention.LayerNorm"), c);
            }
            for projection in ["query", "key", "value"] {
                list.add(&format!("{layer}.attention.self.{projection}.weight"), &[c, c], normal);
            }
            for projection in ["query", "key", "value"] {
                list.bias(&format!("{layer}.attention.self.{projection}"), c);
            }
            if relative {
                let shape = [self.relative_attention_num_buckets, d];
                list.add(&format!("{layer}.attention.self.distance_embedding.weight"), &shape, normal);
            }
            let output = if bert { normal } else { residual };
            list.dense(&format!("{layer}.attention.output.dense"), [c, c], output);
            let norm = if bert { "attention.output.LayerNorm" } else { "intermediate.LayerNorm" };
            list.norm(&format!("{layer}.{norm}"), c);
            list.dense(&format!("{layer}.intermediate.dense"), [f, c], normal);
            list.dense(&format!("{layer}.output.dense"), [c, f], normal);
            if bert {
                list.norm(&format!("{layer}.output.LayerNorm"), c);
            }
        }
        if !bert {
            list.norm("bert.LayerNorm", c);
        }
        if self.pooler {
            list.biased("bert.pooler.dense", [c, c], normal);
        }
        if self.classifies() {
            list.biased("classifier", [self.labels.len(), c], normal);
        }
        if self.guesses() {
            if bert {
                list.dense("cls.predictions.transform.dense", [c, c], normal);
                list.norm("cls.predictions.transform.LayerNorm", c);
                list.add("cls.predictions.bias", &[v], Init::Zeros);
            }
            if !self.tie_word_embeddings {
                let head = match self.head_init {
                    HeadInit::Uniform => Init::Uniform(1.0 / (c as f64).sqrt()),
                    HeadInit::Normal => normal,
                };
                list.add("cls.predictions.decoder.weight", &[v, c], head);
            }
        }
        list.specs
    }

    /// The number of trained values.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|spec| spec.elements() as u64).sum()
    }
}

/// How the names of what stands above the encoder begin.
const HEADS: [&str; 3] = ["bert.pooler.", "classifier.", "cls."];

struct List {
    specs: Vec<ParameterSpec>,
    /// Whether linear layers have one.
    bias: bool,
}

impl List {
    fn add(&mut self, name: &str, shape: &[usize], init: Init) {
        let role = match shape {
            [] | [_] => Role::Vector,
            _ if name.ends_with("_embeddings.weight") || name.ends_with("_embedding.weight") => {
                Role::Embedding
            }
            _ if HEADS.iter().any(|head| name.starts_with(head)) => Role::Head,
            _ => Role::Matrix,
        };
        self.specs.push(ParameterSpec { name: name.to_string(), shape: shape.to_vec(), init, role });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], Init::Ones);
        self.add(&format!("{name}.bias"), &[width], Init::Zeros);
    }

    fn bias(&mut self, name: &str, width: usize) {
        if self.bias {
            self.add(&format!("{name}.bias"), &[width], Init::Zeros);
        }
    }

    /// `[out, in]`, and `[out]` where linear layers have a bias.
    fn dense(&mut self, name: &str, shape: [usize; 2], init: Init) {
        self.add(&format!("{name}.weight"), &shape, init);
        self.bias(name, shape[0]);
    }

    /// `[out, in]` and `[out]`, whatever the family.
    fn biased(&mut self, name: &str, shape: [usize; 2], init: Init) {
        self.add(&format!("{name}.weight"), &shape, init);
        self.add(&format!("{name}.bias"), &shape[..1], Init::Zeros);
    }
}
