//! Layers: handles of their parameters, declared in a [`Scope`] and used in a [`Context`].

use super::context::Context;
use super::declare::{Init, Parameter, Scope};
use crate::Result;
use crate::ops::embedding::embedding;
use crate::ops::layer_norm::layer_norm;
use crate::ops::matmul::{Affine, affine};
use crate::tensor::{DType, Tensor};

/// `y = x · weightᵀ + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Parameter,
    /// `[out]`.
    pub bias: Option<Parameter>,
}

impl Linear {
    /// Declares `{name}.weight` of `shape`, `[out, in]`, and `{name}.bias` where it has one.
    pub fn new(scope: &mut Scope, name: &str, shape: [usize; 2], init: Init, has_bias: bool) -> Self {
        Self::stacked(scope, &[name], shape, init, has_bias)
    }

    /// Declares layers of one shape that read the same input, and are computed as one whose output holds theirs side by
    /// side.
    pub fn stacked(scope: &mut Scope, names: &[&str], shape: [usize; 2], init: Init, has_bias: bool) -> Self {
        let weight = scope.matrix(names, shape, init);
        Linear { weight, bias: has_bias.then(|| scope.bias(names, shape[0])) }
    }

    /// Its parameters as tensors, for operations that do more than the layer alone.
    ///
    /// # Errors
    /// As [`Context::tensor`].
    pub fn affine(&self, context: &mut Context) -> Result<Affine> {
        let bias = self.bias.map(|bias| context.tensor(bias)).transpose()?;
        Ok(Affine { weight: context.tensor(self.weight)?, bias })
    }

    /// `[N, out]` of `x [N, in]`, plus `residual` of the same shape.
    ///
    /// # Errors
    /// As [`affine`].
    pub fn forward(&self, context: &mut Context, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let layer = self.affine(context)?;
        affine(context.graph, x, &layer, residual)
    }
}

/// Layer normalization (Ba et al. 2016).
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    weight: Parameter,
    bias: Option<Parameter>,
    width: usize,
    epsilon: f32,
}

impl LayerNorm {
    /// Declares `{name}.weight` and `{name}.bias`, `[width]` each. `epsilon` is added to the variance.
    pub fn new(scope: &mut Scope, name: &str, width: usize, epsilon: f64) -> Self {
        let mut scope = scope.child(name);
        let weight = scope.vector("weight", width, Init::Ones);
        let bias = Some(scope.vector("bias", width, Init::Zeros));
        LayerNorm { weight, bias, width, epsilon: epsilon as f32 }
    }

    /// Declares `{name}.weight`, `[width]`, of a norm without a bias.
    pub fn without_bias(scope: &mut Scope, name: &str, width: usize, epsilon: f64) -> Self {
        let weight = scope.child(name).vector("weight", width, Init::Ones);
        LayerNorm { weight, bias: None, width, epsilon: epsilon as f32 }
    }

    /// Each row of `x [N, C]` normed.
    ///
    /// # Errors
    /// As [`layer_norm`].
    pub fn forward(&self, context: &mut Context, x: &Tensor) -> Result<Tensor> {
        let weight = context.tensor(self.weight)?;
        let bias = match self.bias {
            Some(bias) => context.tensor(bias)?,
            // Zeros cost less than a kernel of its own would.
            None => context.graph.constant(&vec![0f32; self.width], [self.width], DType::F32)?,
        };
        layer_norm(context.graph, x, &weight, &bias, self.epsilon)
    }
}

/// Ids of rows of a table, with the index that their gradient needs (see [`crate::ops::embedding::index`]).
#[derive(Debug, Clone)]
pub struct Ids {
    /// `[N]` u32.
    pub ids: Tensor,
    /// The index of `ids`.
    pub index: Tensor,
}

/// A table of which rows are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// `[rows, width]`.
    pub table: Parameter,
}

impl Embedding {
    /// Declares `{name}.weight`, `[rows, width]`.
    pub fn new(scope: &mut Scope, name: &str, shape: [usize; 2], init: Init) -> Self {
        Embedding { table: scope.table(name, shape, init) }
    }

    /// The rows `[N, width]` of `ids [N]`.
    ///
    /// # Errors
    /// As [`embedding`].
    pub fn forward(&self, context: &mut Context, ids: &Ids) -> Result<Tensor> {
        let table = context.tensor(self.table)?;
        embedding(context.graph, &table, &ids.ids, &ids.index)
    }
}
