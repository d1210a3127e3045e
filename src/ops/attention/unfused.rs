//! Attention made of batched matrix products and a softmax between them.

use super::Plan;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader};
use crate::ops::dropout::Dropout;
use crate::ops::matmul::{Layout, Product, product};
use crate::ops::rows;
use crate::tensor::Tensor;

params! { sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32 }

/// Lanes of a row: 32 vectors are a row of 128 tokens.
const PLAIN: &[Constant] = &[("LANES", 32)];
const EXAMPLE: &[Constant] = &[PLAIN[0], ("RELATIVE", 1)];
pub(super) const SOFTMAX: KernelSpec =
    KernelSpec::new(shader!("attention"), "softmax", [2, 1], LAYOUT, EXAMPLE);
pub(super) const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 1, writes: 2, ..SOFTMAX };

/// Operations to a logit: the largest one is found and subtracted, there is an exponential, a sum and a quotient. On the way
/// back there is a product, its sum, a difference and another product.
const SOFTMAX_FLOPS: usize = 5;
const BACKWARD_FLOPS: usize = 4;

/// The attention probabilities of one layer.
#[derive(Debug, Clone, Copy)]
pub struct Probabilities {
    /// `[B, H, T, Tp]`, Tp = T rounded up to a multiple of 4; 0 outside of bounds.
    pub view: View,
    /// `[B, H, T, buckets]`: q·P / √D, what each distance adds to a query's logits; bucket d mod buckets.
    pub relative: Option<View>,
}

fn constants(graph: &Graph, plan: &Plan) -> [Constant; 2] {
    [rows::lanes(graph, PLAIN)[0], ("RELATIVE", plan.relative())]
}

fn params(plan: &Plan) -> Params {
    let [sequences, tokens, heads, stride, buckets] = plan.sizes();
    Params { sequences, tokens, heads, stride, buckets }
}

/// Records the unfused form, and leaves its gradient on the tape.
pub(super) fn record(
    graph: &mut Graph,
    plan: Plan,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    dropout: Option<&Dropout>,
) -> Result<(Tensor, Probabilities)> {
    let probabilities = probabilities(graph, plan, qkv, distances, bounds)?;
    let mut parents = vec![qkv];
    parents.extend(distances);
    let (tokens, size) = (plan.heads.tokens, plan.size);
    let y = graph.output("attention", [plan.heads.sequences * tokens, plan.width()], &parents)?;
    let dropped = drop(graph, plan, probabilities.view, dropout)?;
    product(
        graph,
        plan.product(Layout::Nn, [tokens, size, tokens]),
        plan.square(dropped, plan.stride),
        plan.part(qkv.view, 2),
        plan.columns(y.view, plan.width(), 0),
    )?;
    let (qkv, distances, dropout) = (qkv.clone(), distances.cloned(), dropout.cloned());
    graph.on_backward(&y, move |graph, d_y| {
        backward(graph, plan, probabilities.view, &qkv, distances.as_ref(), dropout.as_ref(), d_y)
    });
    Ok((y, probabilities))
}

/// The probabilities after dropout, or as they are where there is none.
fn drop(graph: &mut Graph, plan: Plan, probabilities: View, dropout: Option<&Dropout>) -> Result<View> {
    let Some(dropout) = dropout else { return Ok(probabilities) };
    let elements = plan.rows() * plan.stride;
    let dropped = graph.scratch_as(plan.storage, "attention after dropout", elements)?;
    dropout.apply(graph, plan.storage, probabilities, dropped, elements)?;
    Ok(dropped)
}

fn probabilities(
    graph: &mut Graph,
    plan: Plan,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
) -> Result<Probabilities> {
    let Plan { heads, size, stride, scale, storage, .. } = plan;
    let scores = graph.scratch_as(storage, "attention scores", plan.rows() * stride)?;
    product(
        graph,
        Product { scale, ..plan.product(Layout::Nt, [heads.tokens, heads.tokens, size]) },
        plan.part(qkv.view, 0),
        plan.part(qkv.view, 1),
        plan.square(scores, stride),
    )?;
    let relative = plan.by_distance(graph, qkv, distances)?;
    let reads = [relative.unwrap_or(bounds.view), bounds.view];
    let (constants, groups) = (constants(graph, &plan), grid(plan.rows(), 1));
    let dispatch = graph.dispatch((&SOFTMAX, &constants), params(&plan), &reads, &[scores], groups)?;
    dispatch.flops((SOFTMAX_FLOPS * plan.rows() * stride) as f64).once_and(scores.bytes as f64);
    Ok(Probabilities { view: scores, relative: relative.filter(|_| !plan.biased) })
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
    let Plan { size, stride, buckets, scale, .. } = plan;
    let tokens = plan.heads.tokens;
    // What dropout zeroes is drawn again rather than kept since the forward pass.
    let dropped = drop(graph, plan, probabilities, dropout)?;
    let (d_y, p) = (plan.columns(d_y.view, plan.width(), 0), plan.square(dropped, stride));

    // d_s = d_y vᵀ, and from it the gradient of the logits in place.
    let d_scores = graph.scratch_as(plan.storage, "attention scores", plan.rows() * stride)?;
    let d_s = plan.square(d_scores, stride);
    product(graph, plan.product(Layout::Nt, [tokens, tokens, size]), d_y, plan.part(qkv.view, 2), d_s)?;
    if let Some(dropout) = dropout {
        dropout.apply_in_place(graph, plan.storage, d_scores, plan.rows() * stride)?;
    }
    let d_relative = graph.scratch_as(plan.storage, "attention by distance", plan.rows() * buckets)?;
    let (constants, groups) = (constants(graph, &plan), grid(plan.rows(), 1));
    let (kernel, writes) = ((&BACKWARD, &constants[..]), [d_scores, d_relative]);
    let dispatch = graph.dispatch(kernel, params(&plan), &[probabilities], &writes, groups)?;
    dispatch.flops((BACKWARD_FLOPS * plan.rows() * stride) as f64).once_and(d_scores.bytes as f64);

    graph.contribute_with("attention", qkv, |graph, d_qkv, accumulate| {
        let into = graph.gradient_dtype(qkv);
        let to_head = |layout| Product { accumulate, into, ..plan.product(layout, [tokens, size, tokens]) };
        let scaled = |layout| Product { scale, ..to_head(layout) };
        product(graph, scaled(Layout::Nn), d_s, plan.part(qkv.view, 1), plan.part(d_qkv, 0))?;
        product(graph, scaled(Layout::Tn), d_s, plan.part(qkv.view, 0), plan.part(d_qkv, 1))?;
        product(graph, to_head(Layout::Tn), p, d_y, plan.part(d_qkv, 2))?;
        plan.queries_by_distance(graph, (distances, d_relative), (d_qkv, into))
    })?;
    plan.distances(graph, qkv, distances, d_relative)
}
