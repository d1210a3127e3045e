//! Linear layers.

use super::epilogue::Epilogue;
use super::{Layout, Matrix, Product, bias, product, product_with};
use crate::autograd::Graph;
use crate::gpu::View;
use crate::ops::check::{Inputs, Metric};
use crate::ops::{Case, rows};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The parameters of a linear layer.
#[derive(Debug, Clone)]
pub struct Affine {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

/// A linear layer without bias: `y [N, out] = x [N, in] · weight [out, in]ᵀ`.
///
/// `y` is `out` rounded up to a multiple of 4 wide; the columns beyond `out` are unspecified, and their
/// gradient must be zero.
///
/// # Errors
/// [`Error::Shape`] when the widths differ or are no multiple of 4.
pub fn linear(graph: &mut Graph, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    affine(graph, x, &Affine { weight: weight.clone(), bias: None }, None)
}

/// [`linear`] with a bias where there is one, plus `residual`, which has the shape of the result.
///
/// # Errors
/// As [`linear`].
pub fn affine(graph: &mut Graph, x: &Tensor, layer: &Affine, residual: Option<&Tensor>) -> Result<Tensor> {
    let [rows, width, out] = layer.sizes("linear", x)?;
    let padded = out.next_multiple_of(4);
    let mut parents = vec![x, &layer.weight];
    parents.extend(&layer.bias);
    parents.extend(residual);
    let y = graph.output("linear", [rows, padded], &parents)?;
    if let Some(residual) = residual.filter(|r| r.shape != y.shape || r.dtype != y.dtype) {
        let found = format!("{} of {:?}", residual.shape, residual.dtype);
        return Err(Error::shape("linear", format!("a residual of {} and {:?}", y.shape, y.dtype), found));
    }
    let sizes = Product::single(Layout::Nt, y.dtype, [rows, out, width]);
    let weight = Matrix::whole(layer.weight.view, width);
    let after = Epilogue { bias: layer.bias_view(), ..Epilogue::add(residual.map(|r| r.view)) };
    product_with(graph, sizes, Matrix::whole(x.view, width), weight, Matrix::whole(y.view, padded), after)?;
    let (x, layer, residual) = (x.clone(), layer.clone(), residual.cloned());
    graph.on_backward(&y, move |graph, d_y| {
        residual.iter().try_for_each(|residual| graph.contribute(residual, d_y.clone()))?;
        layer.learn(graph, &x, Matrix::whole(d_y.view, padded), rows)?;
        layer.pass_on(graph, &x, Matrix::whole(d_y.view, padded), rows)
    });
    Ok(y)
}

impl Affine {
    /// Rows and width of `x [N, in]`, and the width of the result.
    pub(super) fn sizes(&self, operation: &'static str, x: &Tensor) -> Result<[usize; 3]> {
        let (rows, width) = (x.shape.rows(), x.shape.width());
        match *self.weight.shape.dims() {
            [out, inputs] if inputs == width && width.is_multiple_of(4) && x.dtype == self.weight.dtype => {
                if let Some(bias) = &self.bias {
                    rows::vector(operation, bias, out, DType::F32)?;
                }
                Ok([rows, width, out])
            }
            _ => Err(Error::Shape {
                operation,
                expected: "x [N, in] and weight [out, in] of one type, in a multiple of 4".into(),
                found: format!(
                    "{} of {:?} and {} of {:?}",
                    x.shape, x.dtype, self.weight.shape, self.weight.dtype
                ),
            }),
        }
    }

    pub(super) fn bias_view(&self) -> Option<View> {
        self.bias.as_ref().map(|bias| bias.view)
    }

    /// The gradients of weight and bias, from that of the result.
    pub(super) fn learn(&self, graph: &mut Graph, x: &Tensor, d_y: Matrix, rows: usize) -> Result<()> {
        let (out, width) = (self.weight.shape.rows(), self.weight.shape.width());
        if let Some(bias) = &self.bias {
            graph.contribute_with("linear", bias, |graph, to, accumulate| {
                bias::gradient(graph, d_y.view, [rows, out, d_y.row], to, accumulate)
            })?;
        }
        graph.contribute_with("linear", &self.weight, |graph, d_weight, accumulate| {
            let into = graph.gradient_dtype(&self.weight);
            let sizes = Product { accumulate, ..Product::single(Layout::Tn, into, [out, width, rows]) };
            product(graph, sizes, d_y, Matrix::whole(x.view, width), Matrix::whole(d_weight, width))
        })
    }

    /// The gradient of `x`, from that of the result.
    pub(super) fn pass_on(&self, graph: &mut Graph, x: &Tensor, d_y: Matrix, rows: usize) -> Result<()> {
        let (out, width) = (self.weight.shape.rows(), self.weight.shape.width());
        graph.contribute_onto("linear", x, |graph, d_x, there| {
            let sizes = Product::single(Layout::Nn, x.dtype, [rows, width, out]);
            let weight = Matrix::whole(self.weight.view, width);
            product_with(graph, sizes, d_y, weight, Matrix::whole(d_x, width), Epilogue::add(there))
        })
    }
}

/// Comparisons with the reference.
pub(super) fn cases() -> Vec<Case> {
    // Rows, outputs, inputs; whether there is a bias, and a residual connection.
    let plain = [
        [1, 1, 4],
        [7, 5, 12],
        [129, 20, 8],
        [3, 131, 36],
        [70, 67, 128],
        [17, 16, 68],
        [70001, 3, 4],
        [1100, 20, 12],
        [5, 1100, 12],
        [5, 8, 1100],
    ];
    let more = [([7, 5, 12], true, false), ([70, 68, 20], false, true), ([19, 131, 8], true, true)];
    let plain = plain.into_iter().map(|sizes| (sizes, false, false));
    plain.chain(more).map(|(sizes, biased, added)| case(sizes, biased, added)).collect()
}

fn case([rows, out, width]: [usize; 3], biased: bool, added: bool) -> Case {
    let padded = out.next_multiple_of(4);
    let mut inputs = Inputs::new(3).normal("x", &[rows, width], 1.0).normal("weight", &[out, width], 1.0);
    if biased {
        inputs = inputs.normal("bias", &[out], 1.0).always_f32();
    }
    if added {
        inputs = inputs.normal("residual", &[rows, padded], 1.0);
    }
    let with = [(biased, " + bias"), (added, " + residual")].map(|(is, name)| if is { name } else { "" });
    let name = format!("[{rows}, {width}] x [{out}, {width}]{}{}", with[0], with[1]);
    Case::new(name, inputs, Metric::Nmse(1e-10))
        .gpu(move |graph, x| {
            let layer = Affine { weight: x[1].clone(), bias: biased.then(|| x[2].clone()) };
            affine(graph, &x[0], &layer, added.then(|| &x[2 + usize::from(biased)]))
        })
        .reference(move |x| {
            let mut y = vec![f64::NAN; rows * padded];
            for (row, (inputs, y)) in x[0].chunks(width).zip(y.chunks_mut(padded)).enumerate() {
                for (column, (weights, y)) in x[1].chunks(width).zip(y).enumerate() {
                    let sum: f64 = inputs.iter().zip(weights).map(|(a, b)| a * b).sum();
                    let bias = if biased { x[2][column] } else { 0.0 };
                    let residual =
                        if added { x[2 + usize::from(biased)][row * padded + column] } else { 0.0 };
                    *y = sum + bias + residual;
                }
            }
            y
        })
}
