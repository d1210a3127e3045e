//! Rows of a table, looked up by id.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, OPERATIONS_PER_BYTE, grid, params, shader, split};
use crate::tensor::{DType, Tensor};

params! { rows: u32, columns: u32, entries: u32, first: u32, count: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("embedding"), "forward", [2, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };

/// Reading so many bytes one after the other takes as long as an element of the gradient, whose place is looked up.
const GATHERED: usize = 48;

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// The words that [`index`] makes of `rows` ids.
pub fn index_len(rows: usize) -> usize {
    3 * rows + 2
}

/// Which rows hold which id, so that the gradient of the table can be summed in a fixed order, each entry by
/// one invocation: `3 N + 2` words for N ids. How many distinct ids there are; those, ascending, padded to N;
/// where the rows of each start in the order, padded with N to N + 1; the order: all rows, sorted by id and
/// then by row.
pub fn index(ids: &[u32]) -> Vec<u32> {
    let rows = ids.len();
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    let (mut distinct, mut starts) = (Vec::with_capacity(rows), Vec::with_capacity(rows + 1));
    for (at, &row) in order.iter().enumerate() {
        let id = ids[row as usize];
        if distinct.last() != Some(&id) {
            distinct.push(id);
            starts.push(at as u32);
        }
    }
    let count = distinct.len() as u32;
    distinct.resize(rows, 0);
    starts.resize(rows + 1, rows as u32);
    [vec![count], distinct, starts, order].concat()
}

/// `y[n] = table[ids[n]]`: `table` is `[V, C]`, `ids` `[N]` and `index` `[3 N + 2]` (the [`index`] of the same
/// ids; only the gradient reads it) are u32. The result is `[N, C]`. An id of V or more reads the last entry
/// and gives it no gradient.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn embedding(graph: &mut Graph, table: &Tensor, ids: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (entries, columns) = rows::matrix("embedding", table)?;
    let rows = ids.shape.elements();
    rows::vector("embedding", ids, rows, DType::U32)?;
    rows::vector("embedding", index, index_len(rows), DType::U32)?;
    let params = Params {
        rows: rows as u32,
        columns: columns as u32,
        entries: entries as u32,
        first: 0,
        count: columns as u32,
    };
    let groups = grid(rows * columns, WORKGROUP);
    let y = graph.output("embedding", [rows, columns], &[table])?;
    let kernel = (&FORWARD, CONSTANTS);
    let dispatch = graph.dispatch(kernel, params, &[table.view, ids.view], &[y.view], groups)?;
    // No more of the table is read than there is of the result.
    dispatch.bytes((2 * y.view.bytes + ids.view.bytes) as f64);
    let (table, index) = (table.clone(), index.clone());
    graph.on_backward(&y, move |graph, d_y| {
        graph.contribute_with("embedding", &table, |graph, to, accumulate| {
            if !accumulate {
                graph.recorder().clear(to);
            }
            let constants = [CONSTANTS[0], graph.gradient_dtype(&table).out_elem()];
            // One id may have all rows, so what takes long is split between columns.
            let column = (GATHERED * rows) as f64;
            let room = graph.most_operations() / (column * OPERATIONS_PER_BYTE);
            for part in split(columns, 1, room) {
                let (first, count) = (part.start as u32, part.len() as u32);
                let params = Params { first, count, ..params };
                let (kernel, groups) = ((&BACKWARD, &constants[..]), grid(rows * part.len(), WORKGROUP));
                let dispatch = graph.dispatch(kernel, params, &[d_y.view, index.view], &[to], groups)?;
                let elements = (rows * part.len()) as f64;
                dispatch
                    .flops(elements)
                    .bytes(8.0 * elements)
                    .takes(column * f64::from(count) * OPERATIONS_PER_BYTE);
            }
            Ok(())
        })
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, columns, entries, distinct ids.
    let sizes = [(1, 1, 1, 1), (7, 5, 9, 9), (129, 7, 40, 3), (130, 64, 1000, 1000)];
    let case = |(rows, columns, entries, distinct): (usize, usize, usize, u32)| {
        // Steps that share no factor with the counts: repeats far apart, first and last entries used.
        let ids: Vec<u32> = (0..rows as u32).map(|n| entries as u32 - 1 - n * 7919 % distinct).collect();
        let inputs = Inputs::new(4).normal("table", &[entries, columns], 1.0);
        let looked_up = ids.clone();
        Case::new(format!("{rows} of [{entries}, {columns}]"), inputs, Metric::Elementwise(1e-6))
            .gpu(move |graph, x| {
                let index = index(&ids);
                let index = graph.constant(&index, [index.len()], DType::U32)?;
                let ids = graph.constant(&ids, [ids.len()], DType::U32)?;
                embedding(graph, &x[0], &ids, &index)
            })
            .reference(move |x| {
                let row = |&id: &u32| &x[0][id as usize * columns..][..columns];
                looked_up.iter().flat_map(row).copied().collect()
            })
    };
    sizes.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::index;

    #[test]
    fn the_index_sorts_rows_by_id_and_pads() {
        let index = index(&[5, 0, 5, 9, 0, 5]);
        assert_eq!(index.len(), 3 * 6 + 2);
        assert_eq!(index[0], 3);
        assert_eq!(index[1..7], [0, 5, 9, 0, 0, 0]);
        assert_eq!(index[7..14], [0, 2, 5, 6, 6, 6, 6]);
        assert_eq!(index[14..], [1, 4, 0, 2, 5, 3]);
        assert_eq!(super::index(&[]), [0, 0]);
    }
}
