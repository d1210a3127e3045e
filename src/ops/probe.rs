//! What a device does where the specifications leave it open.

use half::f16;

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, F16, Gpu, KernelSpec, grid, params, shader};
use crate::tensor::DType;

params! { elements: u32 }

const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP), (F16, 1)];

/// The kernels, for the shader tests.
pub const KERNEL: KernelSpec = KernelSpec::new(shader!("probe_f16"), "main", [1, 1], LAYOUT, CONSTANTS);

/// Values whose conversion to f16 differs between devices: beyond its range, at the edge of that on both sides, and in
/// the range of subnormal numbers.
pub const VALUES: [f32; 4] = [70000.0, 65519.9, 65520.0, 1e-7];

/// What the device converts each of [`VALUES`] to; nothing where shaders have no f16.
///
/// # Errors
/// As [`Gpu::read`].
pub async fn conversions(gpu: &Gpu) -> Result<Vec<f16>> {
    if !gpu.capabilities().f16 {
        return Ok(Vec::new());
    }
    let mut graph = Graph::inference(gpu);
    let values = graph.constant(&VALUES, [VALUES.len()], DType::F32)?;
    let to = graph.scratch_as(DType::F16, "probe", VALUES.len())?;
    let params = Params { elements: VALUES.len() as u32 };
    graph
        .dispatch((&KERNEL, CONSTANTS), params, &[values.view()], &[to], grid(VALUES.len(), WORKGROUP))?
        .once();
    let result = graph.keep(gpu, "what became of them", to)?;
    graph.finish(gpu, "probe")?.replay()?;
    gpu.read(&result, 0, VALUES.len()).await
}
