//! Matrices one below the other.

use super::Case;
use super::check::{Inputs, Metric};
use crate::autograd::Graph;
use crate::gpu::KernelSpec;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// The kernels, for the shader tests: copying needs none.
pub const KERNELS: &[KernelSpec] = &[];

/// `[n1, C]`, `[n2, C]`, … as `[n1 + n2 + …, C]`.
///
/// # Errors
/// [`Error::Shape`] for tensors of different widths or types, or none.
pub fn concat_rows(graph: &mut Graph, parts: &[Tensor]) -> Result<Tensor> {
    let (dtype, width) = parts.first().map_or((graph.storage(), 0), |part| (part.dtype, part.shape.width()));
    if width == 0 || parts.iter().any(|part| part.shape.width() != width || part.dtype != dtype) {
        let shapes: Vec<_> = parts.iter().map(|part| format!("{:?} {}", part.dtype, part.shape)).collect();
        return Err(Error::shape("concat_rows", "tensors of one width and type", shapes.join(", ")));
    }
    let bytes = |part: &Tensor| part.shape.elements() as u64 * dtype.bytes();
    let rows = parts.iter().map(|part| part.shape.elements() / width).sum::<usize>();
    let y = graph.output_as(dtype, "concat_rows", [rows, width], &parts.iter().collect::<Vec<_>>())?;
    let mut offset = 0;
    for part in parts {
        let (from, to) = (part.view.part(0, bytes(part)), y.view.part(offset, bytes(part)));
        graph.recorder().copy(from, to);
        offset += bytes(part);
    }
    let parts = parts.to_vec();
    graph.on_backward(&y, move |graph, d_y| {
        let mut offset = 0;
        for part in &parts {
            let bytes = part.shape.elements() as u64 * dtype.bytes();
            let from = d_y.view.part(offset, bytes);
            offset += bytes;
            if part.needs_gradient() {
                // Its own memory, because a part need not begin where a device can bind it.
                let d_part = graph.output_as(dtype, "concat_rows", part.shape.dims(), &[])?;
                graph.recorder().copy(from, d_part.view.part(0, bytes));
                graph.contribute(part, d_part)?;
            }
        }
        Ok(())
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |rows: [usize; 3], width: usize| {
        let inputs = Inputs::new(15)
            .normal("a", &[rows[0], width], 1.0)
            .normal("b", &[rows[1], width], 1.0)
            .normal("c", &[rows[2], width], 1.0);
        Case::new(format!("{rows:?} rows of {width}"), inputs, Metric::Elementwise(1e-5))
            .gpu(concat_rows)
            .reference(|x| x.concat())
    };
    vec![case([1, 1, 1], 4), case([3, 7, 1], 12), case([129, 2, 5], 64)]
}
