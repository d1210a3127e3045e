//! The product of a row's two halves, of which one goes through an activation function: a gated linear unit.

use super::Case;
use super::check::{Inputs, Metric, erf};
use super::elementwise::{CONSTANTS, WORKGROUP};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, grid, params, shader};
use crate::tensor::Tensor;
use crate::{Error, Result};

params! { elements: u32, columns: u32, gate: u32, up: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("gated"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

const GELU: &[Constant] = &[CONSTANTS[0], ("GELU", 1)];
const RELU: &[Constant] = &[CONSTANTS[0], ("RELU", 1)];
const SILU: &[Constant] = &[CONSTANTS[0], ("SILU", 1)];

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    BACKWARD,
    KernelSpec { example: GELU, ..FORWARD },
    KernelSpec { example: GELU, ..BACKWARD },
    KernelSpec { example: RELU, ..FORWARD },
    KernelSpec { example: RELU, ..BACKWARD },
    KernelSpec { example: SILU, ..FORWARD },
    KernelSpec { example: SILU, ..BACKWARD },
];

/// The activation function of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x·Φ(x)`: the unit is GEGLU.
    Gelu,
    /// The same with a hyperbolic tangent for Φ.
    GeluTanh,
    /// `max(x, 0)`: the unit is ReGLU.
    Relu,
    /// `x / (1 + exp(-x))`: the unit is SwiGLU.
    Silu,
}

impl Gate {
    fn constants(self) -> &'static [Constant] {
        match self {
            Gate::Gelu => GELU,
            Gate::GeluTanh => CONSTANTS,
            Gate::Relu => RELU,
            Gate::Silu => SILU,
        }
    }

    /// Operations to an element, there and back.
    fn flops(self) -> [f64; 2] {
        match self {
            Gate::Gelu => [6.0, 17.0],
            Gate::GeluTanh => [11.0, 27.0],
            Gate::Relu => [2.0, 5.0],
            Gate::Silu => [6.0, 15.0],
        }
    }
}

/// Which half of a row goes through the activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The first.
    First,
    /// The second.
    Second,
}

/// `y = gate(g) · u` of each row of `x [N, 2F]`, whose halves are g and u (Dauphin et al. 2017; Shazeer 2020). The result is
/// `[N, F]`.
///
/// # Errors
/// [`Error::Shape`] when `x` is no matrix of an even width; as [`Graph::output`].
pub fn gated(graph: &mut Graph, x: &Tensor, gate: Gate, half: Half) -> Result<Tensor> {
    let (rows, width) = rows::matrix("gated", x)?;
    if !width.is_multiple_of(2) {
        return Err(Error::shape("gated", "a matrix of an even width", &x.shape));
    }
    let columns = width / 2;
    let elements = rows * columns;
    let places = match half {
        Half::First => [0, columns],
        Half::Second => [columns, 0],
    };
    let [gate_at, up] = places.map(|column| column as u32);
    let params = Params { elements: elements as u32, columns: columns as u32, gate: gate_at, up };
    let mut constants = gate.constants().to_vec();
    constants.push(x.dtype.elem());
    let groups = grid(elements, WORKGROUP);
    let [there, back] = gate.flops().map(|flops| flops * elements as f64);
    let y = graph.output_as(x.dtype, "gated", [rows, columns], &[x])?;
    graph.dispatch((&FORWARD, &constants), params, &[x.view], &[y.view], groups)?.flops(there).once();
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output_as(x.dtype, "gated", [rows, width], &[])?;
        let dispatch =
            graph.dispatch((&BACKWARD, &constants), params, &[x.view, d_y.view], &[d_x.view], groups)?;
        dispatch.flops(back).once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Comparisons with the reference, also of values far from 0.
pub fn cases() -> Vec<Case> {
    let value = |gate: Gate, x: f64| match gate {
        Gate::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Gate::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Gate::Relu => x.max(0.0),
        Gate::Silu => x / (1.0 + (-x).exp()),
    };
    let case = move |(gate, half, rows, columns, deviation): (Gate, Half, usize, usize, f32)| {
        let inputs = Inputs::new(41).normal("x", &[rows, 2 * columns], deviation);
        let name = format!("{gate:?} of the {half:?} half of [{rows}, {}] of {deviation}", 2 * columns);
        Case::new(name, inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| gated(graph, &x[0], gate, half))
            .reference(move |x| {
                let row = |row: &[f64]| {
                    let (first, second) = row.split_at(columns);
                    let (g, u) = if half == Half::First { (first, second) } else { (second, first) };
                    g.iter().zip(u).map(|(g, u)| value(gate, *g) * u).collect::<Vec<f64>>()
                };
                x[0].chunks(2 * columns).flat_map(row).collect()
            })
    };
    let sizes = [(1, 1), (7, 3), (3, 129), (33, 64)];
    let gates = [Gate::Gelu, Gate::GeluTanh, Gate::Relu, Gate::Silu];
    let near = gates.into_iter().flat_map(|gate| {
        let halves = [Half::First, Half::Second];
        sizes.into_iter().zip(halves.into_iter().cycle()).map(move |((n, f), half)| (gate, half, n, f, 2.0))
    });
    let far = [(Gate::Gelu, Half::Second, 7, 9, 50.0), (Gate::Silu, Half::First, 7, 9, 50.0)];
    near.chain(far).map(case).collect()
}
