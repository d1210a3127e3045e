//! Hyperbolic tangent.

use super::Case;
use super::check::elementwise_shapes;
use super::elementwise::{CONSTANTS, Keeps, Unary, compare, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("tanh"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y = tanh(x)`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn tanh(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    const TANH: Unary = Unary::new("tanh", [FORWARD, BACKWARD], Keeps::Output, [7.0, 3.0]);
    unary(graph, &TANH, Params { elements: x.shape.elements() as u32 }, x)
}

/// Comparisons with the reference, also of values beyond what e^2x holds.
pub fn cases() -> Vec<Case> {
    let mut cases = compare(tanh, f64::tanh, (9, 1.0), elementwise_shapes());
    cases.extend(compare(tanh, f64::tanh, (9, 200.0), vec![vec![7, 9]]));
    cases
}
