//! Sum of two tensors of one shape: the residual connection.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use super::elementwise::{CONSTANTS, each};
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, params, shader};
use crate::tensor::Tensor;
use crate::{Error, Result};

params! { elements: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("add"), "forward", [2, 1], LAYOUT, CONSTANTS);
const ACCUMULATE: KernelSpec = KernelSpec { entry: "accumulate", reads: 1, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, ACCUMULATE];

/// `y = a + b`, all of one shape.
///
/// # Errors
/// [`Error::Shape`] when the shapes or types differ.
pub fn add(graph: &mut Graph, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape != b.shape || a.dtype != b.dtype {
        let found = format!("{} of {:?} and {} of {:?}", a.shape, a.dtype, b.shape, b.dtype);
        return Err(Error::shape("add", "two tensors of one shape and type", found));
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
    let params = Params { elements: elements as u32 };
    let dispatch = each(graph, (&FORWARD, a.dtype), params, &[a.view, b.view], &[y.view], elements)?;
    dispatch.flops(elements as f64).once();
    Ok(y)
}

/// `sum += a`, for gradients that accumulate.
pub(crate) fn accumulate(graph: &mut Graph, sum: View, a: &Tensor) -> Result<()> {
    let elements = a.shape.elements();
    let params = Params { elements: elements as u32 };
    let dispatch = each(graph, (&ACCUMULATE, a.dtype), params, &[a.view], &[sum], elements)?;
    dispatch.flops(elements as f64).once_and(sum.bytes as f64);
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
