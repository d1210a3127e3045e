//! Chosen rows of a matrix.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, columns: u32, slots: u32 }

/// Marks a slot that takes no row.
pub const UNUSED: u32 = u32::MAX;

const FORWARD: KernelSpec = KernelSpec::new(shader!("gather_rows"), "forward", [2, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y[m] = x[rows[m]]`: `x` is `[N, C]`, `rows` `[M]` of u32, the result `[M, C]`. The rows that are taken
/// must be distinct. A slot with [`UNUSED`] (or any other number from N on) gives zeros and no gradient.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn gather_rows(graph: &mut Graph, x: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let (count, columns) = rows::matrix("gather_rows", x)?;
    let slots = rows.shape.elements();
    rows::vector("gather_rows", rows, slots, DType::U32)?;
    let params = Params { rows: count as u32, columns: columns as u32, slots: slots as u32 };
    let groups = grid(slots * columns, WORKGROUP);
    let y = graph.output("gather_rows", [slots, columns], &[x])?;
    let dispatch = graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view, rows.view], &[y.view], groups)?;
    // Only the rows that are taken.
    dispatch.bytes((2 * y.view.bytes + rows.view.bytes) as f64);
    let (x, rows) = (x.clone(), rows.clone());
    graph.on_backward(&y, move |graph, d_y| {
        graph.contribute_with("gather_rows", &x, |graph, to, accumulate| {
            if !accumulate {
                graph.recorder().clear(to);
            }
            let dtype = graph.gradient_dtype(&x);
            let constants = [CONSTANTS[0], dtype.out_elem()];
            let bytes = d_y.view.bytes + rows.view.bytes + 2 * (slots * columns) as u64 * dtype.bytes();
            let reads = [d_y.view, rows.view];
            graph.dispatch((&BACKWARD, &constants), params, &reads, &[to], groups)?.bytes(bytes as f64);
            Ok(())
        })
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, columns, slots; every fifth slot is unused.
    let sizes = [(1, 1, 1), (7, 5, 3), (129, 7, 129), (200, 64, 31)];
    let case = |(rows, columns, slots): (usize, usize, usize)| {
        let slot = |m: usize| if m % 5 == 4 { UNUSED } else { (rows - 1 - m) as u32 };
        let taken: Vec<u32> = (0..slots).map(slot).collect();
        let inputs = Inputs::new(5).normal("x", &[rows, columns], 1.0);
        let expected = taken.clone();
        Case::new(format!("{slots} of [{rows}, {columns}]"), inputs, Metric::Elementwise(1e-6))
            .gpu(move |graph, x| {
                let rows = graph.constant(&taken, [taken.len()], DType::U32)?;
                gather_rows(graph, &x[0], &rows)
            })
            .reference(move |x| {
                let mut y = Vec::new();
                for &row in &expected {
                    match row {
                        UNUSED => y.resize(y.len() + columns, 0.0),
                        row => y.extend(&x[0][row as usize * columns..][..columns]),
                    }
                }
                y
            })
    };
    sizes.into_iter().map(case).collect()
}
