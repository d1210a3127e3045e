//! Rows divided by their L2 norm.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, grid, params, shader};
use crate::tensor::Tensor;

params! { rows: u32, columns: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("normalize"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y = x / |x|` for each row of `x [N, C]`; a row of zeros stays one and has no gradient.
///
/// # Errors
/// [`crate::Error::Shape`] when `x` is no matrix; as [`Graph::output`].
pub fn normalize(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = rows::matrix("normalize", x)?;
    let params = Params { rows: rows as u32, columns: columns as u32 };
    let groups = grid(rows, WORKGROUP);
    let y = graph.output("normalize", [rows, columns], &[x])?;
    let dispatch = graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view], &[y.view], groups)?;
    dispatch.flops((3 * rows * columns) as f64).once();
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("normalize", [rows, columns], &[])?;
        let dispatch =
            graph.dispatch((&BACKWARD, CONSTANTS), params, &[x.view, d_y.view], &[d_x.view], groups)?;
        dispatch.flops((7 * rows * columns) as f64).once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let sizes = [(1, 2, 1.0), (7, 129, 3.0), (129, 7, 0.1), (3, 64, 30.0)];
    let case = |(rows, columns, deviation): (usize, usize, f32)| {
        let inputs = Inputs::new(11).normal("x", &[rows, columns], deviation);
        let name = format!("[{rows}, {columns}] of deviation {deviation}");
        Case::new(name, inputs, Metric::Elementwise(1e-5)).gpu(|graph, x| normalize(graph, &x[0])).reference(
            move |x| {
                let unit = |row: &[f64]| {
                    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter().map(|x| x / norm).collect::<Vec<_>>()
                };
                x[0].chunks(columns).flat_map(unit).collect()
            },
        )
    };
    sizes.into_iter().map(case).collect()
}
