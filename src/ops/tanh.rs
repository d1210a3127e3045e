//! Hyperbolic tangent.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, grid, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];
const FORWARD: KernelSpec = KernelSpec {
    source: shader!("tanh"),
    entry: "forward",
    reads: 1,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: CONSTANTS,
};
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD];

/// `y = tanh(x)`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn tanh(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let elements = x.shape.elements();
    let params = Params { elements: elements as u32 };
    let groups = grid(elements, WORKGROUP);
    let y = graph.output("tanh", x.shape.dims(), &[x])?;
    graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view], &[y.view], groups)?;
    let (x, result) = (x.clone(), y.view);
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("tanh", x.shape.dims(), &[])?;
        graph.dispatch((&BACKWARD, CONSTANTS), params, &[result, d_y.view], &[d_x.view], groups)?;
        graph.contribute(&x, d_x)
    });
    Ok(y)
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
