//! Gaussian error linear unit, exact.

use super::Case;
use super::check::{elementwise_shapes, erf};
use super::elementwise::{CONSTANTS, Keeps, Unary, compare, unary};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, KernelSpec, params, shader};
use crate::tensor::Tensor;

params! { elements: u32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("gelu"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// For adapters that are CPUs; both may touch up to three elements beyond the last.
const SOFTWARE_FORWARD: KernelSpec =
    KernelSpec { source: shader!("gelu_software"), textures: 1, example: &[], ..FORWARD };
const SOFTWARE_BACKWARD: KernelSpec =
    KernelSpec { entry: "backward", reads: 2, textures: 2, ..SOFTWARE_FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, BACKWARD, SOFTWARE_FORWARD, SOFTWARE_BACKWARD];

/// `y = x Φ(x)`, elementwise, Φ the normal distribution function.
///
/// # Errors
/// As [`Graph::output`].
pub fn gelu(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    const GELU: Unary = Unary::new("gelu", [FORWARD, BACKWARD], Keeps::Input, [5.0, 11.0]);
    /// Eight invocations of four elements each.
    const SOFTWARE: Unary =
        Unary { forward: SOFTWARE_FORWARD, backward: SOFTWARE_BACKWARD, per_workgroup: 32, ..GELU };
    let kernels = match graph.capabilities().kind {
        AdapterKind::Cpu => &SOFTWARE,
        AdapterKind::Gpu => &GELU,
    };
    unary(graph, kernels, Params { elements: x.shape.elements() as u32 }, x)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let reference = |x| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
    compare(gelu, reference, (2, 3.0), elementwise_shapes())
}
