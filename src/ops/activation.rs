//! Activation functions beside the exact [GELU](super::gelu) and the [hyperbolic tangent](mod@super::tanh).

use super::Case;
use super::check::elementwise_shapes;
use super::elementwise::{CONSTANTS, Keeps, Unary, compare, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const RELU: &[Constant] = &[CONSTANTS[0], ("RELU", 1)];
const SILU: &[Constant] = &[CONSTANTS[0], ("SILU", 1)];

const FORWARD: KernelSpec = KernelSpec::new(shader!("activation"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    BACKWARD,
    KernelSpec { example: RELU, ..FORWARD },
    KernelSpec { example: RELU, ..BACKWARD },
    KernelSpec { example: SILU, ..FORWARD },
    KernelSpec { example: SILU, ..BACKWARD },
];

const GELU_TANH: Unary = Unary::new("gelu_tanh", [FORWARD, BACKWARD], Keeps::Input, [10.0, 16.0]);

fn run(graph: &mut Graph, operation: &'static Unary, x: &Tensor) -> Result<Tensor> {
    unary(graph, operation, Params { elements: x.shape.elements() as u32 }, x)
}

/// `y = 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`, elementwise: GELU by a hyperbolic tangent, `gelu_new` in
/// Hugging Face's configurations.
///
/// # Errors
/// As [`Graph::output`].
pub fn gelu_tanh(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    run(graph, &GELU_TANH, x)
}

/// `y = max(x, 0)`, elementwise. Its gradient at 0 is 0.
///
/// # Errors
/// As [`Graph::output`].
pub fn relu(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    const OPERATION: Unary = Unary { name: "relu", constants: RELU, flops: [1.0, 2.0], ..GELU_TANH };
    run(graph, &OPERATION, x)
}

/// `y = x / (1 + exp(-x))`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn silu(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    const OPERATION: Unary = Unary { name: "silu", constants: SILU, flops: [5.0, 9.0], ..GELU_TANH };
    run(graph, &OPERATION, x)
}

/// Comparisons with the reference, also of values far from 0.
pub fn cases() -> Vec<Case> {
    let gelu_reference =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let silu_reference = |x: f64| x / (1.0 + (-x).exp());
    let named = |name: &str, cases: Vec<Case>| -> Vec<Case> {
        cases.into_iter().map(|case| case.renamed(|shape| format!("{name} of {shape}"))).collect()
    };
    let far = || vec![vec![7, 9]];
    [
        ("gelu_tanh", compare(gelu_tanh, gelu_reference, (13, 3.0), elementwise_shapes())),
        ("gelu_tanh", compare(gelu_tanh, gelu_reference, (13, 200.0), far())),
        ("silu", compare(silu, silu_reference, (14, 3.0), elementwise_shapes())),
        ("silu", compare(silu, silu_reference, (14, 200.0), far())),
        ("relu", compare(relu, |x| x.max(0.0), (15, 1.0), elementwise_shapes())),
    ]
    .into_iter()
    .flat_map(|(name, cases)| named(name, cases))
    .collect()
}
