//! The fused form on matrix units.

use super::{Blocks, Form, LAYOUT, Params, Plan, dispatch, params};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, F16, KernelSpec, TILE, View, not_in_pages, shader};
use crate::ops::dropout::Dropout;
use crate::ops::units::{AMD, APPLE, LAVAPIPE, NVIDIA, Units};
use crate::tensor::{DType, Tensor};

/// Columns that a subgroup works on at once.
const WIDE: u32 = 32;

/// Rows that a subgroup of so many invocations works on. Half of them on lavapipe, whose compiler takes minutes for what 8
/// invocations would do to 16.
const fn rows_of(subgroup: u32) -> u32 {
    if subgroup < 16 { 8 } else { 16 }
}

const SIZE: Constant = ("SIZE", Form::WIDEST_ON_UNITS as u32);
const SHAW: [Constant; 3] = [("RELATIVE", 1), ("DISTANCES", 1), ("DROPOUT", 1)];
const BIASED: [Constant; 3] = [("RELATIVE", 2), ("DISTANCES", 0), ("DROPOUT", 1)];
const IN_FORWARD: Constant = ("FORWARD", 1);
const IN_QUERIES: Constant = ("QUERIES", 1);
const IN_KEYS: Constant = ("KEYS", 1);

const FORWARD: KernelSpec = KernelSpec {
    example: &constants(NVIDIA, SIZE, IN_FORWARD, SHAW),
    ..KernelSpec::new(not_in_pages(shader!("attention_units")), "forward", [4, 3], LAYOUT, &[])
};
const QUERIES: KernelSpec =
    KernelSpec { entry: "queries", reads: 7, example: &constants(NVIDIA, SIZE, IN_QUERIES, SHAW), ..FORWARD };
const KEYS: KernelSpec = KernelSpec {
    entry: "keys",
    reads: 6,
    writes: 1,
    example: &constants(NVIDIA, SIZE, IN_KEYS, SHAW),
    ..FORWARD
};

/// The kernels, also for other units.
pub(super) const KERNELS: [KernelSpec; 11] = [
    FORWARD,
    QUERIES,
    KEYS,
    KernelSpec { example: &constants(AMD, SIZE, IN_FORWARD, SHAW), ..FORWARD },
    KernelSpec { example: &constants(AMD, SIZE, IN_FORWARD, BIASED), ..FORWARD },
    KernelSpec { example: &constants(AMD, SIZE, IN_QUERIES, SHAW), ..QUERIES },
    KernelSpec { example: &constants(AMD, SIZE, IN_KEYS, SHAW), ..KEYS },
    KernelSpec { example: &constants(APPLE, SIZE, IN_FORWARD, SHAW), ..FORWARD },
    KernelSpec { example: &constants(APPLE, SIZE, IN_QUERIES, SHAW), ..QUERIES },
    KernelSpec { example: &constants(APPLE, SIZE, IN_KEYS, SHAW), ..KEYS },
    KernelSpec { example: &constants(LAVAPIPE, SIZE, IN_QUERIES, SHAW), ..QUERIES },
];

const fn constants(
    units: Units,
    size: Constant,
    entry: Constant,
    [a, b, c]: [Constant; 3],
) -> [Constant; 14] {
    let Units { tile, subgroup, half, vectors } = units;
    let (rows, columns) = (rows_of(subgroup), size.1.div_ceil(WIDE));
    [
        (F16, half as u32),
        (TILE, tile),
        ("SUBGROUP", subgroup),
        ("VECTORS", vectors as u32),
        entry,
        a,
        b,
        c,
        size,
        ("COLUMNS", columns),
        ("ROWS", rows / tile),
        ("TILES", WIDE * columns / tile),
        ("STEPS", WIDE / tile),
        ("PARTS", rows * WIDE / 4 / subgroup),
    ]
}

/// What all kernels of a layer share.
struct Layer {
    plan: Plan,
    units: Units,
    params: Params,
    options: [Constant; 3],
    /// What is bound where there are no relative positions, or no dropout.
    bounds: View,
    key: View,
    positions: Option<View>,
}

impl Layer {
    fn new(
        (plan, units): (Plan, Units),
        positions: Option<&Tensor>,
        bounds: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<Self> {
        let options = [
            ("RELATIVE", plan.relative()),
            ("DISTANCES", (plan.relative() == 1).into()),
            ("DROPOUT", dropout.is_some().into()),
        ];
        let key = dropout.map_or(bounds.view, |dropout| dropout.key.view);
        let (params, positions) = (params(&plan, dropout)?, positions.map(|positions| positions.view));
        Ok(Layer { plan, units, params, options, bounds: bounds.view, key, positions })
    }

    /// Records a kernel that forms so many `products` of the size of the logits.
    fn dispatch(
        &self,
        graph: &mut Graph,
        (kernel, entry, products): (&KernelSpec, Constant, usize),
        accumulate: bool,
        into: DType,
        reads: &[View],
        writes: &[View],
    ) -> Result<()> {
        let Layer { plan, units, options, params, .. } = self;
        let mut constants = constants(*units, ("SIZE", plan.size as u32), entry, *options).to_vec();
        constants.push(into.out_elem());
        let params = Params { accumulate: accumulate.into(), ..*params };
        let flops = 2 * products * plan.size;
        let blocks = Blocks {
            kernel,
            constants: &constants,
            rows: 4 * rows_of(units.subgroup) as usize,
            flops,
            slower: 1.0,
        };
        dispatch(graph, plan, blocks, params, reads, writes)
    }
}

/// Records the fused form on units, and leaves its gradient on the tape.
pub(super) fn record(
    graph: &mut Graph,
    (plan, units): (Plan, Units),
    qkv: &Tensor,
    positions: Option<&Tensor>,
    bounds: &Tensor,
    dropout: Option<&Dropout>,
) -> Result<Tensor> {
    let layer = Layer::new((plan, units), positions, bounds, dropout)?;
    let mut parents = vec![qkv];
    parents.extend(positions);
    let y = graph.output("attention", [plan.heads.sequences * plan.heads.tokens, plan.width()], &parents)?;
    let statistics = graph.scratch("attention statistics", 2 * plan.rows())?;
    let by_distance = if plan.biased { 0 } else { plan.rows() * plan.buckets };
    let relative = graph.scratch_as(plan.storage, "attention by distance", by_distance)?;
    let reads = [qkv.view, layer.positions.unwrap_or(layer.bounds), layer.bounds, layer.key];
    let (kernel, writes) = ((&FORWARD, IN_FORWARD, 3), [y.view, statistics, relative]);
    layer.dispatch(graph, kernel, false, plan.storage, &reads, &writes)?;
    let (qkv, positions) = (qkv.clone(), positions.cloned());
    let result = y.view;
    graph.on_backward(&y, move |graph, d_y| {
        let relative = if plan.biased { layer.positions.unwrap_or(relative) } else { relative };
        backward(graph, &layer, [result, statistics, relative], [&qkv, d_y], positions.as_ref())
    });
    Ok(y)
}

fn backward(
    graph: &mut Graph,
    layer: &Layer,
    [y, statistics, relative]: [View; 3],
    [qkv, d_y]: [&Tensor; 2],
    positions: Option<&Tensor>,
) -> Result<()> {
    let Layer { plan, bounds, key, .. } = *layer;
    let d_relative = graph.scratch_as(plan.storage, "attention by distance", plan.rows() * plan.buckets)?;
    let of_queries = [qkv.view, layer.positions.unwrap_or(bounds), bounds, key, d_y.view, y, relative];
    let queries = (&QUERIES, IN_QUERIES, 3);
    if !qkv.needs_gradient() {
        let unused = graph.output("attention", qkv.shape.dims(), &[])?;
        let writes = [unused.view, d_relative, statistics];
        layer.dispatch(graph, queries, false, plan.storage, &of_queries, &writes)?;
    }
    graph.contribute_with("attention", qkv, |graph, d_qkv, accumulate| {
        let into = graph.gradient_dtype(qkv);
        let writes = [d_qkv, d_relative, statistics];
        layer.dispatch(graph, queries, accumulate, into, &of_queries, &writes)?;
        let reads = [qkv.view, relative, bounds, key, d_y.view, statistics];
        layer.dispatch(graph, (&KEYS, IN_KEYS, 4), accumulate, into, &reads, &[d_qkv])
    })?;
    plan.distances(graph, qkv, positions, d_relative)
}
