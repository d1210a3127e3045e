//! What stands on an encoder: the masked-language-model head, which projects only the rows that are masked, the pooler
//! and the classifier.

use super::config::Config;
use super::pooling::Pooling;
use crate::nn::{Context, DropoutSite, Init, LayerNorm, Linear, Scope};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::gather_rows::gather_rows;
use crate::ops::gelu::gelu;
use crate::ops::linear_cross_entropy::linear_cross_entropy;
use crate::ops::matmul::affine;
use crate::ops::tanh::tanh;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// What stands on an encoder; each is there only in models that have it.
#[derive(Debug, Default)]
pub struct Heads {
    /// Guesses masked tokens.
    pub masked: Option<MaskedHead>,
    /// Makes a vector of the first token's.
    pub pooler: Option<Pooler>,
    /// Tells classes apart, or gives a number.
    pub classifier: Option<Classifier>,
}

/// The masked-language-model head: a decoder, in most families behind a transform.
#[derive(Debug)]
pub struct MaskedHead {
    /// `norm(gelu(linear(x)))`.
    pub transform: Option<(Linear, LayerNorm)>,
    /// The logits of all tokens; its weight is the table of word embeddings where the two are tied.
    pub decoder: Linear,
}

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

impl MaskedHead {
    /// `[M, C]`: `rows [M]` of `hidden [N, C]` as the decoder takes them.
    pub(super) fn transformed(
        &self,
        context: &mut Context,
        hidden: &Tensor,
        rows: &Tensor,
    ) -> Result<Tensor> {
        let masked = gather_rows(context.graph, hidden, rows)?;
        let Some((linear, norm)) = &self.transform else { return Ok(masked) };
        let masked = linear.forward(context, &masked, None)?;
        let masked = gelu(context.graph, &masked)?;
        norm.forward(context, &masked)
    }

    /// See [`super::Model::masked_logits`].
    pub(super) fn logits(&self, context: &mut Context, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let masked = self.transformed(context, hidden, rows)?;
        let decoder = self.decoder.affine(context)?;
        affine(context.graph, &masked, &decoder, None)
    }

    /// See [`super::Model::masked_loss`].
    pub(super) fn loss(
        &self,
        context: &mut Context,
        hidden: &Tensor,
        targets: &Targets,
    ) -> Result<CrossEntropy> {
        let masked = self.transformed(context, hidden, &targets.rows)?;
        let decoder = self.decoder.affine(context)?;
        let (weight, bias) = (&decoder.weight, decoder.bias.as_ref());
        linear_cross_entropy(context.graph, &masked, weight, bias, &targets.labels, &targets.weights)
    }
}

/// `tanh(linear(x))` (Devlin et al. 2018).
#[derive(Debug)]
pub struct Pooler(pub Linear);

impl Pooler {
    /// `[B, C]` of `x [B, C]`.
    pub(super) fn forward(&self, context: &mut Context, x: &Tensor) -> Result<Tensor> {
        let dense = self.0.forward(context, x, None)?;
        tanh(context.graph, &dense)
    }
}

/// The last layer of a classifier, after dropout.
#[derive(Debug)]
pub struct Classifier {
    /// `[K, C]`.
    pub linear: Linear,
    /// Where it drops.
    pub dropout: DropoutSite,
}

impl Heads {
    /// Declares what reads one vector of a text, where `config` asks for it: `bert.pooler.dense` and `classifier`, as
    /// Hugging Face's BERT calls them.
    pub(super) fn on_a_text(config: &Config, scope: &mut Scope) -> Heads {
        let (c, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        let mut linear = |name: &str, out: usize| Linear::new(scope, name, [out, c], init, true);
        let pooler = config.pooler.then(|| Pooler(linear("bert.pooler.dense", c)));
        let linear = config.is_classifier().then(|| linear("classifier", config.labels.len()));
        let dropout = DropoutSite::new(scope, "classifier");
        Heads { masked: None, pooler, classifier: linear.map(|linear| Classifier { linear, dropout }) }
    }

    /// See [`super::Model::pooled`].
    pub(super) fn pooled(&self, context: &mut Context, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let first = gather_rows(context.graph, hidden, rows)?;
        self.pooler.as_ref().ok_or_else(|| lacks("pooler"))?.forward(context, &first)
    }

    /// See [`super::Model::classify`].
    pub(super) fn classify(
        &self,
        context: &mut Context,
        pooling: Pooling,
        hidden: &Tensor,
        slots: &Tensor,
    ) -> Result<Tensor> {
        let Classifier { linear, dropout } =
            self.classifier.as_ref().ok_or_else(|| lacks("head that classifies"))?;
        let mut read = pooling.record(context.graph, hidden, slots)?;
        if let Some(pooler) = &self.pooler {
            read = pooler.forward(context, &read)?;
        }
        let read = dropout.hidden(context, read)?;
        linear.forward(context, &read, None)
    }

    /// The masked-language-model head.
    pub(super) fn masked(&self) -> Result<&MaskedHead> {
        self.masked.as_ref().ok_or_else(|| lacks("masked-language-model head"))
    }
}

/// A model is asked for what it does not have.
fn lacks(what: &str) -> Error {
    Error::config("architectures", format!("a model with a {what}"), "one without")
}
