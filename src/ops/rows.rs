//! How operations that reduce over rows spread a row over invocations, and the shapes they take.

use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Constant, grid};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// A workgroup of `LANES` invocations for each of `ROWS` rows.
pub(super) struct Spread {
    pub constants: &'static [Constant],
    lanes: u32,
    rows: u32,
}

impl Spread {
    /// From `[("LANES", …), ("ROWS", …)]`.
    pub const fn new(constants: &'static [Constant; 2]) -> Self {
        Spread { constants, lanes: constants[0].1, rows: constants[1].1 }
    }

    /// `plain` on a GPU; [`SOFTWARE`] where that is the CPU.
    pub fn choose(graph: &Graph, plain: &'static Spread) -> &'static Spread {
        match graph.gpu().capabilities().kind {
            AdapterKind::Software => &SOFTWARE,
            AdapterKind::Plain => plain,
        }
    }

    /// Workgroups for `rows` rows.
    pub fn row_groups(&self, rows: usize) -> [u32; 3] {
        grid(rows, self.rows)
    }

    /// Workgroups for `items` single invocations.
    pub fn item_groups(&self, items: usize) -> [u32; 3] {
        grid(items, self.lanes * self.rows)
    }
}

/// One invocation per row: no barrier, and the adapter's vector lanes hold different rows.
pub(super) static SOFTWARE: Spread = Spread::new(&[("LANES", 1), ("ROWS", 8)]);

/// Checks that `tensor` is a non-empty matrix and gives its rows and columns.
pub(super) fn matrix(operation: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    match *tensor.shape.dims() {
        [rows, columns] if rows > 0 && columns > 0 && tensor.dtype == DType::F32 => Ok((rows, columns)),
        _ => Err(mismatch(operation, "a matrix of at least one f32", tensor)),
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
    Error::Shape {
        operation,
        expected: expected.into(),
        found: format!("{} of {:?}", tensor.shape, tensor.dtype),
    }
}
