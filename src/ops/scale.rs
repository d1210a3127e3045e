//! A tensor times a constant: temperatures.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use super::elementwise::{CONSTANTS, Keeps, Unary, WORKGROUP, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32, factor: f32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("scale"), "forward", [1, 1], LAYOUT, CONSTANTS);

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD];

/// `y = factor · x`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn scale(graph: &mut Graph, x: &Tensor, factor: f32) -> Result<Tensor> {
    const SCALE: Unary = Unary {
        name: "scale",
        forward: FORWARD,
        backward: FORWARD,
        keeps: Keeps::Nothing,
        per_workgroup: WORKGROUP,
        flops: [1.0, 1.0],
    };
    unary(graph, &SCALE, Params { elements: x.shape.elements() as u32, factor }, x)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |shape: Vec<usize>| {
        let inputs = Inputs::new(14).normal("x", &shape, 1.0);
        Case::new(format!("{shape:?}"), inputs, Metric::Elementwise(1e-5))
            .gpu(|graph, x| scale(graph, &x[0], -2.5))
            .reference(|x| x[0].iter().map(|x| -2.5 * x).collect())
    };
    elementwise_shapes().into_iter().map(case).collect()
}
