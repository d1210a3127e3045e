//! The cross entropy of a linear layer, some rows at a time: with a large vocabulary, the logits of all rows would be
//! the largest matrix of a model.
//!
//! The gradient of a chunk's logits takes their place, and from it follow the chunk's parts of the other gradients, so
//! that there is never more than one chunk. Going back begins with the chunk that is there; the logits of the others
//! are computed once more. That costs a third of their work again, and nothing where all rows fit one chunk, as those
//! of usual micro-batches do.

use super::Case;
use super::check::{Inputs, Metric};
use super::cross_entropy::{self, ALIGNMENT, CrossEntropy, Rows};
use super::matmul::{Epilogue, Layout, Matrix, Product, bias, product, product_with};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, split};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The kernels, for the shader tests: those of the operation that it is made of.
pub const KERNELS: &[KernelSpec] = cross_entropy::KERNELS;

/// Bytes of a chunk's logits: what WebGPU binds at least. No more where a device binds more, because the order of the
/// sums follows from it.
const CHUNK: u64 = 128 << 20;

/// [`cross_entropy`](super::cross_entropy::cross_entropy) of the rows of `x · weightᵀ (+ bias)`: `x` is `[M, C]`,
/// `weight` `[V, C]` and `bias` `[V]`; `labels` (u32) and `weights` (f32, without a gradient) are `[M]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these, or C is no multiple of 4; as [`Graph::output`].
pub fn linear_cross_entropy(
    graph: &mut Graph,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    labels: &Tensor,
    weights: &Tensor,
) -> Result<CrossEntropy> {
    let width = weight.shape.dims().first().map_or(1, |classes| classes.next_multiple_of(4)).max(1);
    let capabilities = graph.capabilities();
    let elements = (CHUNK.min(capabilities.max_binding) / graph.storage().bytes())
        .min(capabilities.max_operand(graph.storage().bytes()));
    let room = elements as usize / width;
    in_chunks(graph, x, weight, bias, [labels, weights], room)
}

/// All that a chunk is computed from.
#[derive(Clone)]
struct Layer {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    /// Rows of [`Layer::chunk`], but for the last one.
    chunk: usize,
    /// M, and V rounded up to a multiple of 4.
    rows: usize,
    stride: usize,
    /// Room for one chunk.
    logits: View,
    labels: View,
    weights: View,
    stats: View,
}

/// [`linear_cross_entropy`] of `room` rows at a time, or as few more as make whole blocks of [`ALIGNMENT`].
fn in_chunks(
    graph: &mut Graph,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    [labels, weights]: [&Tensor; 2],
    room: usize,
) -> Result<CrossEntropy> {
    const NAME: &str = "linear_cross_entropy";
    let (rows, width) = rows::matrix(NAME, x)?;
    let (classes, inputs) = rows::matrix(NAME, weight)?;
    if inputs != width || !width.is_multiple_of(4) || x.dtype != weight.dtype {
        let found = format!("{} of {:?} and {} of {:?}", x.shape, x.dtype, weight.shape, weight.dtype);
        return Err(Error::shape(NAME, "x [M, C] and weight [V, C] of one type, C a multiple of 4", found));
    }
    if let Some(bias) = bias {
        rows::vector(NAME, bias, classes, DType::F32)?;
    }
    rows::vector(NAME, labels, rows, DType::U32)?;
    rows::vector(NAME, weights, rows, DType::F32)?;
    let stride = classes.next_multiple_of(4);
    let chunk = split(rows, ALIGNMENT, room as f64).next().map_or(rows, |chunk| chunk.len());
    let mut parents = vec![x, weight];
    parents.extend(bias);
    let loss = graph.output_as(DType::F32, NAME, [rows], &parents)?;
    let correct = graph.output_as(DType::F32, NAME, [rows], &[])?;
    let layer = Layer {
        x: x.clone(),
        weight: weight.clone(),
        bias: bias.cloned(),
        chunk,
        rows,
        stride,
        logits: graph.scratch_as(graph.storage(), NAME, chunk * stride)?,
        labels: labels.view,
        weights: weights.view,
        stats: graph.scratch(NAME, 2 * rows)?,
    };
    for first in (0..rows).step_by(chunk) {
        for (row, part) in layer.logits(graph, first)?.parts(graph) {
            let [loss, correct] = [loss.view, correct.view].map(|view| part.values(view, first + row));
            part.forward(graph, loss, correct)?;
        }
    }
    graph.on_backward(&loss, move |graph, d_loss| layer.backward(graph, d_loss));
    Ok(CrossEntropy { loss, correct })
}

impl Layer {
    /// How many rows the chunk from `first` on has.
    fn count(&self, first: usize) -> usize {
        self.chunk.min(self.rows - first)
    }

    /// The chunk's part of what has `bytes` for each row.
    fn part(&self, view: View, first: usize, bytes: usize) -> View {
        view.part((first * bytes) as u64, (self.count(first) * bytes) as u64)
    }

    /// The chunk's rows of `x`, or of what is like it.
    fn inputs(&self, view: View, dtype: DType, first: usize) -> Matrix {
        let width = self.x.shape.width();
        Matrix::whole(self.part(view, first, width * dtype.bytes() as usize), width)
    }

    /// The chunk, its logits not computed yet.
    fn chunk(&self, first: usize) -> Rows {
        Rows {
            sizes: [self.count(first), self.stride, self.weight.shape.rows()],
            logits: self.logits,
            labels: self.part(self.labels, first, 4),
            weights: self.part(self.weights, first, 4),
            stats: self.part(self.stats, first, 8),
        }
    }

    /// Computes the chunk's logits.
    fn logits(&self, graph: &mut Graph, first: usize) -> Result<Rows> {
        let part = self.chunk(first);
        let [rows, stride, classes] = part.sizes;
        let (x, width) = (self.inputs(self.x.view, self.x.dtype, first), self.x.shape.width());
        let sizes = Product::single(Layout::Nt, graph.storage(), [rows, classes, width]);
        let weight = Matrix::whole(self.weight.view, width);
        let after = Epilogue { bias: self.bias.as_ref().map(|bias| bias.view), ..Epilogue::default() };
        product_with(graph, sizes, x, weight, Matrix::whole(part.logits, stride), after)?;
        Ok(part)
    }

    /// The gradients of `x`, `weight` and `bias`, the chunk whose logits are there first.
    fn backward(&self, graph: &mut Graph, d_loss: &Tensor) -> Result<()> {
        const NAME: &str = "linear_cross_entropy";
        let width = self.x.shape.width();
        let d_x = match self.x.needs_gradient() {
            true => Some(graph.output(NAME, self.x.shape.dims(), &[])?),
            false => None,
        };
        let starts: Vec<usize> = (0..self.rows).step_by(self.chunk).rev().collect();
        for (index, &first) in starts.iter().enumerate() {
            let part = if index == 0 { self.chunk(first) } else { self.logits(graph, first)? };
            let [rows, stride, classes] = part.sizes;
            for (row, part) in part.parts(graph) {
                part.backward_in_place(graph, part.values(d_loss.view, first + row))?;
            }
            let d_logits = Matrix::whole(part.logits, stride);
            if let Some(d_x) = &d_x {
                let sizes = Product::single(Layout::Nn, d_x.dtype, [rows, width, classes]);
                let to = self.inputs(d_x.view, d_x.dtype, first);
                product(graph, sizes, d_logits, Matrix::whole(self.weight.view, width), to)?;
            }
            graph.contribute_with(NAME, &self.weight, |graph, to, accumulate| {
                let into = graph.gradient_dtype(&self.weight);
                let single = Product::single(Layout::Tn, into, [classes, width, rows]);
                let x = self.inputs(self.x.view, self.x.dtype, first);
                product(graph, Product { accumulate, ..single }, d_logits, x, Matrix::whole(to, width))
            })?;
            let Some(to) = &self.bias else { continue };
            graph.contribute_with(NAME, to, |graph, to, accumulate| {
                bias::gradient(graph, part.logits, [rows, classes, stride], to, accumulate)
            })?;
        }
        d_x.into_iter().try_for_each(|d_x| graph.contribute(&self.x, d_x))
    }
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, width, classes, room for how many rows, whether there is a bias. Chunks: 1; 1; 2 of 64 and 1; 64, 64, 7.
    let sizes = [
        (1, 4, 1, 1, false),
        (64, 8, 7, 64, true),
        (65, 12, 129, 64, false),
        (135, 20, 66, 1, true),
        (200, 8, 35, 130, true),
    ];
    let case = |(rows, width, classes, room, biased): (usize, usize, usize, usize, bool)| {
        let mut inputs =
            Inputs::new(7).normal("x", &[rows, width], 1.0).normal("weight", &[classes, width], 1.0);
        if biased {
            inputs = inputs.normal("bias", &[classes], 2.0).always_f32();
        }
        let label = move |m: usize| (m * 7919 + classes - 1) % classes;
        // Every third row counts for nothing, but the first does count.
        let weight =
            move |m: usize| if m % 3 == 1 { 0.0 } else { classes as f32 * (0.25 + m as f32 / 100.0) };
        Case::new(format!("[{rows}, {width}] x [{classes}, {width}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let labels: Vec<u32> = (0..rows).map(|m| label(m) as u32).collect();
                let weights: Vec<f32> = (0..rows).map(weight).collect();
                let labels = graph.constant(&labels, [rows], DType::U32)?;
                let weights = graph.constant(&weights, [rows], DType::F32)?;
                Ok(in_chunks(graph, &x[0], &x[1], x.get(2), [&labels, &weights], room)?.loss)
            })
            .reference(move |x| {
                let logit = |row: &[f64], class: usize| {
                    let bias = x.get(2).map_or(0.0, |bias| bias[class]);
                    let weights = &x[1][class * width..][..width];
                    bias + row.iter().zip(weights).map(|(a, b)| a * b).sum::<f64>()
                };
                let loss = |(m, row): (usize, &[f64])| {
                    let logits: Vec<f64> = (0..classes).map(|class| logit(row, class)).collect();
                    let max = logits.iter().copied().fold(logits[0], f64::max);
                    let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
                    f64::from(weight(m)) * (sum.ln() - (logits[label(m)] - max))
                };
                x[0].chunks(width).enumerate().map(loss).collect()
            })
    };
    sizes.into_iter().map(case).collect()
}
