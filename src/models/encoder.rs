//! What the encoders of all families are made of: embeddings, attention, feed-forward blocks.

use super::config::{Activation, Config, PositionEmbedding};
use super::inputs::{Inputs, Words};
use super::position_bias::PositionBias;
use crate::autograd::Graph;
use crate::nn::{Context, Declared, DropoutSite, Embedding, Init, LayerNorm, Linear, Padding, Scope};
use crate::ops::add::add;
use crate::ops::attention::{
    Heads, Positions, Probabilities, attention_with_dropout, attention_with_probabilities,
};
use crate::ops::gated::{Half, gated};
use crate::ops::matmul::feed_forward;
use crate::ops::rotary::rotary;
use crate::tensor::Tensor;
use crate::{Error, Result};
use std::fmt;

/// Records what is to be done with the attention probabilities of a layer.
pub type Probe<'a> = dyn FnMut(&mut Graph, Probabilities) -> Result<()> + 'a;

/// From token ids to hidden states.
pub trait Encoder: fmt::Debug + Send + Sync {
    /// The table of word embeddings.
    fn words(&self) -> Embedding;

    /// Where the parameters of the embeddings end among those that were declared, and those of each layer.
    fn ends(&self) -> &[Declared];

    /// Records the embeddings `[N, C]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Config`] when inputs and parameters do not fit.
    fn embed(&self, context: &mut Context, inputs: &Inputs) -> Result<Tensor>;

    /// Records layer `index` over `x [N, C]`; `probe`, if there is one, is called after its attention.
    ///
    /// # Errors
    /// As [`Encoder::embed`], and those of `probe`.
    fn layer(
        &self,
        index: usize,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor>;

    /// Records what follows the last layer.
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    fn finish(&self, context: &mut Context, x: &Tensor) -> Result<Tensor>;
}

/// The hidden states of all floors of the encoder, each `[N, C]`.
#[derive(Debug)]
pub struct Hidden {
    /// After the embeddings and their norm.
    pub embeddings: Tensor,
    /// After each layer.
    pub layers: Vec<Tensor>,
    /// After the last norm: the last layer's where each ends in one.
    pub last: Tensor,
}

/// The normed sum of the embeddings of words, positions and token types, and where it is of another width than the
/// layers, a linear layer to theirs.
#[derive(Debug)]
pub(super) struct Embeddings {
    pub words: Embedding,
    positions: Option<Embedding>,
    types: Option<Embedding>,
    norm: LayerNorm,
    dropout: DropoutSite,
    projection: Option<Linear>,
    longest: usize,
}

/// What the embeddings are called in files.
pub(super) struct EmbeddingNames {
    /// The table of words.
    pub words: &'static str,
    /// That of positions, where they are absolute.
    pub positions: &'static str,
    /// That of token types.
    pub types: &'static str,
    /// The norm of their sum.
    pub norm: &'static str,
    /// Whether the norm has a bias.
    pub has_bias: bool,
}

impl EmbeddingNames {
    /// As in Hugging Face's BERT.
    pub(super) const BERT: Self = EmbeddingNames {
        words: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        types: "embeddings.token_type_embeddings",
        norm: "embeddings.LayerNorm",
        has_bias: true,
    };
}

impl Embeddings {
    /// Declares what `config` asks for, by BERT's names.
    pub(super) fn new(scope: &mut Scope, config: &Config) -> Self {
        Self::named(scope, config, &EmbeddingNames::BERT)
    }

    /// Declares what `config` asks for by these names.
    pub(super) fn named(scope: &mut Scope, config: &Config, names: &EmbeddingNames) -> Self {
        let dropout = DropoutSite::new(scope, "embeddings");
        let (width, hidden, init) =
            (config.embedding_width(), config.hidden_size, Init::Normal(config.initializer_range));
        let projection =
            (width != hidden).then(|| Linear::new(scope, "embeddings_project", [hidden, width], init, true));
        let words = Embedding::new(scope, names.words, [config.vocab_size, width], init);
        let mut table =
            |name: &str, rows: usize| (rows > 0).then(|| Embedding::new(scope, name, [rows, width], init));
        let longest = config.max_position_embeddings;
        let absolute = config.position_embedding_type == PositionEmbedding::Absolute;
        let rows = longest + config.first_position();
        let positions = table(names.positions, if absolute { rows } else { 0 });
        let types = table(names.types, config.type_vocab_size);
        let new = if names.has_bias { LayerNorm::new } else { LayerNorm::without_bias };
        let norm = new(scope, names.norm, width, config.layer_norm_eps);
        Embeddings { words, positions, types, norm, dropout, projection, longest }
    }

    /// `[N, C]`.
    pub(super) fn forward(&self, context: &mut Context, inputs: &Inputs) -> Result<Tensor> {
        let mut x = match &inputs.words {
            Words::Ids(ids) => self.words.forward(context, ids)?,
            Words::Rows(rows) => rows.clone(),
        };
        if let Some(table) = &self.positions {
            let positions = inputs.positions.as_ref().filter(|_| inputs.tokens <= self.longest);
            let positions = positions.ok_or_else(|| Error::Shape {
                operation: "position embeddings",
                expected: format!("positions below {}", self.longest),
                found: format!("{} tokens", inputs.tokens),
            })?;
            let position = table.forward(context, positions)?;
            x = add(context.graph, &x, &position)?;
        }
        if let Some(table) = &self.types {
            let types = inputs.types.as_ref().ok_or_else(|| Error::Shape {
                operation: "token type embeddings",
                expected: "a token type for each row".into(),
                found: "none".into(),
            })?;
            let types = table.forward(context, types)?;
            x = add(context.graph, &x, &types)?;
        }
        let normed = self.norm.forward(context, &x)?;
        let x = self.dropout.hidden(context, normed)?;
        match &self.projection {
            Some(projection) => projection.forward(context, &x, None),
            None => Ok(x),
        }
    }
}

/// A layer of an encoder.
pub(super) trait Layer: fmt::Debug + Send + Sync {
    /// `[N, C]` of `x [N, C]`; `probe`, if there is one, sees the attention's probabilities.
    fn forward(
        &self,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor>;
}

/// An encoder of embeddings, equal layers, and a norm at the end where the layers do not end in one.
#[derive(Debug)]
pub(super) struct Stack<L> {
    embeddings: Embeddings,
    layers: Vec<L>,
    norm: Option<LayerNorm>,
    ends: Vec<Declared>,
}

impl<L> Stack<L> {
    /// Declares the layers one after the other by their numbers, after the `embeddings`.
    pub(super) fn new(
        scope: &mut Scope,
        config: &Config,
        embeddings: Embeddings,
        mut layer: impl FnMut(&mut Scope, usize) -> L,
    ) -> Self {
        let mut ends = vec![scope.declared()];
        let mut next = |number| {
            let layer = layer(scope, number);
            ends.push(scope.declared());
            layer
        };
        let layers = (0..config.num_hidden_layers).map(&mut next).collect();
        Stack { embeddings, layers, norm: None, ends }
    }

    /// The same with a norm at the end.
    pub(super) fn with_norm(self, norm: LayerNorm) -> Self {
        Stack { norm: Some(norm), ..self }
    }
}

impl<L: Layer> Encoder for Stack<L> {
    fn words(&self) -> Embedding {
        self.embeddings.words
    }

    fn ends(&self) -> &[Declared] {
        &self.ends
    }

    fn embed(&self, context: &mut Context, inputs: &Inputs) -> Result<Tensor> {
        self.embeddings.forward(context, inputs)
    }

    fn layer(
        &self,
        index: usize,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor> {
        self.layers[index].forward(context, x, inputs, probe)
    }

    fn finish(&self, context: &mut Context, x: &Tensor) -> Result<Tensor> {
        self.norm.map_or(Ok(x.clone()), |norm| norm.forward(context, x))
    }
}

/// What the parts of an attention are called in files.
pub(super) struct AttentionNames {
    /// Queries, keys and values, or the one matrix that holds them one below the other.
    pub projections: &'static [&'static str],
    /// The place of the probabilities' dropout.
    pub probabilities: &'static str,
    /// The table of distances, where positions are relative.
    pub distances: &'static str,
    /// The layer after the heads.
    pub output: &'static str,
}

impl AttentionNames {
    /// As in Hugging Face's BERT.
    pub(super) const BERT: Self = AttentionNames {
        projections: &["self.query", "self.key", "self.value"],
        probabilities: "self",
        distances: "self.distance_embedding",
        output: "output.dense",
    };
}

/// Self-attention (Vaswani et al. 2017), with a vector per distance added to the keys where positions are relative (Shaw
/// et al. 2018).
#[derive(Debug)]
pub(super) struct Attention {
    /// Queries, keys and values side by side: `[N, 3C]`.
    projections: Linear,
    distances: Option<Embedding>,
    /// What each distance adds to the logits of each head.
    biases: Option<PositionBias>,
    output: Linear,
    heads: usize,
    padding: usize,
    rotary: bool,
    local: bool,
    dropout: DropoutSite,
    output_dropout: DropoutSite,
}

impl Attention {
    /// Declares an attention in the scope that is its own; `output` is how the layer after the heads starts.
    pub(super) fn new(scope: &mut Scope, config: &Config, names: &AttentionNames, output: Init) -> Self {
        let (c, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        let rows = 3 * c / names.projections.len();
        let projections = Linear::stacked(scope, names.projections, [rows, c], init, config.use_bias);
        let table = [config.distances(), config.head_size()];
        let distances = (table[0] > 0).then(|| Embedding::new(scope, names.distances, table, init));
        let output_layer = Linear::new(scope, names.output, [c, c], output, config.use_bias);
        // Zeros fill heads up to what kernels want. They add nothing to a product, and as the layer behind the heads gives
        // them no weight, their gradients are zeros too.
        if let Some((run, to)) = config.padded_heads() {
            let padding = |dimension| Padding { dimension, run, to };
            scope.pad(projections.weight, padding(0));
            projections.bias.into_iter().for_each(|bias| scope.pad(bias, padding(0)));
            distances.into_iter().for_each(|distances| scope.pad(distances.table, padding(1)));
            scope.pad(output_layer.weight, padding(1));
        }
        Attention {
            projections,
            distances,
            biases: None,
            output: output_layer,
            heads: config.num_attention_heads,
            padding: config.head_size().next_multiple_of(4) - config.head_size(),
            rotary: config.rotary.is_some(),
            local: false,
            dropout: DropoutSite::new(scope, names.probabilities),
            output_dropout: DropoutSite::new(scope, names.output),
        }
    }

    /// The same with biases for distances, which all layers share.
    pub(super) fn biased(self, biases: PositionBias) -> Self {
        Attention { biases: Some(biases), ..self }
    }

    /// The same over what is near alone, where positions are rotary and `local` says so.
    pub(super) fn within(self, local: bool) -> Self {
        Attention { local, ..self }
    }

    /// `residual` plus the attention over `x [N, C]`; `probe`, if there is one, sees its probabilities.
    pub(super) fn forward(
        &self,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        residual: &Tensor,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor> {
        let projected = self.projections.forward(context, x, None)?; // [N, 3C]
        let distances = self.distances.map(|table| context.tensor(table.table)).transpose()?;
        let Inputs { sequences, tokens, .. } = *inputs;
        let heads = Heads { sequences, tokens, heads: self.heads, padding: self.padding };
        let dropout = self.dropout.attention(context);
        let biases = self.biases.map(|biases| biases.forward(context)).transpose()?;
        let positions = biases.as_ref().map_or(distances.as_ref().into(), Positions::Biases);
        let (bounds, angles) = inputs.attended(self.rotary, self.local)?;
        let dropout = dropout.as_ref();
        let graph = &mut *context.graph;
        let projected =
            angles.map_or(Ok(projected.clone()), |angles| rotary(graph, &projected, angles, heads))?;
        let attended = match probe {
            None => attention_with_dropout(graph, &projected, positions, bounds, heads, dropout)?,
            Some(probe) => {
                let (attended, probabilities) =
                    attention_with_probabilities(graph, &projected, positions, bounds, heads, dropout)?;
                probe(graph, probabilities)?;
                attended
            }
        };
        self.output_dropout
            .onto(context, residual, |context, added| self.output.forward(context, &attended, added))
    }
}

/// Two linear layers with an activation between them, or a gate: two halves of the first layer's result multiplied, of which
/// one goes through the activation.
#[derive(Debug)]
pub(super) struct FeedForward {
    inner: Linear,
    activation: Activation,
    gate: Option<Half>,
    outer: Linear,
    dropout: DropoutSite,
}

impl FeedForward {
    /// Declares the two layers by their names.
    pub(super) fn new(scope: &mut Scope, config: &Config, [inner, outer]: [&str; 2]) -> Self {
        let (c, f, init) =
            (config.hidden_size, config.intermediate_size, Init::Normal(config.initializer_range));
        let dropout = DropoutSite::new(scope, outer);
        let inner = Linear::new(scope, inner, [f, c], init, config.use_bias);
        let outer = Linear::new(scope, outer, [c, f], init, config.use_bias);
        FeedForward { inner, activation: config.hidden_act, gate: None, outer, dropout }
    }

    /// Declares a layer with a gate, `[2F, C]` altogether under one name or two, and the layer after it. `biases` says which
    /// of them has one.
    pub(super) fn gated(
        scope: &mut Scope,
        config: &Config,
        (inner, gate): (&[&str], Half),
        (outer, output): (&str, Init),
        biases: [bool; 2],
    ) -> Self {
        let (c, f, init) =
            (config.hidden_size, config.intermediate_size, Init::Normal(config.initializer_range));
        let dropout = DropoutSite::new(scope, outer);
        let inner = Linear::stacked(scope, inner, [2 * f / inner.len(), c], init, biases[0]);
        let outer = Linear::new(scope, outer, [c, f], output, biases[1]);
        FeedForward { inner, activation: config.hidden_act, gate: Some(gate), outer, dropout }
    }

    /// `residual` plus the feed-forward block over `x [N, C]`.
    pub(super) fn forward(&self, context: &mut Context, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.dropout.onto(context, residual, |context, added| {
            if let Some((half, gate)) = self.gate.zip(self.activation.gate()) {
                let hidden = self.inner.forward(context, x, None)?;
                let hidden = gated(context.graph, &hidden, gate, half)?;
                return self.outer.forward(context, &hidden, added);
            }
            if self.activation == Activation::Gelu {
                let (inner, outer) = (self.inner.affine(context)?, self.outer.affine(context)?);
                return feed_forward(context.graph, x, [&inner, &outer], added);
            }
            let hidden = self.inner.forward(context, x, None)?;
            let hidden = self.activation.forward(context.graph, &hidden)?;
            self.outer.forward(context, &hidden, added)
        })
    }
}

/// The layer of BERT and of the families made from it: a norm after each half (Devlin et al. 2018).
#[derive(Debug)]
pub(super) struct PostNorm {
    pub attention: Attention,
    pub attention_norm: LayerNorm,
    pub feed_forward: FeedForward,
    pub output_norm: LayerNorm,
}

impl Layer for PostNorm {
    fn forward(
        &self,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor> {
        let x = self.attention.forward(context, x, inputs, x, probe)?;
        let x = self.attention_norm.forward(context, &x)?;
        let x = self.feed_forward.forward(context, &x, &x)?;
        self.output_norm.forward(context, &x)
    }
}

/// A layer with a norm before each half (Xiong et al. 2020).
#[derive(Debug)]
pub(super) struct PreNorm {
    /// None where what comes in is normed already.
    pub attention_norm: Option<LayerNorm>,
    pub attention: Attention,
    pub feed_forward_norm: LayerNorm,
    pub feed_forward: FeedForward,
}

impl Layer for PreNorm {
    fn forward(
        &self,
        context: &mut Context,
        x: &Tensor,
        inputs: &Inputs,
        probe: Option<&mut Probe>,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.map_or(Ok(x.clone()), |norm| norm.forward(context, x))?;
        let x = self.attention.forward(context, &normed, inputs, x, probe)?;
        let normed = self.feed_forward_norm.forward(context, &x)?;
        self.feed_forward.forward(context, &normed, &x)
    }
}
