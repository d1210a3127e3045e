//! Sum over rows in a fixed order: losses, and gradients made of partial sums.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP, each};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, width: u32, accumulate: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("reduce"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y [W]`, the sum of `x [R, W]` over its rows.
///
/// # Errors
/// As [`Graph::output`].
pub fn sum_rows(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let (rows, width) = (x.shape.rows(), x.shape.width());
    let y = graph.output_as(x.dtype, "sum_rows", [width], &[x])?;
    sum_as([x.dtype, y.dtype], graph, x.view, [rows, width], y.view, false)?;
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output_as(x.dtype, "sum_rows", x.shape.dims(), &[])?;
        let params = Params { rows: rows as u32, width: width as u32, accumulate: 0 };
        each(graph, (&BACKWARD, x.dtype), params, &[d_y.view], &[d_x.view], rows * width)?.once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// `[count]` copies of the one element of `x`, in its type. No gradient flows through it.
///
/// # Errors
/// As [`Graph::output`].
pub fn broadcast(graph: &mut Graph, x: &Tensor, count: usize) -> Result<Tensor> {
    let y = graph.output_as(x.dtype, "broadcast", [count], &[])?;
    let params = Params { rows: count as u32, width: 1, accumulate: 0 };
    each(graph, (&BACKWARD, x.dtype), params, &[x.view], &[y.view], count)?.once();
    Ok(y)
}

/// `y [W] = Σ x [R, W]`, added to what `y` holds if `accumulate`; both f32.
pub(crate) fn sum_into(
    graph: &mut Graph,
    x: View,
    sizes: [usize; 2],
    y: View,
    accumulate: bool,
) -> Result<()> {
    sum_as([DType::F32; 2], graph, x, sizes, y, accumulate)
}

/// [`sum_into`] of an `x` and into a `y` of these types.
pub(crate) fn sum_as(
    [from, to]: [DType; 2],
    graph: &mut Graph,
    x: View,
    [rows, width]: [usize; 2],
    y: View,
    accumulate: bool,
) -> Result<()> {
    let params = Params { rows: rows as u32, width: width as u32, accumulate: accumulate.into() };
    let kernel = (&FORWARD, &[CONSTANTS[0], from.elem(), to.out_elem()][..]);
    let dispatch = graph.dispatch(kernel, params, &[x], &[y], grid(width, WORKGROUP))?;
    dispatch.flops((rows * width) as f64).once_and(if accumulate { y.bytes as f64 } else { 0.0 });
    Ok(())
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    [[1, 1], [7, 129], [300, 3]]
        .into_iter()
        .map(|[rows, width]| {
            let inputs = Inputs::new(5).normal("x", &[rows, width], 1.0);
            Case::new(format!("[{rows}, {width}]"), inputs, Metric::Elementwise(1e-5))
                .gpu(|graph, x| sum_rows(graph, &x[0]))
                .reference(move |x| (0..width).map(|w| x[0].iter().skip(w).step_by(width).sum()).collect())
        })
        .collect()
}
