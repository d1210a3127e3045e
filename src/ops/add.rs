//! Sum of two tensors of one shape: the residual connection.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, View, grid, params, shader};
use crate::tensor::Tensor;
use crate::{Error, Result};

params! { elements: u32 }

const WORKGROUP: u32 = 64;
const WORKGROUP_SIZE: Constant = ("WORKGROUP", WORKGROUP);
const FORWARD: KernelSpec = KernelSpec {
    source: shader!("add"),
    entry: "forward",
    reads: 2,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: &[WORKGROUP_SIZE],
};
const ACCUMULATE: KernelSpec = KernelSpec { entry: "accumulate", reads: 1, ..FORWARD };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, ACCUMULATE];

/// `y = a + b`, all of one shape.
///
/// # Errors
/// [`Error::Shape`] when the shapes or types differ.
pub fn add(graph: &mut Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape != b.shape || a.dtype != b.dtype {
        return Err(Error::Shape {
            operation: "add",
            expected: "two tensors of one shape and type".into(),
            found: format!("{} of {:?} and {} of {:?}", a.shape, a.dtype, b.shape, b.dtype),
        });
    }
    let y = forward(graph, a, b)?;
    let inputs = [a.clone(), b.clone()];
    graph.on_backward(&y, move |graph, d_y| {
        for input in &inputs {
            graph.contribute(input, d_y.clone())?;
        }
        Ok(())
    });
    Ok(y)
}

pub(crate) fn forward(graph: &mut Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = graph.output_as(a.dtype, "add", a.shape.dims(), &[a, b])?;
    let elements = a.shape.elements();
    graph.dispatch(
        (&FORWARD, &[WORKGROUP_SIZE, a.dtype.elem()]),
        Params { elements: elements as u32 },
        &[a.view, b.view],
        &[y.view],
        grid(elements, WORKGROUP),
    )?;
    Ok(y)
}

/// `sum += a`, for gradients that accumulate.
pub(crate) fn accumulate(graph: &mut Graph, sum: View, a: &Tensor) -> Result<()> {
    let elements = a.shape.elements();
    graph.dispatch(
        (&ACCUMULATE, &[WORKGROUP_SIZE, a.dtype.elem()]),
        Params { elements: elements as u32 },
        &[a.view],
        &[sum],
        grid(elements, WORKGROUP),
    )?;
    Ok(())
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    elementwise_shapes()
        .into_iter()
        .map(|shape| {
            let inputs = Inputs::new(1).normal("a", &shape, 1.0).normal("b", &shape, 1.0);
            Case::new(format!("{shape:?}"), inputs, Metric::Elementwise(1e-5))
                .gpu(|graph, x| add(graph, &x[0], &x[1]))
                .reference(|x| x[0].iter().zip(&x[1]).map(|(a, b)| a + b).collect())
        })
        .collect()
}
