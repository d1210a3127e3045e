//! What operations on single elements share: how they are dispatched, and the way back of those of one tensor.

use super::Case;
use super::check::{Inputs, Metric};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Constant, Dispatched, KernelSpec, View, grid};
use crate::tensor::{DType, Tensor};

/// Invocations of a workgroup, each of which computes one element.
pub const WORKGROUP: u32 = 64;
/// What shaders are told of it.
pub const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];

/// An operation whose every element follows from one element of its only tensor.
#[derive(Debug)]
pub struct Unary {
    /// What errors call it.
    pub name: &'static str,
    /// Computes y from x.
    pub forward: KernelSpec,
    /// Computes d_x from what is [kept](Unary::keeps) and d_y.
    pub backward: KernelSpec,
    /// What the shader is told: [`CONSTANTS`], and which variant it is where it has several.
    pub constants: &'static [Constant],
    /// What the gradient follows from.
    pub keeps: Keeps,
    /// Elements that a workgroup computes: [`WORKGROUP`], unless the kernels say otherwise.
    pub per_workgroup: u32,
    /// Floating-point operations to an element, there and back.
    pub flops: [f64; 2],
}

impl Unary {
    /// An operation with an invocation for each element, whose kernels are there and back.
    pub const fn new(
        name: &'static str,
        [forward, backward]: [KernelSpec; 2],
        keeps: Keeps,
        flops: [f64; 2],
    ) -> Self {
        Unary { name, forward, backward, constants: CONSTANTS, keeps, per_workgroup: WORKGROUP, flops }
    }
}

/// What the way back reads besides the gradient of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// x
    Input,
    /// y
    Output,
}

/// Records `operation` on `x`: the result has its shape and type, and its gradient goes back to it.
///
/// # Errors
/// As [`Graph::output`].
pub fn unary<P: bytemuck::NoUninit>(
    graph: &mut Graph,
    operation: &'static Unary,
    params: P,
    x: &Tensor,
) -> Result<Tensor> {
    let Unary { name, keeps, .. } = *operation;
    let y = graph.output_as(x.dtype, name, x.shape.dims(), &[x])?;
    let (x, result, elements) = (x.clone(), y.view, x.shape.elements());
    let groups = grid(elements, operation.per_workgroup);
    let mut constants = operation.constants.to_vec();
    constants.push(x.dtype.elem());
    let kernel = (&operation.forward, &constants[..]);
    let [there, back] = operation.flops.map(|flops| flops * elements as f64);
    graph.dispatch(kernel, params, &[x.view], &[result], groups)?.flops(there).once();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output_as(x.dtype, name, x.shape.dims(), &[])?;
        let kept = match keeps {
            Keeps::Nothing => None,
            Keeps::Input => Some(x.view),
            Keeps::Output => Some(result),
        };
        let reads: Vec<View> = kept.into_iter().chain([d_y.view]).collect();
        let kernel = (&operation.backward, &constants[..]);
        graph.dispatch(kernel, params, &reads, &[d_x.view], groups)?.flops(back).once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Dispatches a kernel with an invocation for each of `elements` that are stored as `dtype`.
///
/// # Errors
/// As [`Graph::dispatch`].
pub fn each<'a, P: bytemuck::NoUninit>(
    graph: &'a mut Graph,
    (kernel, dtype): (&KernelSpec, DType),
    params: P,
    reads: &[View],
    writes: &[View],
    elements: usize,
) -> Result<Dispatched<'a>> {
    let kernel = (kernel, &[CONSTANTS[0], dtype.elem()][..]);
    graph.dispatch(kernel, params, reads, writes, grid(elements, WORKGROUP))
}

/// Comparisons of an operation on normal values of this deviation with its reference for one element.
pub fn compare(
    run: fn(&mut Graph, &Tensor) -> Result<Tensor>,
    reference: fn(f64) -> f64,
    (seed, deviation): (u64, f32),
    shapes: Vec<Vec<usize>>,
) -> Vec<Case> {
    let case = |shape: Vec<usize>| {
        let inputs = Inputs::new(seed).normal("x", &shape, deviation);
        Case::new(format!("{shape:?} of deviation {deviation}"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| run(graph, &x[0]))
            .reference(move |x| x[0].iter().map(|&x| reference(x)).collect())
    };
    shapes.into_iter().map(case).collect()
}
