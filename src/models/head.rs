//! What stands on the encoder: the masked-language-model head, which projects only the rows that are to be guessed,
//! and the pooler.

use super::config::{Config, ModelType};
use super::layers::Layers;
use crate::Result;
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::gather_rows::gather_rows;
use crate::ops::gelu::gelu;
use crate::ops::linear_cross_entropy::linear_cross_entropy;
use crate::ops::matmul::{Affine, affine};
use crate::ops::tanh::tanh;
use crate::tensor::Tensor;

/// What is to be guessed in a batch: M rows, some of which may be unused.
#[derive(Debug, Clone)]
pub struct Targets {
    /// `[M]` u32: rows of the hidden states; `u32::MAX` for an unused one.
    pub rows: Tensor,
    /// `[M]` u32: the tokens that were there.
    pub labels: Tensor,
    /// `[M]` f32: what each row counts in the loss; 0 for an unused one.
    pub weights: Tensor,
}

/// `[M, V']`: for each of `rows [M]` of `hidden [N, C]` the logits of all tokens. V' is the vocabulary rounded
/// up to a multiple of 4; the columns beyond it are unspecified.
///
/// # Errors
/// [`crate::Error::Shape`] when the parameters do not fit.
pub fn mlm_logits(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    rows: &Tensor,
) -> Result<Tensor> {
    let guessed = transformed(graph, config, parameters, hidden, rows)?;
    let (weight, bias) = decoder(graph, config, parameters)?;
    affine(graph, &guessed, &Affine { weight, bias }, None)
}

/// `[M, C]`: `rows [M]` of `hidden [N, C]` as the decoder takes them.
fn transformed(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    rows: &Tensor,
) -> Result<Tensor> {
    let guessed = gather_rows(graph, hidden, rows)?;
    if config.model_type == ModelType::Wgrad {
        return Ok(guessed);
    }
    let part = Layers::new(config, parameters);
    let guessed = part.dense(graph, &guessed, "cls.predictions.transform.dense", None)?;
    let guessed = gelu(graph, &guessed)?;
    part.norm(graph, &guessed, "cls.predictions.transform.LayerNorm")
}

/// The decoder's weight `[V, C]`, and its bias `[V]` in the family that has one.
fn decoder(graph: &mut Graph, config: &Config, parameters: &Parameters) -> Result<(Tensor, Option<Tensor>)> {
    let name =
        if config.tie_word_embeddings { Config::WORD_EMBEDDINGS } else { "cls.predictions.decoder.weight" };
    let bias = match config.model_type {
        ModelType::Wgrad => None,
        ModelType::Bert => Some(parameters.tensor(graph, "cls.predictions.bias")?),
    };
    Ok((parameters.tensor(graph, name)?, bias))
}

/// `tanh(dense(x))` of each of `rows [B]` of `hidden [N, C]`: the first token of each sequence. The result is
/// `[B, C]`.
///
/// # Errors
/// [`crate::Error::Config`] for a model without a pooler.
pub fn pooled(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    rows: &Tensor,
) -> Result<Tensor> {
    let first = gather_rows(graph, hidden, rows)?;
    pooler(graph, config, parameters, &first)
}

/// `tanh(dense(x))`, of `x [B, C]`.
pub(super) fn pooler(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    x: &Tensor,
) -> Result<Tensor> {
    let dense = Layers::new(config, parameters).biased(graph, x, "bert.pooler.dense")?;
    tanh(graph, &dense)
}

/// The weighted cross entropy of each target in nats `[M]`, and whether each guess was right `[M]` (1 or 0). However
/// many targets there are, the logits are computed in chunks that one binding holds.
///
/// # Errors
/// As [`mlm_logits`].
pub fn mlm_loss(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    targets: &Targets,
) -> Result<CrossEntropy> {
    let guessed = transformed(graph, config, parameters, hidden, &targets.rows)?;
    let (weight, bias) = decoder(graph, config, parameters)?;
    linear_cross_entropy(graph, &guessed, &weight, bias.as_ref(), &targets.labels, &targets.weights)
}
