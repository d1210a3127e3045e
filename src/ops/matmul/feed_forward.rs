//! Two linear layers with GELU between them.

use super::epilogue::{Epilogue, Then};
use super::{Affine, Layout, Matrix, Product, affine, product_with};
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, View};
use crate::ops::Case;
use crate::ops::check::{Inputs, Metric, erf};
use crate::ops::gelu::gelu;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `outer(gelu(inner(x))) (+ residual)`: `x` is `[N, in]`, the result `[N, out]`, the shape of `residual`.
///
/// On GPUs GELU and its slope are parts of the products on either side of it, on adapters that are CPUs passes of their
/// own.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit, or a width is no multiple of 4.
pub fn feed_forward(
    graph: &mut Graph,
    x: &Tensor,
    [inner, outer]: [&Affine; 2],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    if graph.capabilities().kind == AdapterKind::Cpu {
        let hidden = affine(graph, x, inner, None)?;
        let hidden = gelu(graph, &hidden)?;
        return affine(graph, &hidden, outer, residual);
    }
    fused(graph, x, [inner, outer], residual)
}

const NAME: &str = "feed_forward";

fn fused(
    graph: &mut Graph,
    x: &Tensor,
    [inner, outer]: [&Affine; 2],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let [rows, width, between] = inner.sizes(NAME, x)?;
    let mut parents = vec![x, &inner.weight];
    parents.extend(&inner.bias);
    let hidden = graph.output(NAME, [rows, between], &parents)?;
    let [_, _, out] = outer.sizes(NAME, &hidden)?;
    parents.push(&outer.weight);
    parents.extend(&outer.bias);
    parents.extend(residual);
    let y = graph.output(NAME, [rows, out], &parents)?;
    if !out.is_multiple_of(4) || residual.is_some_and(|r| r.shape != y.shape || r.dtype != y.dtype) {
        let expected = format!("outputs in a multiple of 4, and a residual of {} and {:?}", y.shape, y.dtype);
        let found = format!("{out} outputs and {residual:?}");
        return Err(Error::shape(NAME, expected, found));
    }
    let kept = match y.needs_gradient() {
        true => Some(graph.scratch_as(hidden.dtype, NAME, rows * between)?),
        false => None,
    };
    let after = Epilogue { bias: inner.bias_view(), then: Then::Gelu(kept) };
    forward(graph, [rows, width, between], x.view, inner, hidden.view, after)?;
    let after = Epilogue { bias: outer.bias_view(), ..Epilogue::add(residual.map(|r| r.view)) };
    forward(graph, [rows, between, out], hidden.view, outer, y.view, after)?;
    let Some(kept) = kept else { return Ok(y) };
    let (x, inner, outer, residual) = (x.clone(), inner.clone(), outer.clone(), residual.cloned());
    graph.on_backward(&y, move |graph, d_y| {
        residual.iter().try_for_each(|residual| graph.contribute(residual, d_y.clone()))?;
        let d_y = Matrix::whole(d_y.view, out);
        outer.learn(graph, &hidden, d_y, rows)?;
        let d_hidden = graph.scratch_as(hidden.dtype, NAME, rows * between)?;
        let d_hidden = Matrix::whole(d_hidden, between);
        let sizes = Product::single(Layout::Nn, hidden.dtype, [rows, between, out]);
        let after = Epilogue { bias: None, then: Then::GeluSlope(kept) };
        product_with(graph, sizes, d_y, Matrix::whole(outer.weight.view, between), d_hidden, after)?;
        inner.learn(graph, &x, d_hidden, rows)?;
        inner.pass_on(graph, &x, d_hidden, rows)
    });
    Ok(y)
}

/// `y [rows, out] = x [rows, width] · weightᵀ`, and what comes after.
fn forward(
    graph: &mut Graph,
    [rows, width, out]: [usize; 3],
    x: View,
    layer: &Affine,
    y: View,
    after: Epilogue,
) -> Result<()> {
    let sizes = Product::single(Layout::Nt, graph.storage(), [rows, out, width]);
    let (x, weight) = (Matrix::whole(x, width), Matrix::whole(layer.weight.view, width));
    product_with(graph, sizes, x, weight, Matrix::whole(y, out), after)
}

/// Comparisons with the reference.
pub(super) fn cases() -> Vec<Case> {
    // Rows, inputs, inner width, outputs; whether there are biases, and a residual connection. The last one is what
    // it is added to as well as its input, which then has two gradients to be added.
    let sizes = [
        ([1, 4, 4, 4], false, false),
        ([67, 12, 68, 20], true, false),
        ([9, 8, 132, 8], false, true),
        ([70, 20, 36, 20], true, true),
    ];
    sizes.into_iter().map(|(sizes, biased, added)| case(sizes, biased, added)).collect()
}

fn case([rows, width, between, out]: [usize; 4], biased: bool, added: bool) -> Case {
    let mut inputs = Inputs::new(4)
        .normal("x", &[rows, width], 1.0)
        .normal("inner", &[between, width], 0.5)
        .normal("outer", &[out, between], 0.5);
    if biased {
        inputs = inputs.normal("inner bias", &[between], 1.0).always_f32();
        inputs = inputs.normal("outer bias", &[out], 1.0).always_f32();
    }
    let with = [(biased, " + biases"), (added, " + x")].map(|(is, name)| if is { name } else { "" });
    let name = format!("feed forward of [{rows}, {width}] by {between} to {out}{}{}", with[0], with[1]);
    Case::new(name, inputs, Metric::Nmse(1e-10))
        .gpu(move |graph, x| {
            let layer = |weight: usize, bias: usize| Affine {
                weight: x[weight].clone(),
                bias: biased.then(|| x[bias].clone()),
            };
            // A parameter's gradient takes another way than that of an activation.
            let input = if added { crate::ops::scale::scale(graph, &x[0], 1.0)? } else { x[0].clone() };
            feed_forward(graph, &input, [&layer(1, 3), &layer(2, 4)], added.then_some(&input))
        })
        .reference(move |x| {
            let affine = |input: &[f64], weights: &[f64], bias: Option<&Vec<f64>>| -> Vec<f64> {
                let sums = weights.chunks(input.len()).enumerate();
                sums.map(|(column, weights)| {
                    let sum: f64 = input.iter().zip(weights).map(|(a, b)| a * b).sum();
                    sum + bias.map_or(0.0, |bias| bias[column])
                })
                .collect()
            };
            let gelu = |x: f64| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
            let row = |input: &[f64]| {
                let hidden = affine(input, &x[1], x.get(3));
                let hidden: Vec<f64> = hidden.into_iter().map(gelu).collect();
                let mut y = affine(&hidden, &x[2], x.get(4));
                if added {
                    y.iter_mut().zip(input).for_each(|(y, x)| *y += x);
                }
                y
            };
            x[0].chunks(width).flat_map(row).collect()
        })
}
