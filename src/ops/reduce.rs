//! Sum over rows in a fixed order: losses, and gradients made of partial sums.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP, each};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, width: u32, first: u32, accumulate: u32, accumulate_rest: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("reduce"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };

/// Rows from which a GPU spreads a column over several invocations: one alone waits for each of its reads, and narrow
/// sums leave most of a GPU idle.
const LONG: usize = 16;
/// The invocations of a workgroup then, and how many of them share a column.
const SPREAD: [Constant; 2] = [("WORKGROUP", 256), ("PARTS", 8)];
/// With a second result.
const TWO: Constant = ("TWO", 1);

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    KernelSpec { example: &SPREAD, ..FORWARD },
    KernelSpec { writes: 2, example: &[CONSTANTS[0], TWO], ..FORWARD },
    KernelSpec { writes: 2, example: &[SPREAD[0], SPREAD[1], TWO], ..FORWARD },
    BACKWARD,
];

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
        let params = copies(rows, width);
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
    let params = copies(count, 1);
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
    sum(graph, ([from, to], x, [rows, width]), &[(y, accumulate)], width)
}

/// `Σ x [R, W]`, both f32, whose first `first` columns go to one place and the others to another, each overwritten or, if
/// it says so, added to what is there.
pub(crate) fn sum_into_two(
    graph: &mut Graph,
    x: View,
    sizes: [usize; 2],
    first: usize,
    to: [(View, bool); 2],
) -> Result<()> {
    sum(graph, ([DType::F32; 2], x, sizes), &to, first)
}

fn sum(
    graph: &mut Graph,
    ([from, into], x, [rows, width]): ([DType; 2], View, [usize; 2]),
    to: &[(View, bool)],
    first: usize,
) -> Result<()> {
    let accumulates = |place: usize| to.get(place).is_some_and(|(_, accumulate)| *accumulate);
    let params = Params {
        rows: rows as u32,
        width: width as u32,
        first: first as u32,
        accumulate: accumulates(0).into(),
        accumulate_rest: accumulates(1).into(),
    };
    let mut constants = vec![CONSTANTS[0]];
    let mut columns = WORKGROUP;
    if graph.capabilities().kind == AdapterKind::Gpu && rows >= LONG {
        constants = SPREAD.to_vec();
        columns = SPREAD[0].1 / SPREAD[1].1;
    }
    let mut kernel = FORWARD;
    if to.len() > 1 {
        kernel.writes = 2;
        constants.push(TWO);
    }
    constants.extend([from.elem(), into.out_elem()]);
    let views: Vec<View> = to.iter().map(|(view, _)| *view).collect();
    let dispatch = graph.dispatch((&kernel, &constants), params, &[x], &views, grid(width, columns))?;
    // What is added to is read too.
    let more: u64 = to.iter().filter(|(_, accumulate)| *accumulate).map(|(view, _)| view.bytes).sum();
    dispatch.flops((rows * width) as f64).once_and(more as f64);
    Ok(())
}

/// Parameters of the kernel that copies a row `rows` times.
fn copies(rows: usize, width: usize) -> Params {
    Params { rows: rows as u32, width: width as u32, first: 0, accumulate: 0, accumulate_rest: 0 }
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    [[1, 1], [7, 129], [300, 3], [17, 70]]
        .into_iter()
        .map(|[rows, width]| {
            let inputs = Inputs::new(5).normal("x", &[rows, width], 1.0);
            Case::new(format!("[{rows}, {width}]"), inputs, Metric::Elementwise(1e-5))
                .gpu(|graph, x| sum_rows(graph, &x[0]))
                .reference(move |x| (0..width).map(|w| x[0].iter().skip(w).step_by(width).sum()).collect())
        })
        .collect()
}
