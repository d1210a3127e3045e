//! A tensor: where its elements are within one recording, and whether gradients flow to it.

use serde::{Deserialize, Serialize};

use crate::gpu::{Constant, F16, MatrixOperands, OUT_F16, View};
use crate::shape::Shape;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float: activations and matrices where precision is mixed.
    F16,
    /// 32-bit unsigned integer: token ids, rows, bounds.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::U32 => 4,
        }
    }

    /// What shaders are told of the type of `elem`.
    pub(crate) fn elem(self) -> Constant {
        (F16, (self == DType::F16).into())
    }

    /// What shaders are told of the type of `out_elem`.
    pub(crate) fn out_elem(self) -> Constant {
        (OUT_F16, (self == DType::F16).into())
    }
}

impl From<MatrixOperands> for DType {
    fn from(operands: MatrixOperands) -> Self {
        match operands {
            MatrixOperands::F16 => DType::F16,
            MatrixOperands::F32 => DType::F32,
        }
    }
}

/// Where the gradient of a tensor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// Nowhere: an input, or a recording without a tape.
    None,
    /// To whatever computed the tensor.
    Flows,
    /// Into memory that outlives the recording and accumulates: a parameter's.
    Parameter(View),
}

/// One tensor of a [`crate::autograd::Graph`]. Cheap to clone; clones are the same tensor.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub(crate) id: u32,
    pub(crate) view: View,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) gradient: Gradient,
}

impl Tensor {
    /// Its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its elements' type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where its elements are.
    pub fn view(&self) -> View {
        self.view
    }

    /// Whether a gradient is wanted for it.
    pub fn needs_gradient(&self) -> bool {
        self.gradient != Gradient::None
    }
}
