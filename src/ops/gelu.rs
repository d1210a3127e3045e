//! Gaussian error linear unit, exact.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes, erf};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, KernelSpec, grid, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];
const FORWARD: KernelSpec = KernelSpec {
    source: shader!("gelu"),
    entry: "forward",
    reads: 1,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: CONSTANTS,
};
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// For adapters that are CPUs; both may touch up to three elements beyond the last.
const SOFTWARE_FORWARD: KernelSpec =
    KernelSpec { source: shader!("gelu_software"), textures: 1, example: &[], ..FORWARD };
const SOFTWARE_BACKWARD: KernelSpec =
    KernelSpec { entry: "backward", reads: 2, textures: 2, ..SOFTWARE_FORWARD };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD, SOFTWARE_FORWARD, SOFTWARE_BACKWARD];

/// `y = x Φ(x)`, elementwise, Φ the normal distribution function.
///
/// # Errors
/// As [`Graph::output`].
pub fn gelu(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let elements = x.shape.elements();
    let params = Params { elements: elements as u32 };
    let (forward, backward, groups) = match graph.capabilities().kind {
        AdapterKind::Cpu => (&SOFTWARE_FORWARD, &SOFTWARE_BACKWARD, grid(elements.div_ceil(4), 8)),
        AdapterKind::Gpu => (&FORWARD, &BACKWARD, grid(elements, WORKGROUP)),
    };
    let y = graph.output("gelu", x.shape.dims(), &[x])?;
    graph.dispatch((forward, CONSTANTS), params, &[x.view], &[y.view], groups)?;
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("gelu", x.shape.dims(), &[])?;
        graph.dispatch((backward, CONSTANTS), params, &[x.view, d_y.view], &[d_x.view], groups)?;
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    elementwise_shapes()
        .into_iter()
        .map(|shape| {
            Case::new(
                format!("{shape:?}"),
                Inputs::new(2).normal("x", &shape, 3.0),
                Metric::Elementwise(1e-5),
            )
            .gpu(|graph, x| gelu(graph, &x[0]))
            .reference(|x| {
                x[0].iter().map(|&x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))).collect()
            })
        })
        .collect()
}
