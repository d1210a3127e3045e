//! Multi-head self-attention with relative-position keys and key bounds (Vaswani et al. 2017; Shaw et al.
//! 2018), made of batched matrix products and a softmax between them.

use super::Case;
use super::check::{Inputs, Metric};
use super::dropout::{self, Dropout};
use super::reduce;
use super::matmul::{Layout, Matrix, Product, product};
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32 }

const WORKGROUP: u32 = 64;
const SOFTMAX: KernelSpec = KernelSpec {
    source: shader!("attention"),
    entry: "softmax",
    reads: 2,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: &[("WORKGROUP", WORKGROUP), ("RELATIVE", 1)],
};
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 1, writes: 2, ..SOFTMAX };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[SOFTMAX, BACKWARD];

/// How the rows of a batch are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// B: sequences in the batch.
    pub sequences: usize,
    /// T: tokens in a sequence.
    pub tokens: usize,
    /// H: heads.
    pub heads: usize,
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
    scale: f32,
    /// How scores and probabilities are stored.
    storage: DType,
}

impl Plan {
    fn rows(&self) -> usize {
        self.heads.sequences * self.heads.heads * self.heads.tokens
    }

    fn constants(&self) -> [Constant; 2] {
        [("WORKGROUP", WORKGROUP), ("RELATIVE", (self.buckets > 0).into())]
    }

    fn params(&self) -> Params {
        Params {
            sequences: self.heads.sequences as u32,
            tokens: self.heads.tokens as u32,
            heads: self.heads.heads as u32,
            stride: self.stride as u32,
            buckets: self.buckets as u32,
        }
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

    /// A `[B, H, T, width]` tensor.
    fn square(&self, view: View, width: usize) -> Matrix {
        let inner = self.heads.tokens * width;
        Matrix { view, base: 0, row: width, outer: self.heads.heads * inner, inner }
    }
}

/// `softmax((q·k + q·P[bucket(j - i)]) / √D) · v` per head.
///
/// `qkv [B·T, 3C]` holds queries, keys and values side by side, head after head in each; `distances`
/// `[buckets, D]` is shared by all heads; `bounds [B·T, 2]` (u32) gives for each token the half-open range of
/// positions in its sequence that it attends to. Bounds are symmetric: `j` lies in the bounds of `i` if and
/// only if `i` lies in those of `j`. An empty range gives zeros. The result is `[B·T, C]`.
///
/// # Errors
/// [`Error::Shape`] when these shapes do not fit, or the head size or the buckets are no multiple of 4.
pub fn attention(
    graph: &mut Graph,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    heads: Heads,
) -> Result<Tensor> {
    attention_with_dropout(graph, qkv, distances, bounds, heads, None)
}

/// [`attention`] with dropout of the probabilities.
///
/// # Errors
/// As [`attention`].
pub fn attention_with_dropout(
    graph: &mut Graph,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    heads: Heads,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    attention_with_probabilities(graph, qkv, distances, bounds, heads, dropout).map(|(y, _)| y)
}

/// [`attention_with_dropout`], and where the probabilities before dropout are until the recording needs their memory
/// for something else.
///
/// # Errors
/// As [`attention`].
pub fn attention_with_probabilities(
    graph: &mut Graph,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    heads: Heads,
    dropout: Option<&Dropout>,
) -> Result<(Tensor, Probabilities)> {
    let probabilities = probabilities(graph, qkv, distances, bounds, heads)?;
    let plan = probabilities.plan;
    let width = plan.heads.heads * plan.size;
    let rows = heads.sequences * heads.tokens;
    let mut parents = vec![qkv];
    parents.extend(distances);
    let y = graph.output("attention", [rows, width], &parents)?;
    let (tokens, size) = (heads.tokens, plan.size);
    let dropped = drop(graph, plan, probabilities.view, dropout)?;
    product(
        graph,
        plan.product(Layout::Nn, [tokens, size, tokens]),
        plan.square(dropped, plan.stride),
        plan.columns(qkv.view, 3 * width, 2 * width),
        plan.columns(y.view, width, 0),
    )?;
    let (qkv, distances, dropout) = (qkv.clone(), distances.cloned(), dropout.cloned());
    graph.on_backward(&y, move |graph, d_y| {
        backward(graph, plan, probabilities.view, &qkv, distances.as_ref(), dropout.as_ref(), d_y)
    });
    Ok((y, probabilities))
}

/// The probabilities after dropout; themselves without.
fn drop(graph: &mut Graph, plan: Plan, probabilities: View, dropout: Option<&Dropout>) -> Result<View> {
    let Some(dropout) = dropout else { return Ok(probabilities) };
    let elements = plan.rows() * plan.stride;
    let dropped = graph.scratch_as(plan.storage, "attention after dropout", elements)?;
    dropout.apply(graph, plan.storage, probabilities, dropped, elements)?;
    Ok(dropped)
}

/// The attention probabilities of one layer.
#[derive(Clone, Copy)]
pub struct Probabilities {
    /// `[B, H, T, Tp]`, Tp = T rounded up to a multiple of 4; 0 outside of bounds.
    pub view: View,
    /// `[B, H, T, buckets]`: q·P / √D, what each distance adds to a query's logits; bucket d mod buckets.
    pub relative: Option<View>,
    plan: Plan,
}

fn probabilities(
    graph: &mut Graph,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    heads: Heads,
) -> Result<Probabilities> {
    let Heads { sequences, tokens, heads: count } = heads;
    let width = qkv.shape.width() / 3;
    let size = width / count.max(1);
    let buckets = distances.map_or(0, |p| p.shape.rows());
    let fits = qkv.shape.rows() == sequences * tokens
        && size * count * 3 == qkv.shape.width()
        && size.is_multiple_of(4)
        && buckets.is_multiple_of(4)
        && distances.is_none_or(|p| p.shape.width() == size)
        && bounds.shape.elements() == sequences * tokens * 2
        && bounds.dtype == DType::U32;
    if !fits {
        return Err(Error::Shape {
            operation: "attention",
            expected: "qkv [B·T, 3C], distances [buckets, D], bounds [B·T, 2] of u32, D and buckets in \
                       multiples of 4"
                .into(),
            found: format!(
                "{heads:?}, qkv {}, distances {:?}, bounds {}",
                qkv.shape,
                distances.map(|p| &p.shape),
                bounds.shape
            ),
        });
    }
    let stride = tokens.next_multiple_of(4);
    let plan = Plan { heads, size, stride, buckets, scale: 1.0 / (size as f32).sqrt(), storage: graph.storage() };
    let scores = graph.scratch_as(plan.storage, "attention scores", plan.rows() * stride)?;
    let queries = plan.columns(qkv.view, 3 * width, 0);
    product(
        graph,
        Product { scale: plan.scale, ..plan.product(Layout::Nt, [tokens, tokens, size]) },
        queries,
        plan.columns(qkv.view, 3 * width, width),
        plan.square(scores, stride),
    )?;
    let relative = match distances {
        None => None,
        Some(distances) => {
            let relative = graph.scratch_as(plan.storage, "attention by distance", plan.rows() * buckets)?;
            product(
                graph,
                Product { scale: plan.scale, ..plan.product(Layout::Nt, [tokens, buckets, size]) },
                queries,
                Matrix::whole(distances.view, size),
                plan.square(relative, buckets),
            )?;
            Some(relative)
        }
    };
    graph.dispatch(
        (&SOFTMAX, &plan.constants()),
        plan.params(),
        &[relative.unwrap_or(bounds.view), bounds.view],
        &[scores],
        grid(plan.rows(), WORKGROUP),
    )?;
    Ok(Probabilities { view: scores, relative, plan })
}

fn backward(
    graph: &mut Graph,
    plan: Plan,
    probabilities: View,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    dropout: Option<&Dropout>,
    d_y: &Tensor,
) -> Result<()> {
    let Plan { heads: Heads { sequences, tokens, heads }, size, stride, buckets, scale, .. } = plan;
    let width = heads * size;
    // Drawn again rather than kept since the forward pass.
    let dropped = drop(graph, plan, probabilities, dropout)?;
    let (d_y, p) = (plan.columns(d_y.view, width, 0), plan.square(dropped, stride));
    let part = |view, index| plan.columns(view, 3 * width, index * width);

    // d_s = d_y vᵀ, and from it the gradient of the logits in place.
    let d_scores = graph.scratch_as(plan.storage, "attention scores", plan.rows() * stride)?;
    let d_s = plan.square(d_scores, stride);
    product(graph, plan.product(Layout::Nt, [tokens, tokens, size]), d_y, part(qkv.view, 2), d_s)?;
    if let Some(dropout) = dropout {
        dropout.apply_in_place(graph, plan.storage, d_scores, plan.rows() * stride)?;
    }
    let d_relative = graph.scratch_as(plan.storage, "attention by distance", plan.rows() * buckets)?;
    graph.dispatch(
        (&BACKWARD, &plan.constants()),
        plan.params(),
        &[probabilities],
        &[d_scores, d_relative],
        grid(plan.rows(), WORKGROUP),
    )?;
    let d_r = plan.square(d_relative, buckets);

    graph.contribute_with("attention", qkv, |graph, d_qkv, accumulate| {
        let into = graph.gradient_dtype(qkv);
        let to_head = |layout| Product { accumulate, into, ..plan.product(layout, [tokens, size, tokens]) };
        let scaled = |layout| Product { scale, ..to_head(layout) };
        product(graph, scaled(Layout::Nn), d_s, part(qkv.view, 1), part(d_qkv, 0))?;
        product(graph, scaled(Layout::Tn), d_s, part(qkv.view, 0), part(d_qkv, 1))?;
        product(graph, to_head(Layout::Tn), p, d_y, part(d_qkv, 2))?;
        let Some(distances) = distances else { return Ok(()) };
        let through_distances = Product { k: buckets, accumulate: true, ..scaled(Layout::Nn) };
        product(graph, through_distances, d_r, Matrix::whole(distances.view, size), part(d_qkv, 0))
    })?;
    let Some(distances) = distances else { return Ok(()) };
    graph.contribute_with("attention", distances, |graph, d_distances, accumulate| {
        // One product per sequence and head, then their sum in a fixed order.
        let elements = buckets * size;
        let partial = graph.scratch("attention by distance", sequences * heads * elements)?;
        let into = DType::F32;
        let sizes = Product { scale, into, ..plan.product(Layout::Tn, [buckets, size, tokens]) };
        let to =
            Matrix { view: partial, base: 0, row: size, outer: heads * elements, inner: elements };
        product(graph, sizes, d_r, part(qkv.view, 0), to)?;
        let types = [into, graph.gradient_dtype(distances)];
        reduce::sum_as(types, graph, partial, [sequences * heads, elements], d_distances, accumulate)
    })
}

/// The f64 reference: `qkv`, `distances` (empty for none) and `bounds` as in [`attention`].
pub fn reference(qkv: &[f64], distances: &[f64], bounds: &[[u32; 2]], heads: Heads) -> Vec<f64> {
    dropped_reference(qkv, distances, bounds, heads, |_| 1.0)
}

/// [`reference`] with each probability times the factor of its place in `[B, H, T, Tp]`.
fn dropped_reference(
    qkv: &[f64],
    distances: &[f64],
    bounds: &[[u32; 2]],
    heads: Heads,
    factor: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let Heads { sequences, tokens, heads } = heads;
    let width = qkv.len() / (3 * sequences * tokens);
    let size = width / heads;
    let buckets = (distances.len() / size) as i64;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let part = |row: usize, index: usize, head: usize| {
        &qkv[row * 3 * width + index * width + head * size..][..size]
    };
    let mut y = vec![0.0; sequences * tokens * width];
    for row in 0..sequences * tokens {
        let (first, i) = (row / tokens * tokens, row % tokens);
        let keys = bounds[row][0] as usize..bounds[row][1] as usize;
        for head in 0..heads {
            let query = part(row, 0, head);
            let logits: Vec<f64> = keys
                .clone()
                .map(|j| {
                    let mut logit = dot(query, part(first + j, 1, head));
                    if buckets > 0 {
                        let distance = (j as i64 - i as i64).clamp(-buckets / 2, buckets / 2 - 1);
                        let bucket = distance.rem_euclid(buckets) as usize;
                        logit += dot(query, &distances[bucket * size..][..size]);
                    }
                    logit / (size as f64).sqrt()
                })
                .collect();
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|l| (l - largest).exp()).sum();
            for (j, logit) in keys.clone().zip(&logits) {
                let place = (((row / tokens) * heads + head) * tokens + i) * tokens.next_multiple_of(4) + j;
                let probability = factor(place) * (logit - largest).exp() / total;
                for (d, value) in part(first + j, 2, head).iter().enumerate() {
                    y[row * width + head * size + d] += probability * value;
                }
            }
        }
    }
    y
}

/// Bounds of a batch: full sequences, a padded one, and one of several documents.
fn example_bounds(heads: Heads) -> Vec<[u32; 2]> {
    let tokens = heads.tokens as u32;
    let mut bounds = Vec::new();
    for sequence in 0..heads.sequences {
        for t in 0..tokens {
            let (first, rest) = (tokens / 3, tokens - tokens / 4);
            bounds.push(match sequence % 3 {
                0 => [0, tokens],
                1 if t < rest => [0, rest],
                1 => [0, 0],
                _ if t < first => [0, first],
                _ => [first, tokens],
            });
        }
    }
    bounds
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let shapes = [(1, 1, 1, 4, 32), (2, 7, 2, 8, 8), (3, 33, 2, 16, 32), (3, 129, 1, 8, 32), (3, 20, 3, 4, 0)];
    let dropped = [((2, 7, 2, 8, 8), 0.1), ((3, 33, 2, 16, 0), 0.5)];
    let whole = shapes.into_iter().map(|shape| (shape, 0.0));
    whole
        .chain(dropped)
        .map(|((sequences, tokens, count, size, buckets), rate)| {
            let heads = Heads { sequences, tokens, heads: count };
            let rows = sequences * tokens;
            let mut inputs = Inputs::new(4).normal("qkv", &[rows, 3 * count * size], 1.0);
            if buckets > 0 {
                inputs = inputs.normal("distances", &[buckets, size], 1.0);
            }
            let bounds = example_bounds(heads);
            let for_gpu: Vec<u32> = bounds.iter().flatten().copied().collect();
            let name =
                format!("B {sequences}, T {tokens}, H {count}, D {size}, {buckets} buckets, {rate} dropped");
            let (key, site) = ([17, 4], 3);
            Case::new(name, inputs, Metric::Elementwise(1e-5))
                .gpu(move |graph, x| {
                    let bounds = graph.constant(&for_gpu, [rows, 2], DType::U32)?;
                    let key = graph.constant(&key, [2], DType::U32)?;
                    let dropout = (rate > 0.0).then_some(Dropout { rate, key, site });
                    attention_with_dropout(graph, &x[0], x.get(1), &bounds, heads, dropout.as_ref())
                })
                .reference(move |x| {
                    let factor = |place| dropout::factor(key, site, rate, place as u32);
                    dropped_reference(&x[0], x.get(1).map_or(&[], |p| p), &bounds, heads, factor)
                })
        })
        .collect()
}
