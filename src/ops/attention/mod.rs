//! Multi-head self-attention with relative-position keys and key bounds (Vaswani et al. 2017; Shaw et al. 2018), in two
//! forms that give the same result: made of matrix products with a softmax between them, and fused, without storing
//! probabilities.

mod cases;
mod form;
mod fused;
mod reference;
mod unfused;

pub use cases::cases;
pub use form::Form;
pub use reference::reference;
pub use unfused::Probabilities;

use super::dropout::Dropout;
use super::matmul::{Layout, Matrix, Product, product};
use super::position_bias::sum_queries;
use super::reduce;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &{
    let mut kernels = [unfused::SOFTMAX; 2 + fused::KERNELS.len()];
    kernels[1] = unfused::BACKWARD;
    let mut at = 0;
    while at < fused::KERNELS.len() {
        kernels[2 + at] = fused::KERNELS[at];
        at += 1;
    }
    kernels
};

/// How the rows of a batch are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// B: sequences in the batch.
    pub sequences: usize,
    /// T: tokens in a sequence.
    pub tokens: usize,
    /// H: heads.
    pub heads: usize,
    /// How many of the D columns of each head are zeros that only fill it up to a multiple of 4: logits are divided by the
    /// root of the others' number.
    pub padding: usize,
}

/// What the distance of two tokens adds to a logit.
#[derive(Debug, Clone, Copy, Default)]
pub enum Positions<'a> {
    /// Nothing.
    #[default]
    None,
    /// `[buckets, D]`, shared by all heads: the product of the query and the row of the distance (Shaw et al. 2018).
    Distances(&'a Tensor),
    /// `[H, buckets]`: a number to each head and distance, whatever the query is (Raffel et al. 2020).
    Biases(&'a Tensor),
}

impl<'a> From<Option<&'a Tensor>> for Positions<'a> {
    fn from(distances: Option<&'a Tensor>) -> Self {
        distances.map_or(Positions::None, Positions::Distances)
    }
}

impl<'a> Positions<'a> {
    fn tensor(self) -> Option<&'a Tensor> {
        match self {
            Positions::None => None,
            Positions::Distances(tensor) | Positions::Biases(tensor) => Some(tensor),
        }
    }
}

/// `softmax((q·k + q·P[bucket(j - i)]) / √D) · v` per head, D without its [padding](Heads::padding).
///
/// `qkv [B·T, 3C]` holds queries, keys and values side by side, head after head in each; `distances`
/// `[buckets, D]` is shared by all heads; `bounds [B·T, 2]` (u32) gives for each token the half-open range of
/// positions in its sequence that it attends to. Bounds are symmetric: `j` lies in the bounds of `i` if and
/// only if `i` lies in those of `j`. An empty range gives zeros. The result is `[B·T, C]`.
///
/// # Errors
/// [`Error::Shape`] when these shapes do not fit, or the head size or the buckets are no multiple of 4.
pub fn attention<'a>(
    graph: &mut Graph,
    qkv: &Tensor,
    positions: impl Into<Positions<'a>>,
    bounds: &Tensor,
    heads: Heads,
) -> Result<Tensor> {
    attention_with_dropout(graph, qkv, positions, bounds, heads, None)
}

/// [`attention`] with dropout of the probabilities.
///
/// # Errors
/// As [`attention`].
pub fn attention_with_dropout<'a>(
    graph: &mut Graph,
    qkv: &Tensor,
    positions: impl Into<Positions<'a>>,
    bounds: &Tensor,
    heads: Heads,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    let size = qkv.shape.width() / 3 / heads.heads.max(1);
    let form = Form::choose(graph.capabilities(), heads, size, graph.storage());
    attention_as(form, graph, qkv, positions, bounds, heads, dropout)
}

/// [`attention_with_dropout`] in this form: what tests and measurements compare. Heads wider than
/// [`Form::WIDEST_FUSED`] are not fused whatever is asked for.
///
/// # Errors
/// As [`attention`].
pub fn attention_as<'a>(
    form: Form,
    graph: &mut Graph,
    qkv: &Tensor,
    positions: impl Into<Positions<'a>>,
    bounds: &Tensor,
    heads: Heads,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    let positions = positions.into();
    let (plan, distances) = (Plan::new(graph, qkv, positions, bounds, heads)?, positions.tensor());
    match form {
        Form::Fused if plan.size <= Form::WIDEST_FUSED => {
            fused::record(graph, plan, qkv, distances, bounds, dropout)
        }
        _ => unfused::record(graph, plan, qkv, distances, bounds, dropout).map(|(y, _)| y),
    }
}

/// [`attention_with_dropout`], and where the probabilities before dropout are until the recording needs their memory
/// for something else. Never fused.
///
/// # Errors
/// As [`attention`].
pub fn attention_with_probabilities<'a>(
    graph: &mut Graph,
    qkv: &Tensor,
    positions: impl Into<Positions<'a>>,
    bounds: &Tensor,
    heads: Heads,
    dropout: Option<&Dropout>,
) -> Result<(Tensor, Probabilities)> {
    let positions = positions.into();
    let (plan, distances) = (Plan::new(graph, qkv, positions, bounds, heads)?, positions.tensor());
    unfused::record(graph, plan, qkv, distances, bounds, dropout)
}

/// What the parts of one attention layer share.
#[derive(Clone, Copy)]
struct Plan {
    heads: Heads,
    /// D: width of a head.
    size: usize,
    /// Tp: from one row of scores to the next.
    stride: usize,
    /// Relative-position buckets; 0 without.
    buckets: usize,
    /// Whether what they add is the same for all queries.
    biased: bool,
    scale: f32,
    /// How scores and probabilities are stored.
    storage: DType,
}

impl Plan {
    /// Checks the shapes that [`attention`] names.
    fn new(graph: &Graph, qkv: &Tensor, positions: Positions, bounds: &Tensor, heads: Heads) -> Result<Self> {
        let Heads { sequences, tokens, heads: count, padding } = heads;
        let size = qkv.shape.width() / 3 / count.max(1);
        let (buckets, suits) = match positions {
            Positions::None => (0, true),
            Positions::Distances(p) => (p.shape.rows(), p.shape.width() == size),
            Positions::Biases(p) => (p.shape.width(), p.shape.rows() == count && p.dtype == graph.storage()),
        };
        let fits = qkv.shape.rows() == sequences * tokens
            && size * count * 3 == qkv.shape.width()
            && size.is_multiple_of(4)
            && padding < size.max(1)
            && buckets.is_multiple_of(4)
            && suits
            && bounds.shape.elements() == sequences * tokens * 2
            && bounds.dtype == DType::U32;
        if !fits {
            return Err(Error::Shape {
                operation: "attention",
                expected:
                    "qkv [B·T, 3C], distances [buckets, D] or biases [H, buckets], bounds [B·T, 2] of u32, \
                           D and buckets in multiples of 4"
                        .into(),
                found: format!(
                    "{heads:?}, qkv {}, positions {:?}, bounds {}",
                    qkv.shape,
                    positions.tensor().map(|p| &p.shape),
                    bounds.shape
                ),
            });
        }
        let (stride, scale) = (tokens.next_multiple_of(4), 1.0 / ((size - padding) as f32).sqrt());
        let biased = matches!(positions, Positions::Biases(_));
        Ok(Plan { heads, size, stride, buckets, biased, scale, storage: graph.storage() })
    }

    /// Rows of all heads.
    fn rows(&self) -> usize {
        self.heads.sequences * self.heads.heads * self.heads.tokens
    }

    /// B, T, H, Tp and the number of buckets, as kernels are told.
    fn sizes(&self) -> [u32; 5] {
        let Heads { sequences, tokens, heads, .. } = self.heads;
        [sequences, tokens, heads, self.stride, self.buckets].map(|size| size as u32)
    }

    /// C
    fn width(&self) -> usize {
        self.heads.heads * self.size
    }

    /// A product for every sequence and head.
    fn product(&self, layout: Layout, [m, n, k]: [usize; 3]) -> Product {
        let single = Product::single(layout, self.storage, [m, n, k]);
        Product { batch: (self.heads.sequences, self.heads.heads), ..single }
    }

    /// The heads of columns `base..` of a `[B·T, width]` tensor.
    fn columns(&self, view: View, width: usize, base: usize) -> Matrix {
        Matrix { view, base, row: width, outer: self.heads.tokens * width, inner: self.size }
    }

    /// The heads of queries (0), keys (1) or values (2) of `qkv` or its gradient.
    fn part(&self, view: View, index: usize) -> Matrix {
        self.columns(view, 3 * self.width(), index * self.width())
    }

    /// A `[B, H, T, width]` tensor.
    fn square(&self, view: View, width: usize) -> Matrix {
        let inner = self.heads.tokens * width;
        Matrix { view, base: 0, row: width, outer: self.heads.heads * inner, inner }
    }

    /// `[B, H, T, buckets]`: q·P / √D, what each distance adds to a query's logits; `[H, buckets]` where that is the same for
    /// all queries.
    fn by_distance(
        &self,
        graph: &mut Graph,
        qkv: &Tensor,
        distances: Option<&Tensor>,
    ) -> Result<Option<View>> {
        let Some(distances) = distances else { return Ok(None) };
        if self.biased {
            return Ok(Some(distances.view));
        }
        let relative = graph.scratch_as(self.storage, "attention by distance", self.rows() * self.buckets)?;
        product(
            graph,
            Product {
                scale: self.scale,
                ..self.product(Layout::Nt, [self.heads.tokens, self.buckets, self.size])
            },
            self.part(qkv.view, 0),
            Matrix::whole(distances.view, self.size),
            self.square(relative, self.buckets),
        )?;
        Ok(Some(relative))
    }

    /// Adds to the gradient of queries what flows through [`Plan::by_distance`], whose gradient is `d_relative`.
    fn queries_by_distance(
        &self,
        graph: &mut Graph,
        (distances, d_relative): (Option<&Tensor>, View),
        (d_qkv, into): (View, DType),
    ) -> Result<()> {
        let Some(distances) = distances.filter(|_| !self.biased) else { return Ok(()) };
        let sizes = [self.heads.tokens, self.size, self.buckets];
        let sum = Product { scale: self.scale, into, accumulate: true, ..self.product(Layout::Nn, sizes) };
        let distances = Matrix::whole(distances.view, self.size);
        product(graph, sum, self.square(d_relative, self.buckets), distances, self.part(d_qkv, 0))
    }

    /// What the shaders call the kind of relative positions.
    fn relative(&self) -> u32 {
        match (self.buckets, self.biased) {
            (0, _) => 0,
            (_, false) => 1,
            (_, true) => 2,
        }
    }

    /// The gradient of `distances`, or of biases: one product per sequence and head, then their sum in a fixed order.
    fn distances(
        &self,
        graph: &mut Graph,
        qkv: &Tensor,
        distances: Option<&Tensor>,
        d_relative: View,
    ) -> Result<()> {
        let Some(distances) = distances else { return Ok(()) };
        let Plan { heads: Heads { sequences, tokens, heads, .. }, size, buckets, scale, .. } = *self;
        if self.biased {
            return graph.contribute_with("attention", distances, |graph, d_biases, accumulate| {
                let to = (d_biases, graph.gradient_dtype(distances));
                sum_queries(graph, d_relative, [sequences, heads, tokens, buckets], to, accumulate)
            });
        }
        graph.contribute_with("attention", distances, |graph, d_distances, accumulate| {
            let elements = buckets * size;
            let partial = graph.scratch("attention by distance", sequences * heads * elements)?;
            let into = DType::F32;
            let sizes = Product { scale, into, ..self.product(Layout::Tn, [buckets, size, tokens]) };
            let to = Matrix { view: partial, base: 0, row: size, outer: heads * elements, inner: elements };
            product(graph, sizes, self.square(d_relative, buckets), self.part(qkv.view, 0), to)?;
            let types = [into, graph.gradient_dtype(distances)];
            reduce::sum_as(types, graph, partial, [sequences * heads, elements], d_distances, accumulate)
        })
    }
}
