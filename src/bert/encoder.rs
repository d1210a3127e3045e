//! From token ids to hidden states (Devlin et al. 2019, with the norms before each part and relative
//! positions as in Shaw et al. 2018).

use super::config::{Config, PositionEmbedding};
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::add::add;
use crate::ops::attention::{Heads, attention};
use crate::ops::embedding::embedding;
use crate::ops::gelu::gelu;
use crate::ops::layer_norm::layer_norm;
use crate::ops::matmul::linear;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Token ids with the index that their gradient needs (see [`crate::ops::embedding::index`]).
#[derive(Debug, Clone)]
pub struct Ids {
    /// `[N]` u32.
    pub ids: Tensor,
    /// The index of `ids`.
    pub index: Tensor,
}

/// What one batch feeds to the encoder. N = B·T rows.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// B.
    pub sequences: usize,
    /// T.
    pub tokens: usize,
    /// The tokens.
    pub words: Ids,
    /// The position of each row in its sequence; needed for absolute positions only.
    pub positions: Option<Ids>,
    /// `[N, 2]` u32: the range of positions that each row attends to.
    pub bounds: Tensor,
}

/// The hidden states of all floors of the encoder, each `[N, C]`.
pub struct Hidden {
    /// After the embeddings and their norm.
    pub embeddings: Tensor,
    /// After each layer.
    pub layers: Vec<Tensor>,
    /// After the last norm.
    pub last: Tensor,
}

/// Records the encoder.
///
/// # Errors
/// [`Error::Shape`] and [`Error::Config`] when inputs and parameters do not fit the configuration.
pub fn encode(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    inputs: &Inputs,
) -> Result<Hidden> {
    let norm = |graph: &mut Graph, x: &Tensor, name: &str| {
        let weight = parameters.tensor(graph, &format!("{name}.weight"))?;
        let bias = parameters.tensor(graph, &format!("{name}.bias"))?;
        layer_norm(graph, x, &weight, &bias, config.layer_norm_eps as f32)
    };
    let dense = |graph: &mut Graph, x: &Tensor, name: &str| {
        let weight = parameters.tensor(graph, &format!("{name}.weight"))?;
        linear(graph, x, &weight)
    };

    let table = parameters.tensor(graph, "bert.embeddings.word_embeddings.weight")?;
    let mut x = embedding(graph, &table, &inputs.words.ids, &inputs.words.index)?; // [N, C]
    if config.position_embedding_type == PositionEmbedding::Absolute {
        let positions = inputs.positions.as_ref().filter(|_| inputs.tokens <= config.max_position_embeddings);
        let positions = positions.ok_or_else(|| Error::Shape {
            operation: "position embeddings",
            expected: format!("positions below {}", config.max_position_embeddings),
            found: format!("{} tokens", inputs.tokens),
        })?;
        let table = parameters.tensor(graph, "bert.embeddings.position_embeddings.weight")?;
        let position = embedding(graph, &table, &positions.ids, &positions.index)?;
        x = add(graph, &x, &position)?;
    }
    let embeddings = norm(graph, &x, "bert.embeddings.LayerNorm")?;

    let heads =
        Heads { sequences: inputs.sequences, tokens: inputs.tokens, heads: config.num_attention_heads };
    let mut x = embeddings.clone();
    let mut layers = Vec::new();
    for i in 0..config.num_hidden_layers {
        let layer = format!("bert.encoder.layer.{i}");
        let normed = norm(graph, &x, &format!("{layer}.attention.LayerNorm"))?;
        let names = ["query", "key", "value"].map(|part| format!("{layer}.attention.self.{part}.weight"));
        let weight = parameters.stacked(graph, &names)?; // [3C, C]
        let qkv = linear(graph, &normed, &weight)?; // [N, 3C]
        let distances = match config.position_embedding_type {
            PositionEmbedding::Absolute => None,
            PositionEmbedding::RelativeBucket => {
                Some(parameters.tensor(graph, &format!("{layer}.attention.self.distance_embedding.weight"))?)
            }
        };
        let attended = attention(graph, &qkv, distances.as_ref(), &inputs.bounds, heads)?;
        let attended = dense(graph, &attended, &format!("{layer}.attention.output.dense"))?;
        x = add(graph, &x, &attended)?;

        let normed = norm(graph, &x, &format!("{layer}.intermediate.LayerNorm"))?;
        let inner = dense(graph, &normed, &format!("{layer}.intermediate.dense"))?; // [N, F]
        let inner = gelu(graph, &inner)?;
        let output = dense(graph, &inner, &format!("{layer}.output.dense"))?;
        x = add(graph, &x, &output)?;
        layers.push(x.clone());
    }
    let last = norm(graph, &x, "bert.LayerNorm")?;
    Ok(Hidden { embeddings, layers, last })
}
