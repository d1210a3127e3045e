//! Attention that keeps one number per row instead of probabilities.

mod on_units;

use super::{Form, Plan};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader, split};
use crate::ops::dropout::Dropout;
use crate::tensor::Tensor;

params! {
    sequences: u32, tokens: u32, heads: u32, stride: u32, buckets: u32,
    first: u32, accumulate: u32,
    site: u32, threshold: u32, kept: f32,
    scale: f32,
}

/// Rows that a workgroup works on.
const ROWS: usize = 32;
/// Invocations of a workgroup of [`DELTA`].
const DELTA_WORKGROUP: u32 = 64;

const EXAMPLE: &[Constant] = &[("SIZE", 64), ("COLUMNS", 2), ("RELATIVE", 1), ("DROPOUT", 1)];
const FORWARD: KernelSpec = KernelSpec::new(shader!("attention_fused"), "forward", [4, 2], LAYOUT, EXAMPLE);
const DELTA: KernelSpec = KernelSpec { entry: "delta", reads: 3, writes: 1, ..FORWARD };
const QUERIES: KernelSpec =
    KernelSpec { entry: "queries", reads: 6, example: &with(EXAMPLE, ONE_SIDE), ..FORWARD };
const KEYS: KernelSpec =
    KernelSpec { entry: "keys", writes: 1, example: &with(EXAMPLE, TWO_SIDES), ..QUERIES };

/// Sides of a workgroup of [`QUERIES`].
const ONE_SIDE: Constant = ("SIDES", 1);
/// Sides of a workgroup of [`KEYS`].
const TWO_SIDES: Constant = ("SIDES", 2);

const fn with(constants: &[Constant], sides: Constant) -> [Constant; 5] {
    [constants[0], constants[1], constants[2], constants[3], sides]
}

/// The kernels of both files, for the shader tests.
pub(super) const KERNELS: [KernelSpec; 7 + on_units::KERNELS.len()] = {
    let mut kernels = [FORWARD; 7 + on_units::KERNELS.len()];
    kernels[1] = DELTA;
    kernels[2] = QUERIES;
    kernels[3] = KEYS;
    kernels[4] = KernelSpec { example: WIDEST, ..FORWARD };
    kernels[5] = KernelSpec { example: &with(WIDEST, ONE_SIDE), ..QUERIES };
    kernels[6] = KernelSpec { example: &with(WIDEST, TWO_SIDES), ..KEYS };
    let mut at = 0;
    while at < on_units::KERNELS.len() {
        kernels[7 + at] = on_units::KERNELS[at];
        at += 1;
    }
    kernels
};

/// The constants of the widest heads, which take the most workgroup memory.
const WIDEST: &[Constant] =
    &[("SIZE", Form::WIDEST_FUSED as u32), ("COLUMNS", 4), ("RELATIVE", 1), ("DROPOUT", 1)];

fn constants(plan: &Plan, dropout: Option<&Dropout>) -> [Constant; 4] {
    [
        ("SIZE", plan.size as u32),
        ("COLUMNS", plan.size.div_ceil(32) as u32),
        ("RELATIVE", plan.relative()),
        ("DROPOUT", dropout.is_some().into()),
    ]
}

fn params(plan: &Plan, dropout: Option<&Dropout>) -> Result<Params> {
    let (threshold, kept) = dropout.map_or(Ok((0, 1.0)), Dropout::threshold)?;
    let [sequences, tokens, heads, stride, buckets] = plan.sizes();
    Ok(Params {
        sequences,
        tokens,
        heads,
        stride,
        buckets,
        first: 0,
        accumulate: 0,
        site: dropout.map_or(0, |dropout| dropout.site),
        threshold,
        kept,
        scale: plan.scale,
    })
}

/// Workgroups that a dispatch has in one dimension.
const MOST_BLOCKS: f64 = 65535.0;

/// Operations of a product in here take as long as so many of a large product.
const SLOWER: f64 = 4.0;

/// A kernel with a workgroup for every few rows of a head.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    kernel: &'a KernelSpec,
    constants: &'a [Constant],
    /// Rows of a workgroup.
    rows: usize,
    /// Operations to a logit.
    flops: usize,
    /// Operations take as long as so many of a large product.
    slower: f64,
}

/// Dispatches `blocks` in as many parts as it takes for none to run long.
fn dispatch(
    graph: &mut Graph,
    plan: &Plan,
    blocks: Blocks,
    params: Params,
    reads: &[View],
    writes: &[View],
) -> Result<()> {
    let Blocks { kernel, constants, rows, flops, slower } = blocks;
    let blocks = plan.heads.tokens.div_ceil(rows) * plan.heads.sequences * plan.heads.heads;
    let each = (flops * rows * plan.heads.tokens) as f64;
    // Of the gradient of queries, keys and values, a kernel writes its own thirds.
    let thirds = |view: &View, of_three: u64| view.bytes * of_three / 3;
    let written = match kernel.entry {
        "queries" => thirds(&writes[0], 1) + writes[1..].iter().map(|view| view.bytes).sum::<u64>(),
        "keys" => thirds(&writes[0], 2),
        _ => writes.iter().map(|view| view.bytes).sum(),
    };
    let added_to = if params.accumulate == 1 { written } else { 0 };
    let bytes = (reads.iter().map(|view| view.bytes).sum::<u64>() + written + added_to) as f64;
    // A grid that has to be folded is larger than what it covers, and would compute rows of the next part again.
    for part in split(blocks, 1, (graph.most_operations() / (slower * each)).min(MOST_BLOCKS)) {
        let params = Params { first: part.start as u32, ..params };
        let dispatch = graph.dispatch((kernel, constants), params, reads, writes, grid(part.len(), 1))?;
        let flops = each * part.len() as f64;
        dispatch.flops(flops).takes(slower * flops).bytes(bytes * part.len() as f64 / blocks as f64);
    }
    Ok(())
}

/// A kernel of `attention_fused.wgsl` that forms `products` of the size of the logits.
fn blocks<'a>(plan: &Plan, kernel: &'a KernelSpec, constants: &'a [Constant], products: usize) -> Blocks<'a> {
    Blocks { kernel, constants, rows: ROWS, flops: 2 * products * plan.size, slower: SLOWER }
}

/// Records the fused form, and leaves its gradient on the tape.
pub(super) fn record(
    graph: &mut Graph,
    plan: Plan,
    qkv: &Tensor,
    distances: Option<&Tensor>,
    bounds: &Tensor,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    if let Some(units) = Form::units(graph.capabilities(), plan.size, graph.storage()) {
        return on_units::record(graph, (plan, units), qkv, distances, bounds, dropout);
    }
    let params = params(&plan, dropout)?;
    let mut parents = vec![qkv];
    parents.extend(distances);
    let rows = plan.heads.sequences * plan.heads.tokens;
    let y = graph.output("attention", [rows, plan.width()], &parents)?;
    let lse = graph.scratch("attention log-sum-exp", plan.rows())?;
    let relative = plan.by_distance(graph, qkv, distances)?;
    let key = dropout.map_or(bounds.view, |dropout| dropout.key.view);
    let reads = [qkv.view, relative.unwrap_or(bounds.view), bounds.view, key];
    let constants = constants(&plan, dropout);
    dispatch(graph, &plan, blocks(&plan, &FORWARD, &constants, 2), params, &reads, &[y.view, lse])?;
    let (qkv, distances, bounds) = (qkv.clone(), distances.cloned(), bounds.clone());
    let (dropout, result) = (dropout.cloned(), y.view);
    graph.on_backward(&y, move |graph, d_y| {
        backward(
            graph,
            plan,
            params,
            [result, lse],
            [&qkv, &bounds, d_y],
            distances.as_ref(),
            dropout.as_ref(),
        )
    });
    Ok(y)
}

fn backward(
    graph: &mut Graph,
    plan: Plan,
    params: Params,
    [y, lse]: [View; 2],
    [qkv, bounds, d_y]: [&Tensor; 3],
    distances: Option<&Tensor>,
    dropout: Option<&Dropout>,
) -> Result<()> {
    let constants = constants(&plan, dropout);
    let statistics = graph.scratch("attention statistics", 2 * plan.rows())?;
    let (reads, groups) = ([y, d_y.view, lse], grid(plan.rows(), DELTA_WORKGROUP));
    let flops = (2 * plan.rows() * plan.size) as f64;
    graph.dispatch((&DELTA, &constants), params, &reads, &[statistics], groups)?.flops(flops).once();
    // What the distances add is computed again rather than kept since the forward pass.
    let relative = plan.by_distance(graph, qkv, distances)?.unwrap_or(bounds.view);
    let d_relative = graph.scratch_as(plan.storage, "attention by distance", plan.rows() * plan.buckets)?;
    let key = dropout.map_or(bounds.view, |dropout| dropout.key.view);
    let reads = [qkv.view, relative, bounds.view, key, d_y.view, statistics];
    if !qkv.needs_gradient() {
        let unused = graph.output("attention", qkv.shape.dims(), &[])?;
        let writes = [unused.view, d_relative];
        let constants = with(&constants, ONE_SIDE);
        dispatch(graph, &plan, blocks(&plan, &QUERIES, &constants, 3), params, &reads, &writes)?;
    }
    graph.contribute_with("attention", qkv, |graph, d_qkv, accumulate| {
        let params = Params { accumulate: accumulate.into(), ..params };
        let into = graph.gradient_dtype(qkv);
        let of = |sides| [&with(&constants, sides)[..], &[into.out_elem()]].concat();
        let (queries, keys) = (of(ONE_SIDE), of(TWO_SIDES));
        let writes = [d_qkv, d_relative];
        dispatch(graph, &plan, blocks(&plan, &QUERIES, &queries, 3), params, &reads, &writes)?;
        dispatch(graph, &plan, blocks(&plan, &KEYS, &keys, 4), params, &reads, &[d_qkv])?;
        plan.queries_by_distance(graph, (distances, d_relative), (d_qkv, into))
    })?;
    plan.distances(graph, qkv, distances, d_relative)
}
