//! A bias added to every row, with a residual connection where there is one.

use super::Case;
use super::check::{Inputs, Metric};
use super::{reduce, rows};
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { rows: u32, columns: u32, stride: u32, block_rows: u32, blocks: u32 }

/// Rows whose part of the bias's gradient one invocation sums.
const BLOCK_ROWS: usize = 64;

const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];
const FORWARD: KernelSpec = KernelSpec {
    source: shader!("add_bias"),
    entry: "forward",
    reads: 2,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: CONSTANTS,
};
const FORWARD_RESIDUAL: KernelSpec = KernelSpec { entry: "forward_residual", reads: 3, ..FORWARD };
const IN_PLACE: KernelSpec = KernelSpec { entry: "in_place", reads: 1, ..FORWARD };
const PARTIALS: KernelSpec = KernelSpec { entry: "partials", reads: 1, ..FORWARD };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, FORWARD_RESIDUAL, IN_PLACE, PARTIALS];

/// `y = x + bias (+ residual)`: `x` and `residual` are `[N, S]`, `bias` `[C]` with C up to S. The columns from C on
/// are padding, which gets no bias; its gradient must be zero. The result is `[N, S]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn add_bias(graph: &mut Graph, x: &Tensor, bias: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    let (rows, stride) = rows::matrix("add_bias", x)?;
    let columns = bias.shape.elements();
    rows::vector("add_bias", bias, columns, DType::F32)?;
    if columns == 0 || columns > stride || residual.is_some_and(|r| r.shape != x.shape) {
        return Err(Error::Shape {
            operation: "add_bias",
            expected: format!("a bias of 1 to {stride} values and a residual of {}", x.shape),
            found: format!("{} and {:?}", bias.shape, residual.map(|r| &r.shape)),
        });
    }
    let params = Params::new([rows, columns, stride]);
    let mut parents = vec![x, bias];
    parents.extend(residual);
    let y = graph.output("add_bias", [rows, stride], &parents)?;
    let mut reads = vec![x.view, bias.view];
    reads.extend(residual.map(|r| r.view));
    let forward = if residual.is_some() { &FORWARD_RESIDUAL } else { &FORWARD };
    graph.dispatch((forward, CONSTANTS), params, &reads, &[y.view], grid(rows * stride, WORKGROUP))?;
    let (x, bias, residual) = (x.clone(), bias.clone(), residual.cloned());
    graph.on_backward(&y, move |graph, d_y| {
        graph.contribute_with("add_bias", &bias, |graph, to, accumulate| {
            gradient(graph, d_y.view, [rows, columns, stride], to, accumulate)
        })?;
        graph.contribute(&x, d_y.clone())?;
        residual.iter().try_for_each(|residual| graph.contribute(residual, d_y.clone()))
    });
    Ok(y)
}

impl Params {
    /// Of rows of `columns` in `stride`.
    fn new([rows, columns, stride]: [usize; 3]) -> Self {
        let blocks = rows.div_ceil(BLOCK_ROWS) as u32;
        let [rows, columns, stride] = [rows, columns, stride].map(|size| size as u32);
        Params { rows, columns, stride, block_rows: BLOCK_ROWS as u32, blocks }
    }
}

/// `x += bias` in each row: `x` is `[rows, stride]`, `bias` `[columns]`.
pub(super) fn add_in_place(graph: &mut Graph, x: View, bias: View, sizes: [usize; 3]) -> Result<()> {
    let [rows, _, stride] = sizes;
    let groups = grid(rows * stride, WORKGROUP);
    graph.dispatch((&IN_PLACE, CONSTANTS), Params::new(sizes), &[bias], &[x], groups)
}

/// The gradient of the bias, from that of the result `d_y [rows, stride]`, put into `to [columns]` or added to what is
/// there.
pub(super) fn gradient(
    graph: &mut Graph,
    d_y: View,
    sizes: [usize; 3],
    to: View,
    accumulate: bool,
) -> Result<()> {
    let (params, columns) = (Params::new(sizes), sizes[1]);
    let blocks = params.blocks as usize;
    let partial = graph.scratch("add_bias", blocks * columns)?;
    let groups = grid(blocks * columns, WORKGROUP);
    graph.dispatch((&PARTIALS, CONSTANTS), params, &[d_y], &[partial], groups)?;
    reduce::sum_into(graph, partial, [blocks, columns], to, accumulate)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, columns, columns with padding.
    let sizes = [(1, 1, 1), (7, 129, 129), (129, 7, 8), (65, 61, 64), (200, 64, 64)];
    let case = |((rows, columns, stride), with_residual): ((usize, usize, usize), bool)| {
        let mut inputs =
            Inputs::new(8).normal("x", &[rows, stride], 1.0).normal("bias", &[columns], 1.0).always_f32();
        if with_residual {
            inputs = inputs.normal("residual", &[rows, stride], 1.0);
        }
        let name = if with_residual { " and a residual" } else { "" };
        Case::new(format!("[{rows}, {stride}] + [{columns}]{name}"), inputs, Metric::Elementwise(1e-5))
            .gpu(|graph, x| add_bias(graph, &x[0], &x[1], x.get(2)))
            .reference(move |x| {
                let element = |i: usize| {
                    let column = i % stride;
                    let bias = if column < columns { x[1][column] } else { f64::NAN };
                    x[0][i] + bias + x.get(2).map_or(0.0, |residual| residual[i])
                };
                (0..rows * stride).map(element).collect()
            })
    };
    sizes.into_iter().flat_map(|size| [(size, false), (size, true)]).map(case).collect()
}
