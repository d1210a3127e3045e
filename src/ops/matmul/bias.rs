//! The gradient of a bias.

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, grid, params, shader};
use crate::ops::elementwise::{CONSTANTS, WORKGROUP};
use crate::ops::reduce;

params! { rows: u32, columns: u32, stride: u32, block_rows: u32, blocks: u32 }

/// Rows whose part of the gradient one invocation sums.
const BLOCK_ROWS: usize = 64;

pub(super) const PARTIALS: KernelSpec =
    KernelSpec::new(shader!("bias_gradient"), "partials", [1, 1], LAYOUT, CONSTANTS);

/// The gradient of a bias from that of the rows it was added to, `d_y [rows, stride]`, put into `to [columns]` or added
/// to what is there.
pub(crate) fn gradient(
    graph: &mut Graph,
    d_y: View,
    [rows, columns, stride]: [usize; 3],
    to: View,
    accumulate: bool,
) -> Result<()> {
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let params = Params {
        rows: rows as u32,
        columns: columns as u32,
        stride: stride as u32,
        block_rows: BLOCK_ROWS as u32,
        blocks: blocks as u32,
    };
    let partial = graph.scratch("bias", blocks * columns)?;
    let groups = grid(blocks * columns, WORKGROUP);
    let dispatch = graph.dispatch((&PARTIALS, CONSTANTS), params, &[d_y], &[partial], groups)?;
    dispatch.flops((rows * columns) as f64).once();
    reduce::sum_into(graph, partial, [blocks, columns], to, accumulate)
}
