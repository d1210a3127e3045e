//! The gradient's norm: sums of squares in a grid that depends on the number of elements alone, so that they have one
//! order on every device.

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{
    Buffer, Constant, Gpu, KernelSpec, OPERATIONS_PER_BYTE, Recording, View, shader, shared, split,
};

shared! {
    /// The uniform parameters of the norm and of the decision that follows it.
    pub(super) struct Params {
        vectors: u32, partials: u32, first: u32, clip: f32, growth: u32, start: u32, groups: u32,
    }
}

impl Params {
    /// No elements.
    pub(super) const NONE: Params =
        Params { vectors: 0, partials: 0, first: 0, clip: 0.0, growth: 0, start: 0, groups: 0 };
}

/// Invocations of a workgroup, of every kernel of an optimizer.
pub(super) const LANES: u32 = 256;
pub(super) const CONSTANTS: &[Constant] = &[("LANES", LANES)];
pub(super) const NORM: KernelSpec =
    KernelSpec::new(shader!("control"), "norm", [1, 1], Params::SHARED.fields, CONSTANTS);

/// Vectors of four elements that an invocation sums at least, and workgroups that share the elements of a segment at
/// most: 512 of them keep 2 MiB of loads under way.
const NORM_VECTORS: u32 = 4;
const NORM_GROUPS: u32 = 512;

/// Vectors of four elements; segments are padded to whole ones.
pub(super) fn vectors(elements: usize) -> u32 {
    (elements / 4) as u32
}

/// Workgroups that sum the squares of so many elements.
pub(super) fn norm_groups(elements: usize) -> u32 {
    vectors(elements).div_ceil(NORM_VECTORS * LANES).clamp(1, NORM_GROUPS)
}

/// Records sums of the squares of a segment's `gradients`, one for each of `params.groups` workgroups. None of the
/// dispatches takes long; how many there are changes no bit.
pub(super) fn record_norm(graph: &mut Graph, params: Params, gradients: View, partials: View) -> Result<()> {
    let each = gradients.bytes as f64 / f64::from(params.groups);
    let room = graph.most_operations() / (each * OPERATIONS_PER_BYTE);
    for part in split(params.groups as usize, 1, room) {
        let (groups, bytes) = (part.len() as u32, each * part.len() as f64);
        let params = Params { start: part.start as u32, ..params };
        let kernel = (&NORM, CONSTANTS);
        let dispatch = graph.dispatch(kernel, params, &[gradients], &[partials], [groups, 1, 1])?;
        dispatch.bytes(bytes).flops(bytes / 2.0);
    }
    Ok(())
}

/// The sums of squares alone of a gradient whose elements are a multiple of four, for tests of a device: what is
/// replayed, where the sums lie and how many they are.
///
/// # Errors
/// As [`Gpu::buffer`](crate::gpu::Gpu::buffer).
pub fn norm_recording(gpu: &Gpu, gradient: &Buffer) -> Result<(Recording, Buffer, usize)> {
    let elements = gradient.bytes() as usize / 4;
    let groups = norm_groups(elements);
    let partials = gpu.buffer("sums of squares", u64::from(groups) * 4)?;
    let mut graph = Graph::inference(gpu);
    let [gradient, to] = [gradient, &partials].map(|buffer| graph.recorder().bind(&buffer.into()));
    let params = Params { vectors: vectors(elements), groups, partials: groups, ..Params::NONE };
    record_norm(&mut graph, params, gradient, to)?;
    Ok((graph.finish(gpu, "norm")?, partials, groups as usize))
}
