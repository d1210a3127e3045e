//! Parts of the encoder by the names of their parameters.

use super::config::{Config, PositionEmbedding};
use super::dropout::Dropouts;
use super::encoder::Inputs;
use crate::Result;
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::add::add;
use crate::ops::add_bias::add_bias;
use crate::ops::attention::{Heads, Probabilities, attention_with_dropout, attention_with_probabilities};
use crate::ops::gelu::gelu;
use crate::ops::layer_norm::layer_norm;
use crate::ops::matmul::linear;
use crate::tensor::Tensor;

/// Records what is to be done with the attention probabilities of a layer.
pub type Probe<'a> = dyn FnMut(&mut Graph, Probabilities) -> Result<()> + 'a;

/// Records parts of a model of `config`.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub config: &'a Config,
    pub parameters: &'a Parameters,
    pub dropouts: Option<&'a Dropouts>,
}

impl<'a> Layers<'a> {
    /// Without dropout.
    pub fn new(config: &'a Config, parameters: &'a Parameters) -> Self {
        Layers { config, parameters, dropouts: None }
    }

    /// LayerNorm with `{name}.weight` and `{name}.bias`.
    pub fn norm(&self, graph: &mut Graph, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.parameters.tensor(graph, &format!("{name}.weight"))?;
        let bias = self.parameters.tensor(graph, &format!("{name}.bias"))?;
        layer_norm(graph, x, &weight, &bias, self.config.layer_norm_eps as f32)
    }

    /// `x [N, in] · {name}.weight [out, in]ᵀ`, plus `{name}.bias` where the family has biases, plus `residual`.
    pub fn dense(
        &self,
        graph: &mut Graph,
        x: &Tensor,
        name: &str,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        if self.config.use_bias {
            return self.biased(graph, x, name, residual);
        }
        let weight = self.parameters.tensor(graph, &format!("{name}.weight"))?;
        let y = linear(graph, x, &weight)?;
        match residual {
            Some(residual) => add(graph, residual, &y),
            None => Ok(y),
        }
    }

    /// [`Layers::dense`] with a bias whatever the family.
    pub fn biased(
        &self,
        graph: &mut Graph,
        x: &Tensor,
        name: &str,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weight = self.parameters.tensor(graph, &format!("{name}.weight"))?;
        let bias = self.parameters.tensor(graph, &format!("{name}.bias"))?;
        let y = linear(graph, x, &weight)?;
        add_bias(graph, &y, &bias, residual)
    }

    /// [`Layers::dense`], then dropout, then plus `residual`.
    fn residual(&self, graph: &mut Graph, x: &Tensor, name: &str, residual: &Tensor) -> Result<Tensor> {
        if self.dropouts.is_none_or(|dropouts| dropouts.hidden == 0.0) {
            return self.dense(graph, x, name, Some(residual));
        }
        let y = self.dense(graph, x, name, None)?;
        let y = Dropouts::hidden(self.dropouts, graph, y, name)?;
        add(graph, residual, &y)
    }

    /// `residual` plus the self-attention of layer `layer` over `x [N, C]`; `probe`, if there is one, sees its
    /// probabilities.
    pub fn attend(
        &self,
        graph: &mut Graph,
        x: &Tensor,
        layer: &str,
        inputs: &Inputs,
        residual: &Tensor,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor> {
        let config = self.config;
        let names =
            |end| ["query", "key", "value"].map(|part| format!("{layer}.attention.self.{part}.{end}"));
        let weight = self.parameters.stacked(graph, &names("weight"))?; // [3C, C]
        let mut qkv = linear(graph, x, &weight)?; // [N, 3C]
        if config.use_bias {
            let bias = self.parameters.stacked(graph, &names("bias"))?;
            qkv = add_bias(graph, &qkv, &bias, None)?;
        }
        let distances = match config.position_embedding_type {
            PositionEmbedding::Absolute => None,
            PositionEmbedding::RelativeBucket => {
                let name = format!("{layer}.attention.self.distance_embedding.weight");
                Some(self.parameters.tensor(graph, &name)?)
            }
        };
        let heads =
            Heads { sequences: inputs.sequences, tokens: inputs.tokens, heads: config.num_attention_heads };
        let dropout = Dropouts::attention(self.dropouts, &format!("{layer}.attention.self"));
        let (distances, bounds, dropout) = (distances.as_ref(), &inputs.bounds, dropout.as_ref());
        let attended = match probe {
            None => attention_with_dropout(graph, &qkv, distances, bounds, heads, dropout)?,
            Some(probe) => {
                let (attended, probabilities) =
                    attention_with_probabilities(graph, &qkv, distances, bounds, heads, dropout)?;
                probe(graph, probabilities)?;
                attended
            }
        };
        self.residual(graph, &attended, &format!("{layer}.attention.output.dense"), residual)
    }

    /// `residual` plus the feed-forward part of layer `layer` over `x [N, C]`.
    pub fn feed_forward(
        &self,
        graph: &mut Graph,
        x: &Tensor,
        layer: &str,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let inner = self.dense(graph, x, &format!("{layer}.intermediate.dense"), None)?; // [N, F]
        let inner = gelu(graph, &inner)?;
        self.residual(graph, &inner, &format!("{layer}.output.dense"), residual)
    }
}
