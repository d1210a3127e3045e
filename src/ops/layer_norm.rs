//! Layer normalization of each row.

use super::Case;
use super::add::add;
use super::check::{Inputs, Metric};
use super::scale::scale;
use super::{reduce, rows};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, KernelSpec, View, grid, params, shader};
use crate::tensor::{DType, Tensor};

params! { rows: u32, columns: u32, block_rows: u32, blocks: u32, eps: f32 }

/// Rows whose part of the gradients of weight and bias one invocation of a CPU sums.
const SOFTWARE_BLOCK_ROWS: usize = 64;

/// Invocations that share a row on a GPU, and the columns that each of them keeps in registers, as they are for rows of
/// 768; rows so wide that they would not fit are shared by [`WIDE_LANES`].
const LANES: u32 = 64;
const WIDE_LANES: u32 = 256;
const WIDE: usize = 1024;
const USUAL: &[Constant] = &[("LANES", LANES), ("PER", 12)];
/// With another gradient added.
const ONTO: Constant = ("ONTO", 1);

const FORWARD: KernelSpec = KernelSpec::new(shader!("layer_norm"), "forward", [3, 2], LAYOUT, USUAL);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 4, writes: 2, ..FORWARD };
const BACKWARD_ONTO: KernelSpec = KernelSpec { reads: 5, example: &[USUAL[0], USUAL[1], ONTO], ..BACKWARD };
/// For adapters that are CPUs, where rows are a multiple of 4 wide.
const SOFTWARE_FORWARD: KernelSpec =
    KernelSpec { source: shader!("layer_norm_software"), textures: 3, example: &[], ..FORWARD };
const SOFTWARE_BACKWARD: KernelSpec =
    KernelSpec { entry: "backward", reads: 4, textures: 4, writes: 1, ..SOFTWARE_FORWARD };
const SOFTWARE_ONTO: KernelSpec = KernelSpec { reads: 5, textures: 5, example: &[ONTO], ..SOFTWARE_BACKWARD };
const SOFTWARE_PARTIALS: KernelSpec = KernelSpec { entry: "partials", writes: 1, ..SOFTWARE_FORWARD };

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
    SOFTWARE_PARTIALS,
    KernelSpec { example: &[("LANES", WIDE_LANES), ("PER", 16)], ..BACKWARD },
];

/// How rows are divided among workgroups and their invocations.
#[derive(Debug, Clone, Copy)]
struct Plan {
    software: bool,
    lanes: [Constant; 2],
    params: Params,
}

impl Plan {
    fn new(software: bool, [rows, columns]: [usize; 2], eps: f32) -> Self {
        let lanes = if columns <= WIDE { LANES } else { WIDE_LANES };
        let block_rows = if software { SOFTWARE_BLOCK_ROWS } else { block_rows(rows) };
        Plan {
            software,
            lanes: [("LANES", lanes), ("PER", columns.div_ceil(lanes as usize) as u32)],
            params: Params {
                rows: rows as u32,
                columns: columns as u32,
                block_rows: block_rows as u32,
                blocks: rows.div_ceil(block_rows) as u32,
                eps,
            },
        }
    }

    /// The constants of a kernel, of which CPUs need none.
    fn constants(&self) -> &[Constant] {
        if self.software { &[] } else { &self.lanes }
    }
}

/// Rows whose part of the gradients of weight and bias a workgroup of a GPU sums: so few that every GPU has enough
/// workgroups, so many that their parts, which are read again, stay small beside the rows.
fn block_rows(rows: usize) -> usize {
    rows.div_ceil(1024).max(rows.div_ceil(256).clamp(4, 16))
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias`, mean and (biased) variance over each row of
/// `x` `[N, C]`; `weight` and `bias` are `[C]`. The result is `[N, C]`. (Ba, Kiros & Hinton 2016.)
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn layer_norm(graph: &mut Graph, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let (rows, columns) = rows::matrix("layer_norm", x)?;
    rows::vector("layer_norm", weight, columns, DType::F32)?;
    rows::vector("layer_norm", bias, columns, DType::F32)?;
    let elements = (rows * columns) as f64;
    let cpu = graph.capabilities().kind == AdapterKind::Cpu;
    let plan = Plan::new(cpu && columns.is_multiple_of(4) && x.dtype == DType::F32, [rows, columns], eps);
    let y = graph.output("layer_norm", [rows, columns], &[x, weight, bias])?;
    let stats = graph.scratch("layer_norm", (2 * rows).next_multiple_of(4))?;
    let (kernel, groups) =
        if plan.software { (&SOFTWARE_FORWARD, grid(rows, 8)) } else { (&FORWARD, grid(rows, 1)) };
    let (reads, writes) = ([x.view, weight.view, bias.view], [y.view, stats]);
    let dispatch = graph.dispatch((kernel, plan.constants()), plan.params, &reads, &writes, groups)?;
    dispatch.flops(FORWARD_FLOPS * elements).once();
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let blocks = plan.params.blocks as usize;
        let parts = graph.scratch("layer_norm", 2 * blocks * columns)?;
        let gradient = |graph: &mut Graph, d_x: View, there: Option<View>| {
            rows_backward(graph, &plan, [x.view, weight.view, d_y.view, stats], there, [d_x, parts])
        };
        if x.needs_gradient() {
            graph.contribute_onto("layer_norm", &x, gradient)?;
        } else if !plan.software {
            // The gradients of weight and bias come out of the same kernel.
            let unused = graph.scratch_as(x.dtype, "layer_norm", rows * columns)?;
            gradient(graph, unused, None)?;
        }
        if !(weight.needs_gradient() || bias.needs_gradient()) {
            return Ok(());
        }
        if plan.software {
            let groups = grid(blocks * columns / 4, 8);
            let reads = [x.view, d_y.view, stats];
            let dispatch =
                graph.dispatch((&SOFTWARE_PARTIALS, &[]), plan.params, &reads, &[parts], groups)?;
            dispatch.flops(PARTIALS_FLOPS * elements).once();
        }
        somewhere(graph, &weight, |graph, d_weight| {
            somewhere(graph, &bias, |graph, d_bias| {
                reduce::sum_into_two(graph, parts, [blocks, 2 * columns], columns, [d_weight, d_bias])
            })
        })
    });
    Ok(y)
}

/// The gradient of the rows, and on a GPU the parts of those of weight and bias.
fn rows_backward(
    graph: &mut Graph,
    plan: &Plan,
    reads: [View; 4],
    there: Option<View>,
    [d_x, parts]: [View; 2],
) -> Result<()> {
    let onto = usize::from(there.is_some());
    let reads: Vec<View> = reads.into_iter().chain(there).collect();
    let constants: Vec<Constant> = plan.constants().iter().copied().chain(there.map(|_| ONTO)).collect();
    let Params { rows, columns, blocks, .. } = plan.params;
    let elements = f64::from(rows) * f64::from(columns);
    let (kernel, writes, groups, flops) = if plan.software {
        let kernel = [&SOFTWARE_BACKWARD, &SOFTWARE_ONTO][onto];
        (kernel, &[d_x][..], grid(rows as usize, 8), BACKWARD_FLOPS)
    } else {
        let kernel = [&BACKWARD, &BACKWARD_ONTO][onto];
        (kernel, &[d_x, parts][..], grid(blocks as usize, 1), BACKWARD_FLOPS + PARTIALS_FLOPS)
    };
    let dispatch = graph.dispatch((kernel, &constants), plan.params, &reads, writes, groups)?;
    dispatch.flops(flops * elements).once();
    Ok(())
}

/// Has `write` put a gradient where that of `tensor` is wanted, or where nobody reads it.
fn somewhere(
    graph: &mut Graph,
    tensor: &Tensor,
    write: impl FnOnce(&mut Graph, (View, bool)) -> Result<()>,
) -> Result<()> {
    if tensor.needs_gradient() {
        return graph
            .contribute_with("layer_norm", tensor, |graph, to, accumulate| write(graph, (to, accumulate)));
    }
    let unused = graph.scratch("layer_norm", tensor.shape.elements())?;
    write(graph, (unused, false))
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
        // Wider than a row of the usual invocations.
        (5, 2300, 1.0),
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
