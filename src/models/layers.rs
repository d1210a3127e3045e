//! Parts of the encoder by the names of their parameters.

use super::config::{Config, PositionEmbedding};
use super::dropout::Dropouts;
use super::inputs::Inputs;
use crate::Result;
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::add::add;
use crate::ops::attention::{Heads, Probabilities, attention_with_dropout, attention_with_probabilities};
use crate::ops::layer_norm::layer_norm;
use crate::ops::matmul::{Affine, affine, feed_forward};
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
        let layer = self.affine(graph, name)?;
        affine(graph, x, &layer, residual)
    }

    /// The parameters of [`Layers::dense`].
    fn affine(&self, graph: &mut Graph, name: &str) -> Result<Affine> {
        let weight = self.parameters.tensor(graph, &format!("{name}.weight"))?;
        let bias = match self.config.use_bias {
            true => Some(self.parameters.tensor(graph, &format!("{name}.bias"))?),
            false => None,
        };
        Ok(Affine { weight, bias })
    }

    /// [`Layers::dense`] with a bias whatever the family.
    pub fn biased(&self, graph: &mut Graph, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.parameters.tensor(graph, &format!("{name}.weight"))?;
        let bias = Some(self.parameters.tensor(graph, &format!("{name}.bias"))?);
        affine(graph, x, &Affine { weight, bias }, None)
    }

    /// What `compute` makes of a residual that it may add itself; with dropout, which comes first, it is added here.
    fn residual(
        &self,
        graph: &mut Graph,
        name: &str,
        residual: &Tensor,
        compute: impl FnOnce(&mut Graph, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.dropouts.is_none_or(|dropouts| dropouts.hidden == 0.0) {
            return compute(graph, Some(residual));
        }
        let y = compute(graph, None)?;
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
        let bias = match config.use_bias {
            true => Some(self.parameters.stacked(graph, &names("bias"))?),
            false => None,
        };
        let qkv = affine(graph, x, &Affine { weight, bias }, None)?; // [N, 3C]
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
        let name = format!("{layer}.attention.output.dense");
        self.residual(graph, &name, residual, |graph, added| self.dense(graph, &attended, &name, added))
    }

    /// `residual` plus the feed-forward part of layer `layer` over `x [N, C]`.
    pub fn feed_forward(
        &self,
        graph: &mut Graph,
        x: &Tensor,
        layer: &str,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let name = format!("{layer}.output.dense");
        let inner = self.affine(graph, &format!("{layer}.intermediate.dense"))?;
        let outer = self.affine(graph, &name)?;
        self.residual(graph, &name, residual, |graph, added| feed_forward(graph, x, [&inner, &outer], added))
    }
}
