//! The head on a text's first token or the mean over its tokens: classes, or a number.

use super::config::Config;
use super::dropout::Dropouts;
use super::head::pooler;
use super::layers::Layers;
use crate::Result;
use crate::autograd::Graph;
use crate::nn::Parameters;
use crate::tensor::Tensor;

/// The logits of the classes, or the number, for each of B texts with hidden states `[B·T, C]`. x is what
/// `config.classifier_pooling` makes of a text, of which it reads `slots`: see [`super::Pooling::slots`]. With a
/// pooler (Devlin et al. 2018) the result is `linear(dropout(tanh(dense(x))))`, else `linear(dropout(x))`: `[B, K']`
/// with the number of labels rounded up to a multiple of 4; the columns beyond are unspecified.
///
/// # Errors
/// [`crate::Error::Config`] for a model without such a head.
pub fn classify(
    graph: &mut Graph,
    config: &Config,
    parameters: &Parameters,
    hidden: &Tensor,
    slots: &Tensor,
    dropouts: Option<&Dropouts>,
) -> Result<Tensor> {
    let mut read = config.classifier_pooling.record(graph, hidden, slots)?;
    if config.pooler {
        read = pooler(graph, config, parameters, &read)?;
    }
    let read = Dropouts::hidden(dropouts, graph, read, "classifier")?;
    Layers::new(config, parameters).biased(graph, &read, "classifier")
}
