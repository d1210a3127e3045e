//! Hyperbolic tangent.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use super::elementwise::{CONSTANTS, Keeps, Unary, WORKGROUP, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("tanh"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y = tanh(x)`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn tanh(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    const TANH: Unary = Unary {
        name: "tanh",
        forward: FORWARD,
        backward: BACKWARD,
        keeps: Keeps::Output,
        per_workgroup: WORKGROUP,
        flops: [7.0, 3.0],
    };
    unary(graph, &TANH, Params { elements: x.shape.elements() as u32 }, x)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |(shape, deviation): (Vec<usize>, f32)| {
        let inputs = Inputs::new(9).normal("x", &shape, deviation);
        Case::new(format!("{shape:?} of deviation {deviation}"), inputs, Metric::Elementwise(1e-5))
            .gpu(|graph, x| tanh(graph, &x[0]))
            .reference(|x| x[0].iter().map(|x| x.tanh()).collect())
    };
    let mut inputs: Vec<_> = elementwise_shapes().into_iter().map(|shape| (shape, 1.0)).collect();
    // Values beyond what e^2x holds.
    inputs.push((vec![7, 9], 200.0));
    inputs.into_iter().map(case).collect()
}
