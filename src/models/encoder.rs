//! From token ids to hidden states (Devlin et al. 2018), with the norms after each part as there or before it,
//! and with absolute positions as there or relative ones (Shaw et al. 2018).

use super::config::{Config, NormPosition, PositionEmbedding};
use super::dropout::Dropouts;
use super::inputs::{Ids, Inputs, Words};
use super::layers::{Layers, Probe};
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::add::add;
use crate::ops::embedding::embedding;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// The hidden states of all floors of the encoder, each `[N, C]`.
pub struct Hidden {
    /// After the embeddings and their norm.
    pub embeddings: Tensor,
    /// After each layer.
    pub layers: Vec<Tensor>,
    /// After the last norm: the last layer's where each ends in one.
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
    record(graph, config, parameters, inputs, None, None)
}

/// [`encode`] with dropout.
///
/// # Errors
/// As [`encode`].
pub fn encode_with(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    inputs: &Inputs,
    dropouts: Option<&Dropouts>,
) -> Result<Hidden> {
    record(graph, config, parameters, inputs, dropouts, None)
}

/// [`encode`], with `probe` called after the attention of each layer, first to last.
///
/// # Errors
/// As [`encode`], and those of `probe`.
pub fn encode_probed(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    inputs: &Inputs,
    probe: &mut Probe,
) -> Result<Hidden> {
    record(graph, config, parameters, inputs, None, Some(probe))
}

fn record(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    inputs: &Inputs,
    dropouts: Option<&Dropouts>,
    mut probe: Option<&mut Probe>,
) -> Result<Hidden> {
    let part = Layers { dropouts, ..Layers::new(config, parameters) };
    let embeddings = embed(graph, part, inputs)?;
    let mut x = embeddings.clone();
    let mut layers = Vec::new();
    for i in 0..config.num_hidden_layers {
        let layer = format!("bert.encoder.layer.{i}");
        x = match config.norm_position {
            NormPosition::Pre => {
                let normed = part.norm(graph, &x, &format!("{layer}.attention.LayerNorm"))?;
                let x = part.attend(graph, &normed, &layer, inputs, &x, probe.as_deref_mut())?;
                let normed = part.norm(graph, &x, &format!("{layer}.intermediate.LayerNorm"))?;
                part.feed_forward(graph, &normed, &layer, &x)?
            }
            NormPosition::Post => {
                let x = part.attend(graph, &x, &layer, inputs, &x, probe.as_deref_mut())?;
                let x = part.norm(graph, &x, &format!("{layer}.attention.output.LayerNorm"))?;
                let x = part.feed_forward(graph, &x, &layer, &x)?;
                part.norm(graph, &x, &format!("{layer}.output.LayerNorm"))?
            }
        };
        layers.push(x.clone());
    }
    let last = match config.norm_position {
        NormPosition::Pre => part.norm(graph, &x, "bert.LayerNorm")?,
        NormPosition::Post => x,
    };
    Ok(Hidden { embeddings, layers, last })
}

/// The normed sum of the embeddings of words, positions and token types `[N, C]`.
fn embed(graph: &mut Graph, part: Layers, inputs: &Inputs) -> Result<Tensor> {
    let Layers { config, parameters, dropouts } = part;
    let look_up = |graph: &mut Graph, name: &str, ids: &Ids| {
        let table = parameters.tensor(graph, &format!("bert.embeddings.{name}.weight"))?;
        embedding(graph, &table, &ids.ids, &ids.index)
    };
    let mut x = match &inputs.words {
        Words::Ids(ids) => look_up(graph, "word_embeddings", ids)?,
        Words::Rows(rows) => rows.clone(),
    };
    if config.position_embedding_type == PositionEmbedding::Absolute {
        let positions = inputs.positions.as_ref().filter(|_| inputs.tokens <= config.max_position_embeddings);
        let positions = positions.ok_or_else(|| Error::Shape {
            operation: "position embeddings",
            expected: format!("positions below {}", config.max_position_embeddings),
            found: format!("{} tokens", inputs.tokens),
        })?;
        let position = look_up(graph, "position_embeddings", positions)?;
        x = add(graph, &x, &position)?;
    }
    if config.type_vocab_size > 0 {
        let types = inputs.types.as_ref().ok_or_else(|| Error::Shape {
            operation: "token type embeddings",
            expected: "a token type for each row".into(),
            found: "none".into(),
        })?;
        let types = look_up(graph, "token_type_embeddings", types)?;
        x = add(graph, &x, &types)?;
    }
    let normed = part.norm(graph, &x, "bert.embeddings.LayerNorm")?;
    Dropouts::hidden(dropouts, graph, normed, "bert.embeddings")
}
