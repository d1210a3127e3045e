//! Squared error of each row: regression.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, each};
use super::rows;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, stride: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("squared_error"), "forward", [3, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 4, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `weights[m] · (x[m, 0] - targets[m])²`, `[M]`: `x` is `[M, S]`, of which only the first column counts;
/// `targets` and `weights` are `[M]`, without gradients. A row whose weight is 0 has neither loss nor gradient,
/// even where it is NaN.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn squared_error(graph: &mut Graph, x: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let (rows, stride) = rows::matrix("squared_error", x)?;
    rows::vector("squared_error", targets, rows, DType::F32)?;
    rows::vector("squared_error", weights, rows, DType::F32)?;
    let params = Params { rows: rows as u32, stride: stride as u32 };
    let loss = graph.output_as(DType::F32, "squared_error", [rows], &[x])?;
    let reads = [x.view, targets.view, weights.view];
    each(graph, (&FORWARD, x.dtype), params, &reads, &[loss.view], rows)?.flops((3 * rows) as f64).once();
    let (x, targets, weights) = (x.clone(), targets.clone(), weights.clone());
    graph.on_backward(&loss, move |graph, d_loss| {
        let d_x = graph.output_as(x.dtype, "squared_error", [rows, stride], &[])?;
        let reads = [x.view, targets.view, weights.view, d_loss.view];
        let dispatch = each(graph, (&BACKWARD, x.dtype), params, &reads, &[d_x.view], rows * stride)?;
        dispatch.flops((3 * rows) as f64).once();
        graph.contribute(&x, d_x)
    });
    Ok(loss)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |[rows, stride]: [usize; 2]| {
        let inputs = Inputs::new(13).normal("x", &[rows, stride], 2.0);
        let target = |m: usize| m as f32 / 50.0 - 1.0;
        let weight = |m: usize| if m % 3 == 1 { 0.0 } else { 0.5 + m as f32 / 100.0 };
        Case::new(format!("[{rows}, {stride}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let [targets, weights] = [target, weight].map(|of| (0..rows).map(of).collect::<Vec<f32>>());
                let targets = graph.constant(&targets, [rows], DType::F32)?;
                let weights = graph.constant(&weights, [rows], DType::F32)?;
                squared_error(graph, &x[0], &targets, &weights)
            })
            .reference(move |x| {
                let rows = x[0].chunks(stride).enumerate();
                rows.map(|(m, row)| f64::from(weight(m)) * (row[0] - f64::from(target(m))).powi(2)).collect()
            })
    };
    [[1, 1], [7, 4], [129, 3], [300, 1]].into_iter().map(case).collect()
}
