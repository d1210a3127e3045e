//! Mean over a range of the rows of each sequence: pooling of hidden states.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, grid, params, shader};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { sequences: u32, tokens: u32, columns: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("mean_rows"), "forward", [2, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// The mean over rows `start..end` of each sequence: `x` is `[B·T, C]`, `ranges` `[B, 2]` of u32, the result
/// `[B, C]`. What lies beyond T does not count; an empty range gives zeros.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn mean_rows(graph: &mut Graph, x: &Tensor, ranges: &Tensor) -> Result<Tensor> {
    let (rows, columns) = rows::matrix("mean_rows", x)?;
    let sequences = match *ranges.shape.dims() {
        [sequences, 2] if sequences > 0 && rows.is_multiple_of(sequences) && ranges.dtype == DType::U32 => {
            sequences
        }
        _ => {
            let found = format!("{} and {} of {:?}", x.shape, ranges.shape, ranges.dtype);
            return Err(Error::shape("mean_rows", "x [B·T, C] and ranges [B, 2] of u32", found));
        }
    };
    let params =
        Params { sequences: sequences as u32, tokens: (rows / sequences) as u32, columns: columns as u32 };
    let y = graph.output("mean_rows", [sequences, columns], &[x])?;
    let groups = grid(sequences * columns, WORKGROUP);
    let dispatch =
        graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view, ranges.view], &[y.view], groups)?;
    dispatch.flops((rows * columns) as f64).once();
    let (x, ranges) = (x.clone(), ranges.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("mean_rows", [rows, columns], &[])?;
        let groups = grid(rows * columns, WORKGROUP);
        let dispatch =
            graph.dispatch((&BACKWARD, CONSTANTS), params, &[d_y.view, ranges.view], &[d_x.view], groups)?;
        dispatch.flops((rows * columns) as f64).once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let sizes = [(1, 1, 1), (7, 5, 3), (3, 129, 7), (9, 8, 64)];
    let case = |(sequences, tokens, columns): (usize, usize, usize)| {
        // From empty over a part of the sequence to its whole; one end lies beyond it.
        let range = move |b: usize| match b % 4 {
            0 => [0, tokens as u32],
            1 => [tokens as u32 / 3, tokens as u32 / 2 + 1],
            2 => [1, 1],
            _ => [0, 2 * tokens as u32],
        };
        let inputs = Inputs::new(10).normal("x", &[sequences * tokens, columns], 1.0);
        Case::new(format!("{sequences} of [{tokens}, {columns}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let ranges: Vec<_> = (0..sequences).map(range).collect();
                let ranges = graph.constant(&ranges, [sequences, 2], DType::U32)?;
                mean_rows(graph, &x[0], &ranges)
            })
            .reference(move |x| {
                let mut y = Vec::new();
                for b in 0..sequences {
                    let [start, end] = range(b).map(|t| (t as usize).min(tokens));
                    for c in 0..columns {
                        let sum: f64 = (start..end).map(|t| x[0][(b * tokens + t) * columns + c]).sum();
                        y.push(sum / (end - start).max(1) as f64);
                    }
                }
                y
            })
    };
    sizes.into_iter().map(case).collect()
}
