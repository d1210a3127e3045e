//! The head on the first token: classes, or a number.

use super::config::Config;
use super::dropout::Dropouts;
use super::head::pooled;
use super::layers::Layers;
use crate::Result;
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::ops::gather_rows::gather_rows;
use crate::tensor::Tensor;

/// The logits of the classes, or the number, for each of `rows [B]` of `hidden [N, C]`: the first token of each
/// sequence. With a pooler (Devlin et al. 2018) `linear(dropout(tanh(dense(x))))`, else `linear(dropout(x))`. The
/// result is `[B, K']`, the number of labels rounded up to a multiple of 4; the columns beyond are unspecified.
///
/// # Errors
/// [`crate::Error::Config`] for a model without such a head.
pub fn classify(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    rows: &Tensor,
    dropouts: Option<&Dropouts>,
) -> Result<Tensor> {
    let first = match config.pooler {
        true => pooled(graph, config, parameters, hidden, rows)?,
        false => gather_rows(graph, hidden, rows)?,
    };
    let first = Dropouts::hidden(dropouts, graph, first, "classifier")?;
    Layers::new(config, parameters).biased(graph, &first, "classifier", None)
}
