//! What stands on an encoder: the masked-language-model head, which projects only the rows that are masked, the pooler
//! and the classifier.

use super::config::{Activation, Config};
use super::pooling::Pooling;
use crate::nn::{Context, DropoutSite, Embedding, Init, LayerNorm, Linear, Scope};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::gather_rows::gather_rows;
use crate::ops::linear_cross_entropy::linear_cross_entropy;
use crate::ops::matmul::affine;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// What stands on an encoder; each is there only in models that have it.
#[derive(Debug, Default)]
pub struct Heads {
    /// Guesses masked tokens.
    pub masked: Option<MaskedHead>,
    /// Makes a vector of the first token's.
    pub pooler: Option<Pooler>,
    /// Tells classes apart, or gives a number: of a text, or of each token.
    pub classifier: Option<Classifier>,
}

/// The masked-language-model head: a decoder, in most families behind a transform.
#[derive(Debug)]
pub struct MaskedHead {
    /// What comes before the decoder.
    pub transform: Option<Transform>,
    /// The logits of all tokens; its weight is the table of word embeddings where the two are tied.
    pub decoder: Linear,
}

/// `norm(activation(linear(x)))`
#[derive(Debug)]
pub struct Transform {
    /// `[C, C]`, or `[E, C]` where the embeddings are E wide.
    pub linear: Linear,
    /// After the linear layer.
    pub activation: Activation,
    /// Over what the activation gave.
    pub norm: LayerNorm,
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

/// What the parts of a masked-language-model head with a transform are called in files.
pub(super) struct MaskedHeadNames {
    /// The linear layer of the transform.
    pub dense: &'static str,
    /// Its norm.
    pub norm: &'static str,
    /// The bias of the decoder, a vector.
    pub bias: &'static str,
    /// The decoder, where it is not the table of word embeddings.
    pub decoder: &'static str,
}

impl MaskedHead {
    /// Declares a transform and a decoder that ends in `words`, the table of word embeddings, or has a matrix of its own.
    pub(super) fn new(
        scope: &mut Scope,
        config: &Config,
        words: Embedding,
        names: &MaskedHeadNames,
        activation: Activation,
    ) -> Self {
        let (v, c, e) = (config.vocab_size, config.hidden_size, config.embedding_width());
        let init = Init::Normal(config.initializer_range);
        let linear = Linear::new(scope, names.dense, [e, c], init, true);
        let norm = LayerNorm::new(scope, names.norm, e, config.layer_norm_eps);
        let bias = Some(scope.vector(names.bias, v, Init::Zeros));
        let weight = match config.tie_word_embeddings {
            true => words.table,
            false => scope.matrix(&[names.decoder], [v, e], config.head_init()),
        };
        MaskedHead {
            transform: Some(Transform { linear, activation, norm }),
            decoder: Linear { weight, bias },
        }
    }

    /// `[M, C]`: `rows [M]` of `hidden [N, C]` as the decoder takes them.
    pub(super) fn transformed(
        &self,
        context: &mut Context,
        hidden: &Tensor,
        rows: &Tensor,
    ) -> Result<Tensor> {
        let masked = gather_rows(context.graph, hidden, rows)?;
        let Some(Transform { linear, activation, norm }) = &self.transform else { return Ok(masked) };
        let masked = linear.forward(context, &masked, None)?;
        let masked = activation.forward(context.graph, &masked)?;
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

/// `activation(linear(x))`, in some families normed: BERT's has a hyperbolic tangent (Devlin et al. 2018).
#[derive(Debug)]
pub struct Pooler {
    /// `[C, C]`.
    pub linear: Linear,
    /// After it.
    pub activation: Activation,
    /// After that.
    pub norm: Option<LayerNorm>,
    /// Where a classifier drops of what it reads, before this.
    pub dropout: Option<DropoutSite>,
}

impl Pooler {
    /// `[B, C]` of `x [B, C]`.
    pub(super) fn forward(&self, context: &mut Context, x: &Tensor) -> Result<Tensor> {
        let dense = self.linear.forward(context, x, None)?;
        let active = self.activation.forward(context.graph, &dense)?;
        self.norm.map_or(Ok(active.clone()), |norm| norm.forward(context, &active))
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

/// What the heads on one vector of a text are called in files, and how they differ from family to family.
pub(super) struct TextHeadNames {
    /// The pooler of a model that does not classify.
    pub pooler: &'static str,
    /// The layer of a classifier before its last.
    pub classifiers_pooler: &'static str,
    /// After that layer.
    pub classifiers_activation: Activation,
    /// Whether there is dropout before that layer too.
    pub drops_twice: bool,
    /// The last layer.
    pub classifier: &'static str,
}

impl TextHeadNames {
    /// As in Hugging Face's BERT.
    pub(super) const BERT: Self = TextHeadNames {
        pooler: "bert.pooler.dense",
        classifiers_pooler: "bert.pooler.dense",
        classifiers_activation: Activation::Tanh,
        drops_twice: false,
        classifier: "classifier",
    };
}

/// The last layer of a classifier of tokens, which all families call the same.
pub(super) const TOKEN_CLASSIFIER: &str = "classifier";

impl Heads {
    /// Declares what reads one vector of a text, where `config` asks for it: a pooler, and what classifies; or the one layer
    /// that reads every token.
    pub(super) fn on_a_text(config: &Config, scope: &mut Scope, names: &TextHeadNames) -> Heads {
        let (c, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        if config.is_token_classifier() {
            let linear = Linear::new(scope, TOKEN_CLASSIFIER, [config.labels.len(), c], init, true);
            let dropout = DropoutSite::new(scope, TOKEN_CLASSIFIER);
            return Heads { classifier: Some(Classifier { linear, dropout }), ..Heads::default() };
        }
        let classifies = config.is_classifier();
        let mut linear = |name: &str, out: usize| Linear::new(scope, name, [out, c], init, true);
        let name = if classifies { names.classifiers_pooler } else { names.pooler };
        let pooler = config.pooler.then(|| linear(name, c));
        let classifier = classifies.then(|| linear(names.classifier, config.labels.len()));
        let activation = if classifies { names.classifiers_activation } else { Activation::Tanh };
        let dropout = (classifies && names.drops_twice).then(|| DropoutSite::new(scope, name));
        let pooler = pooler.map(|linear| Pooler { linear, activation, norm: None, dropout });
        let dropout = DropoutSite::new(scope, names.classifier);
        Heads { masked: None, pooler, classifier: classifier.map(|linear| Classifier { linear, dropout }) }
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
        let read = pooling.record(context.graph, hidden, slots)?;
        self.classify_rows(context, read)
    }

    /// The logits of the classes, `[N, K']`, of what the head reads, `[N, C]`.
    pub(super) fn classify_rows(&self, context: &mut Context, mut read: Tensor) -> Result<Tensor> {
        let Classifier { linear, dropout } =
            self.classifier.as_ref().ok_or_else(|| lacks("head that classifies"))?;
        if let Some(pooler) = &self.pooler {
            if let Some(dropout) = &pooler.dropout {
                read = dropout.hidden(context, read)?;
            }
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
