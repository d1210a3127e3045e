//! A bias for each head and distance of two tokens, from a table that has one for each bucket of distances (Raffel et al.
//! 2020, *Exploring the limits of transfer learning with a unified text-to-text transformer*).

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::{reduce, rows};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { buckets: u32, heads: u32, distances: u32, tokens: u32, rows: u32, accumulate: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("position_bias"), "forward", [2, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", ..FORWARD };
const QUERIES: KernelSpec = KernelSpec { entry: "queries", reads: 1, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD, QUERIES];

/// `y [H, R]`: for each head the bias of each of R distances, of `table [K, H]`, whose rows are the buckets that `bucket_of
/// [R]` (u32) names.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn position_bias(graph: &mut Graph, table: &Tensor, bucket_of: &Tensor) -> Result<Tensor> {
    let (buckets, heads) = rows::matrix("position_bias", table)?;
    let distances = bucket_of.shape.elements();
    rows::vector("position_bias", bucket_of, distances, DType::U32)?;
    let params = Params {
        buckets: buckets as u32,
        heads: heads as u32,
        distances: distances as u32,
        tokens: 0,
        rows: 0,
        accumulate: 0,
    };
    let y = graph.output("position_bias", [heads, distances], &[table])?;
    let groups = grid(heads * distances, WORKGROUP);
    let reads = [table.view, bucket_of.view];
    graph.dispatch((&FORWARD, CONSTANTS), params, &reads, &[y.view], groups)?.once();
    let (table, bucket_of) = (table.clone(), bucket_of.clone());
    graph.on_backward(&y, move |graph, d_y| {
        graph.contribute_with("position_bias", &table, |graph, to, accumulate| {
            let params = Params { accumulate: accumulate.into(), ..params };
            let constants = [CONSTANTS[0], graph.gradient_dtype(&table).out_elem()];
            let groups = grid(buckets * heads, WORKGROUP);
            let reads = [d_y.view, bucket_of.view];
            let dispatch = graph.dispatch((&BACKWARD, &constants), params, &reads, &[to], groups)?;
            // An invocation looks at all distances of its head.
            dispatch.flops((buckets * heads * distances) as f64).once();
            Ok(())
        })
    });
    Ok(y)
}

/// Sums `x [B, H, T, R]`, of what the graph stores, over sequences and queries into `to [H, R]` of a type.
pub(super) fn sum_queries(
    graph: &mut Graph,
    x: View,
    [sequences, heads, tokens, distances]: [usize; 4],
    (to, dtype): (View, DType),
    accumulate: bool,
) -> Result<()> {
    let rows = sequences * heads;
    let sums = graph.scratch("position_bias", rows * distances)?;
    let params = Params {
        buckets: 0,
        heads: heads as u32,
        distances: distances as u32,
        tokens: tokens as u32,
        rows: rows as u32,
        accumulate: 0,
    };
    let groups = grid(rows * distances, WORKGROUP);
    let dispatch = graph.dispatch((&QUERIES, CONSTANTS), params, &[x], &[sums], groups)?;
    dispatch.flops((rows * tokens * distances) as f64).once();
    reduce::sum_as([DType::F32, dtype], graph, sums, [sequences, heads * distances], to, accumulate)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |[buckets, heads, distances]: [usize; 3]| {
        let inputs = Inputs::new(12).normal("table", &[buckets, heads], 1.0);
        let bucket = move |r: usize| r * r / 3 % buckets;
        Case::new(format!("{distances} of [{buckets}, {heads}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let buckets: Vec<u32> = (0..distances).map(|r| bucket(r) as u32).collect();
                let buckets = graph.constant(&buckets, [distances], DType::U32)?;
                position_bias(graph, &x[0], &buckets)
            })
            .reference(move |x| {
                let bias = |i: usize| x[0][bucket(i % distances) * heads + i / distances];
                (0..heads * distances).map(bias).collect()
            })
    };
    [[1, 1, 1], [7, 3, 20], [32, 12, 184], [129, 2, 7]].into_iter().map(case).collect()
}
