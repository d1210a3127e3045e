//! Binary cross entropy of each row: whether a text has each of several labels.

use super::Case;
use super::check::{Inputs, Metric};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, grid, params, shader};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { rows: u32, stride: u32, labels: u32 }

const PLAIN: &[Constant] = &[("LANES", 64)];
const FORWARD: KernelSpec =
    KernelSpec::new(shader!("binary_cross_entropy"), "forward", [3, 1], LAYOUT, PLAIN);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 4, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    BACKWARD,
    KernelSpec { example: rows::SOFTWARE, ..FORWARD },
    KernelSpec { example: rows::SOFTWARE, ..BACKWARD },
];

/// `weights[m] · mean over k of ln(1 + exp(x[m, k])) - targets[m, k] · x[m, k]`, `[M]` in nats: what it costs to take the
/// logistic function of each logit for the probability that its label is given (PyTorch's `BCEWithLogitsLoss`). `x` is
/// `[M, S]`, of which the first K columns count, the gradient of the others being 0; `targets` is `[M, K]` of numbers from 0
/// to 1, and `weights` `[M]`, both f32 and without gradients. A row whose weight is 0 has neither loss nor gradient, even
/// where it is NaN.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn binary_cross_entropy(
    graph: &mut Graph,
    x: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    const NAME: &str = "binary_cross_entropy";
    let (rows, stride) = rows::matrix(NAME, x)?;
    let (lines, labels) = rows::matrix(NAME, targets)?;
    rows::vector(NAME, weights, rows, DType::F32)?;
    if lines != rows || labels > stride || targets.dtype != DType::F32 {
        let expected = format!("[{rows}, up to {stride}] of F32 for logits of {}", x.shape);
        return Err(Error::shape(NAME, expected, format!("{} of {:?}", targets.shape, targets.dtype)));
    }
    let params = Params { rows: rows as u32, stride: stride as u32, labels: labels as u32 };
    let loss = graph.output_as(DType::F32, NAME, [rows], &[x])?;
    let constants = [rows::lanes(graph, PLAIN)[0], x.dtype.elem()];
    let reads = [x.view, targets.view, weights.view];
    let dispatch = graph.dispatch((&FORWARD, &constants), params, &reads, &[loss.view], grid(rows, 1))?;
    dispatch.flops((FLOPS * rows * labels) as f64).once();
    let (x, targets, weights) = (x.clone(), targets.clone(), weights.clone());
    graph.on_backward(&loss, move |graph, d_loss| {
        let d_x = graph.output_as(x.dtype, NAME, [rows, stride], &[])?;
        let reads = [x.view, targets.view, weights.view, d_loss.view];
        let dispatch = graph.dispatch((&BACKWARD, &constants), params, &reads, &[d_x.view], grid(rows, 1))?;
        dispatch.flops((FLOPS * rows * labels) as f64).once();
        graph.contribute(&x, d_x)
    });
    Ok(loss)
}

/// Operations to a logit: the exponential, the logarithm, the product with the target, two sums and a maximum there; about
/// as many back.
const FLOPS: usize = 6;

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, labels, columns, deviation.
    let sizes = [
        (1, 1, 1, 1.0),
        (1, 7, 8, 2.0),
        (7, 129, 132, 3.0),
        (129, 7, 7, 1.0),
        (5, 64, 64, 30.0),
        (3, 1000, 1000, 2.0),
    ];
    let case = |(rows, labels, columns, deviation): (usize, usize, usize, f32)| {
        let inputs = Inputs::new(17).normal("x", &[rows, columns], deviation);
        // Some are neither wholly right nor wholly wrong.
        let target = move |i: usize| [0.0, 1.0, 1.0, 0.25, 0.0][i * 31 % 5];
        // As heavy as there are labels, so that the gradients are not lost in the 1 that they are added to.
        let weight = move |m: usize| if m % 3 == 1 { 0.0 } else { labels as f32 * (0.5 + m as f32 / 100.0) };
        Case::new(format!("{labels} of [{rows}, {columns}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let targets: Vec<f32> = (0..rows * labels).map(target).collect();
                let weights: Vec<f32> = (0..rows).map(weight).collect();
                let targets = graph.constant(&targets, [rows, labels], DType::F32)?;
                let weights = graph.constant(&weights, [rows], DType::F32)?;
                binary_cross_entropy(graph, &x[0], &targets, &weights)
            })
            .reference(move |x| {
                let row = |(m, row): (usize, &[f64])| {
                    let losses = row[..labels].iter().enumerate().map(|(k, x)| {
                        x.max(0.0) + (-x.abs()).exp().ln_1p() - f64::from(target(m * labels + k)) * x
                    });
                    f64::from(weight(m)) * losses.sum::<f64>() / labels as f64
                };
                x[0].chunks(columns).enumerate().map(row).collect()
            })
    };
    sizes.into_iter().map(case).collect()
}
