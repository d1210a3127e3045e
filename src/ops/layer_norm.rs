//! Layer normalization of each row.

use super::Case;
use super::add::add;
use super::check::{Inputs, Metric};
use super::rows;
use super::scale::scale;
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, KernelSpec, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, columns: u32, block_rows: u32, blocks: u32, offset: u32, accumulate: u32, eps: f32 }

/// Rows whose part of the gradients of weight and bias one invocation sums.
const BLOCK_ROWS: usize = 64;

const PLAIN: &[Constant] = &[("LANES", 64)];
const FORWARD: KernelSpec = KernelSpec::new(shader!("layer_norm"), "forward", [3, 2], LAYOUT, PLAIN);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 4, writes: 1, ..FORWARD };
/// With another gradient added.
const ONTO: Constant = ("ONTO", 1);
const BACKWARD_ONTO: KernelSpec = KernelSpec { reads: 5, example: &[PLAIN[0], ONTO], ..BACKWARD };
const PARTIALS: KernelSpec = KernelSpec { entry: "partials", reads: 3, writes: 1, ..FORWARD };
/// For adapters that are CPUs, where rows are a multiple of 4 wide.
const SOFTWARE_FORWARD: KernelSpec =
    KernelSpec { source: shader!("layer_norm_software"), textures: 3, example: &[], ..FORWARD };
const SOFTWARE_BACKWARD: KernelSpec =
    KernelSpec { entry: "backward", reads: 4, textures: 4, writes: 1, ..SOFTWARE_FORWARD };
const SOFTWARE_ONTO: KernelSpec = KernelSpec { reads: 5, textures: 5, example: &[ONTO], ..SOFTWARE_BACKWARD };
const SOFTWARE_PARTIALS: KernelSpec = KernelSpec { entry: "partials", writes: 1, ..SOFTWARE_FORWARD };
const REDUCE: KernelSpec = KernelSpec { entry: "reduce", reads: 1, writes: 1, ..FORWARD };

/// Operations to an element: sums of values and squares and what is made of them; the two sums of the way back and the
/// gradient; the parts of the gradients of weight and bias.
const FORWARD_FLOPS: f64 = 7.0;
const BACKWARD_FLOPS: f64 = 11.0;
const PARTIALS_FLOPS: f64 = 5.0;

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    BACKWARD,
    BACKWARD_ONTO,
    SOFTWARE_FORWARD,
    SOFTWARE_BACKWARD,
    SOFTWARE_ONTO,
    PARTIALS,
    SOFTWARE_PARTIALS,
    REDUCE,
    KernelSpec { example: rows::SOFTWARE, ..FORWARD },
    KernelSpec { example: rows::SOFTWARE, ..BACKWARD },
];

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias`, mean and (biased) variance over each row of
/// `x` `[N, C]`; `weight` and `bias` are `[C]`. The result is `[N, C]`. (Ba, Kiros & Hinton 2016.)
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn layer_norm(graph: &mut Graph, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let (rows, columns) = rows::matrix("layer_norm", x)?;
    rows::vector("layer_norm", weight, columns, DType::F32)?;
    rows::vector("layer_norm", bias, columns, DType::F32)?;
    let lanes = rows::lanes(graph, PLAIN);
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let elements = (rows * columns) as f64;
    let params = Params {
        rows: rows as u32,
        columns: columns as u32,
        block_rows: BLOCK_ROWS as u32,
        blocks: blocks as u32,
        offset: 0,
        accumulate: 0,
        eps,
    };
    let y = graph.output("layer_norm", [rows, columns], &[x, weight, bias])?;
    let stats = graph.scratch("layer_norm", (2 * rows).next_multiple_of(4))?;
    let software =
        graph.capabilities().kind == AdapterKind::Cpu && columns.is_multiple_of(4) && x.dtype == DType::F32;
    // Each kernel with the workgroups for its rows, or its blocks and columns.
    let (forward, backward, partials, row_groups, block_groups) = if software {
        let blocks = grid(blocks * columns / 4, 8);
        let backward = [&SOFTWARE_BACKWARD, &SOFTWARE_ONTO];
        (&SOFTWARE_FORWARD, backward, &SOFTWARE_PARTIALS, grid(rows, 8), blocks)
    } else {
        let blocks = grid(blocks * columns, lanes[0].1);
        (&FORWARD, [&BACKWARD, &BACKWARD_ONTO], &PARTIALS, grid(rows, 1), blocks)
    };
    let reads = [x.view, weight.view, bias.view];
    let dispatch = graph.dispatch((forward, lanes), params, &reads, &[y.view, stats], row_groups)?;
    dispatch.flops(FORWARD_FLOPS * elements).once();
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let partial = graph.scratch("layer_norm", 2 * blocks * columns)?;
        if weight.needs_gradient() || bias.needs_gradient() {
            let reads = [x.view, d_y.view, stats];
            let dispatch = graph.dispatch((partials, lanes), params, &reads, &[partial], block_groups)?;
            dispatch.flops(PARTIALS_FLOPS * elements).once();
        }
        for (tensor, offset) in [(&weight, 0), (&bias, columns)] {
            graph.contribute_with("layer_norm", tensor, |graph, to, accumulate| {
                let params = Params { offset: offset as u32, accumulate: accumulate.into(), ..params };
                let groups = grid(columns, lanes[0].1);
                let dispatch = graph.dispatch((&REDUCE, lanes), params, &[partial], &[to], groups)?;
                // Half of the parts, and what is added to is read too.
                let bytes = 4 * columns * (blocks + 1 + usize::from(accumulate));
                dispatch.flops((blocks * columns) as f64).bytes(bytes as f64);
                Ok(())
            })?;
        }
        graph.contribute_onto("layer_norm", &x, |graph, d_x, there| {
            let mut reads = vec![x.view, weight.view, d_y.view, stats];
            reads.extend(there);
            let mut constants = lanes.to_vec();
            constants.extend(there.map(|_| ONTO));
            let kernel = (backward[usize::from(there.is_some())], constants.as_slice());
            graph
                .dispatch(kernel, params, &reads, &[d_x], row_groups)?
                .flops(BACKWARD_FLOPS * elements)
                .once();
            Ok(())
        })
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // The first has more rows than a dimension of the grid.
    let sizes = [
        (65537, 2, 0.0),
        (1, 1, 0.0),
        (1, 7, 0.0),
        (7, 129, 3.0),
        (129, 7, 0.0),
        (130, 64, -1.0),
        (3, 1024, 0.5),
        (67, 4, 0.0),
    ];
    let case = |(rows, columns, mean): (usize, usize, f32)| {
        let inputs = Inputs::new(3)
            .normal_around("x", &[rows, columns], mean, 2.0)
            .normal_around("weight", &[columns], 1.0, 0.5)
            .always_f32()
            .normal("bias", &[columns], 1.0)
            .always_f32();
        let case = Case::new(format!("[{rows}, {columns}] around {mean}"), inputs, Metric::Elementwise(1e-5));
        // The gradient of a row of one element is 0, as d_y w / sqrt(eps) less itself.
        let case = if columns == 1 { case.cancelling(1.0 / EPS.sqrt()) } else { case };
        case.gpu(move |graph, x| layer_norm(graph, &x[0], &x[1], &x[2], EPS as f32))
            .reference(move |x| normed(x, columns))
    };
    // A row that is added to what it is normed to has two gradients.
    let with_residual = |(rows, columns): (usize, usize)| {
        let inputs = Inputs::new(12)
            .normal("x", &[rows, columns], 2.0)
            .normal_around("weight", &[columns], 1.0, 0.5)
            .always_f32()
            .normal("bias", &[columns], 1.0)
            .always_f32();
        Case::new(format!("[{rows}, {columns}] + x"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let input = scale(graph, &x[0], 1.0)?;
                let normed = layer_norm(graph, &input, &x[1], &x[2], EPS as f32)?;
                add(graph, &input, &normed)
            })
            .reference(move |x| normed(x, columns).iter().zip(&x[0]).map(|(y, x)| y + x).collect())
    };
    sizes.into_iter().map(case).chain([(7, 129), (130, 64)].map(with_residual)).collect()
}

/// The constant of the comparisons.
const EPS: f64 = 1e-3;

fn normed(x: &[Vec<f64>], columns: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x[0].len());
    for row in x[0].chunks(columns) {
        let mean = row.iter().sum::<f64>() / columns as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
        let scale = 1.0 / (variance + EPS).sqrt();
        y.extend(row.iter().zip(x[1].iter().zip(&x[2])).map(|(x, (w, b))| (x - mean) * scale * w + b));
    }
    y
}
