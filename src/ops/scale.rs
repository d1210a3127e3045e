//! A tensor times a constant: temperatures.

use super::Case;
use super::check::elementwise_shapes;
use super::elementwise::{CONSTANTS, Keeps, Unary, compare, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32, factor: f32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("scale"), "forward", [1, 1], LAYOUT, CONSTANTS);

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD];

/// `y = factor · x`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn scale(graph: &mut Graph, x: &Tensor, factor: f32) -> Result<Tensor> {
    const SCALE: Unary = Unary::new("scale", [FORWARD; 2], Keeps::Nothing, [1.0, 1.0]);
    unary(graph, &SCALE, Params { elements: x.shape.elements() as u32, factor }, x)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    compare(|graph, x| scale(graph, x, -2.5), |x| -2.5 * x, (14, 1.0), elementwise_shapes())
}
