//! Poolings of a range of the rows of each sequence, several side by side.

use super::Case;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, grid, params, shader};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { sequences: u32, tokens: u32, columns: u32, kinds: u32, count: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("pool_rows"), "forward", [2, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 3, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// Poolings that may stand side by side: each takes 4 bits of a word.
pub const MOST: usize = 8;

/// What is made of the rows of a range. The numbers are those of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Their mean.
    Mean = 0,
    /// The first of them.
    First = 1,
    /// The largest of each column.
    Max = 2,
    /// Their sum, divided by the root of their number.
    Root = 3,
    /// Their mean, row t of the sequence counting t + 1 times.
    Weighted = 4,
    /// The last of them.
    Last = 5,
}

/// What `kinds` make of rows `start..end` of each sequence, side by side: `x` is `[B·T, C]`, `ranges` `[B, 2]` of u32, the
/// result `[B, K·C]` for K kinds. What lies beyond T does not count; an empty range gives zeros.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these, or there are no kinds or more than [`MOST`]; as [`Graph::output`].
pub fn pool_rows(graph: &mut Graph, x: &Tensor, ranges: &Tensor, kinds: &[Kind]) -> Result<Tensor> {
    let (rows, columns) = rows::matrix("pool_rows", x)?;
    let sequences = match *ranges.shape.dims() {
        [sequences, 2] if sequences > 0 && rows.is_multiple_of(sequences) && ranges.dtype == DType::U32 => {
            sequences
        }
        _ => {
            let found = format!("{} and {} of {:?}", x.shape, ranges.shape, ranges.dtype);
            return Err(Error::shape("pool_rows", "x [B·T, C] and ranges [B, 2] of u32", found));
        }
    };
    if !(1..=MOST).contains(&kinds.len()) {
        return Err(Error::shape(
            "pool_rows",
            format!("1 to {MOST} kinds of pooling"),
            kinds.len().to_string(),
        ));
    }
    let params = Params {
        sequences: sequences as u32,
        tokens: (rows / sequences) as u32,
        columns: columns as u32,
        kinds: kinds.iter().rev().fold(0, |word, &kind| word << 4 | kind as u32),
        count: kinds.len() as u32,
    };
    let y = graph.output("pool_rows", [sequences, kinds.len() * columns], &[x])?;
    let groups = grid(sequences * kinds.len() * columns, WORKGROUP);
    let flops = (2 * kinds.len() * rows * columns) as f64;
    let dispatch =
        graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view, ranges.view], &[y.view], groups)?;
    dispatch.flops(flops).once();
    let largest = if kinds.contains(&Kind::Max) { rows / sequences } else { 1 };
    let (x, ranges) = (x.clone(), ranges.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("pool_rows", [rows, columns], &[])?;
        let groups = grid(rows * columns, WORKGROUP);
        let reads = [x.view, ranges.view, d_y.view];
        let dispatch = graph.dispatch((&BACKWARD, CONSTANTS), params, &reads, &[d_x.view], groups)?;
        dispatch.flops(flops * largest as f64).once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    use Kind::{First, Last, Max, Mean, Root, Weighted};
    let sizes: [(_, &'static [Kind]); 12] = [
        ((1, 1, 1), &[Mean]),
        ((7, 5, 3), &[Mean]),
        ((3, 129, 7), &[Mean]),
        ((9, 8, 64), &[Mean]),
        ((1, 1, 1), &[Weighted]),
        ((7, 5, 3), &[Max]),
        ((3, 129, 7), &[Root]),
        ((3, 129, 7), &[Weighted]),
        ((5, 9, 4), &[First]),
        ((5, 9, 4), &[Last]),
        ((9, 8, 64), &[First, Max, Mean, Root, Weighted, Last]),
        ((4, 7, 5), &[Last, Last, Mean]),
    ];
    sizes.into_iter().map(|(sizes, kinds)| case(sizes, kinds)).collect()
}

fn case((sequences, tokens, columns): (usize, usize, usize), kinds: &'static [Kind]) -> Case {
    // From empty over a part of the sequence to its whole; one end lies beyond it.
    let range = move |b: usize| match b % 4 {
        0 => [0, tokens as u32],
        1 => [tokens as u32 / 3, tokens as u32 / 2 + 1],
        2 => [1, 1],
        _ => [0, 2 * tokens as u32],
    };
    let inputs = Inputs::new(10).normal("x", &[sequences * tokens, columns], 1.0);
    Case::new(format!("{kinds:?} of {sequences} of [{tokens}, {columns}]"), inputs, Metric::Elementwise(1e-5))
        .gpu(move |graph, x| {
            let ranges: Vec<_> = (0..sequences).map(range).collect();
            let ranges = graph.constant(&ranges, [sequences, 2], DType::U32)?;
            pool_rows(graph, &x[0], &ranges, kinds)
        })
        .reference(move |x| {
            let mut y = Vec::new();
            for b in 0..sequences {
                let [start, end] = range(b).map(|t| (t as usize).min(tokens));
                for kind in kinds {
                    for c in 0..columns {
                        let column = (start..end).map(|t| (t, x[0][(b * tokens + t) * columns + c]));
                        y.push(pooled(*kind, column.collect()));
                    }
                }
            }
            y
        })
}

/// The reference: what a kind makes of a column's rows, each with its place in the sequence.
fn pooled(kind: Kind, column: Vec<(usize, f64)>) -> f64 {
    let sum: f64 = column.iter().map(|(_, x)| x).sum();
    let count = column.len().max(1) as f64;
    match kind {
        Kind::Mean => sum / count,
        Kind::Root => sum / count.sqrt(),
        Kind::First => column.first().map_or(0.0, |(_, x)| *x),
        Kind::Last => column.last().map_or(0.0, |(_, x)| *x),
        Kind::Max => column.iter().map(|(_, x)| *x).reduce(f64::max).unwrap_or(0.0),
        Kind::Weighted => {
            let weights: usize = column.iter().map(|(t, _)| t + 1).sum();
            column.iter().map(|(t, x)| (t + 1) as f64 * x).sum::<f64>() / weights.max(1) as f64
        }
    }
}
