//! A tensor times a constant: temperatures.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, grid, params, shader};
use crate::tensor::Tensor;

params! { elements: u32, factor: f32 }

const WORKGROUP: u32 = 64;
const WORKGROUP_SIZE: Constant = ("WORKGROUP", WORKGROUP);
const FORWARD: KernelSpec = KernelSpec {
    source: shader!("scale"),
    entry: "forward",
    reads: 1,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: &[WORKGROUP_SIZE],
};

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD];

/// `y = factor · x`, elementwise.
///
/// # Errors
/// As [`Graph::output`].
pub fn scale(graph: &mut Graph, x: &Tensor, factor: f32) -> Result<Tensor> {
    let elements = x.shape.elements();
    let params = Params { elements: elements as u32, factor };
    let groups = grid(elements, WORKGROUP);
    let constants = [WORKGROUP_SIZE, x.dtype.elem()];
    let y = graph.output_as(x.dtype, "scale", x.shape.dims(), &[x])?;
    graph.dispatch((&FORWARD, &constants), params, &[x.view], &[y.view], groups)?;
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output_as(x.dtype, "scale", x.shape.dims(), &[])?;
        graph.dispatch((&FORWARD, &constants), params, &[d_y.view], &[d_x.view], groups)?;
        graph.contribute(&x, d_x)
    });
    Ok(y)
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
