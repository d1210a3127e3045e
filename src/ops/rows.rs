//! How operations that reduce over rows spread a row over invocations, and the shapes they take.

use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// One vector of the CPU per row: its lanes read elements that lie side by side.
pub(super) const SOFTWARE: &[Constant] = &[("LANES", 8)];

/// How many invocations share a row: `plain` on a GPU, [`SOFTWARE`] where that is the CPU.
pub(super) fn lanes(graph: &Graph, plain: &'static [Constant]) -> &'static [Constant] {
    match graph.capabilities().kind {
        AdapterKind::Cpu => SOFTWARE,
        AdapterKind::Gpu => plain,
    }
}

/// Checks that `tensor` is a non-empty matrix and gives its rows and columns.
pub(super) fn matrix(operation: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    match *tensor.shape.dims() {
        [rows, columns] if rows > 0 && columns > 0 && tensor.dtype != DType::U32 => Ok((rows, columns)),
        _ => Err(mismatch(operation, "a matrix of at least one float", tensor)),
    }
}

/// Checks that `tensor` is a vector of `length` elements of `dtype`.
pub(super) fn vector(operation: &'static str, tensor: &Tensor, length: usize, dtype: DType) -> Result<()> {
    if tensor.shape != Shape::from([length]) || tensor.dtype != dtype {
        return Err(mismatch(operation, &format!("[{length}] of {dtype:?}"), tensor));
    }
    Ok(())
}

fn mismatch(operation: &'static str, expected: &str, tensor: &Tensor) -> Error {
    Error::shape(operation, expected, format!("{} of {:?}", tensor.shape, tensor.dtype))
}
