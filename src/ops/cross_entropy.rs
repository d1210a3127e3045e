//! Cross entropy of the softmax of each row.

use std::ops::Range;

use super::Case;
use super::check::{Inputs, Metric};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{Constant, KernelSpec, OPERATIONS_PER_BYTE, View, grid, params, shader, split};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { rows: u32, stride: u32, classes: u32 }

const PLAIN: &[Constant] = &[("LANES", 256)];
const FORWARD: KernelSpec = KernelSpec::new(shader!("cross_entropy"), "forward", [3, 3], LAYOUT, PLAIN);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 5, writes: 1, ..FORWARD };
const IN_PLACE: KernelSpec = KernelSpec { entry: "in_place", reads: 4, writes: 1, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[
    FORWARD,
    BACKWARD,
    IN_PLACE,
    KernelSpec { example: rows::SOFTWARE, ..FORWARD },
    KernelSpec { example: rows::SOFTWARE, ..BACKWARD },
    KernelSpec { example: rows::SOFTWARE, ..IN_PLACE },
];

/// What [`cross_entropy`] computes, one value per row.
#[derive(Debug)]
pub struct CrossEntropy {
    /// `weights[m] * -ln softmax(logits[m, ..V])[labels[m]]` in nats, `[M]`; exactly 0 where the weight is.
    pub loss: Tensor,
    /// 1 where the greatest logit (the first of equal ones) is the label's and the weight is positive, else
    /// 0, `[M]`. No gradient flows through it.
    pub correct: Tensor,
}

/// The weighted cross entropy of each row of `logits` `[M, S]` against `labels` (u32 `[M]`), over the first
/// `classes` columns; what the others hold is ignored and their gradient is 0. A row whose weight (`weights`
/// `[M]`, without a gradient) is 0 has neither loss nor gradient, even where its logits are NaN. A label
/// beyond the classes counts as the last one.
///
/// # Errors
/// [`Error::Shape`] when the shapes are not these; as [`Graph::output`].
pub fn cross_entropy(
    graph: &mut Graph,
    logits: &Tensor,
    labels: &Tensor,
    weights: &Tensor,
    classes: usize,
) -> Result<CrossEntropy> {
    let (rows, stride) = rows::matrix("cross_entropy", logits)?;
    rows::vector("cross_entropy", labels, rows, DType::U32)?;
    rows::vector("cross_entropy", weights, rows, DType::F32)?;
    if classes == 0 || classes > stride {
        let expected = format!("1 to {stride} classes for logits of {}", logits.shape);
        return Err(Error::shape("cross_entropy", expected, classes));
    }
    let loss = graph.output_as(DType::F32, "cross_entropy", [rows], &[logits])?;
    let correct = graph.output_as(DType::F32, "cross_entropy", [rows], &[])?;
    let stats = graph.scratch("cross_entropy", 2 * rows)?;
    let part = Rows {
        sizes: [rows, stride, classes],
        logits: logits.view,
        labels: labels.view,
        weights: weights.view,
        stats,
    };
    part.forward(graph, loss.view, correct.view)?;
    let logits = logits.clone();
    graph.on_backward(&loss, move |graph, d_loss| {
        let d_logits = graph.output("cross_entropy", [rows, stride], &[])?;
        part.dispatch(
            graph,
            &BACKWARD,
            &[part.labels, part.weights, stats, d_loss.view, part.logits],
            &[d_logits.view],
        )?;
        graph.contribute(&logits, d_logits)
    });
    Ok(CrossEntropy { loss, correct })
}

/// A pass over the logits takes as long as reading them so many times: forward does so twice, and both ways there is an
/// exponential to each.
const READINGS: u64 = 4;

/// Operations to a logit: to subtract the largest one, the exponential, and to sum or to scale.
const FLOPS: usize = 3;

/// Parts of rows begin at multiples of so many: what every device can bind of a vector.
pub(super) const ALIGNMENT: usize = 64;

/// Rows of logits, and what belongs to them.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// How many there are, how far from one to the next, and how many of their columns are classes.
    pub sizes: [usize; 3],
    pub logits: View,
    pub labels: View,
    pub weights: View,
    /// `[rows, 2]` f32: what forward leaves for backward.
    pub stats: View,
}

impl Rows {
    /// Splits the rows so that no dispatch runs longer than it should, and gives each part with its first row. The rows are
    /// a multiple of 4 wide.
    pub(super) fn parts(&self, graph: &Graph) -> Vec<(usize, Rows)> {
        let [rows, stride, classes] = self.sizes;
        let row = (READINGS * stride as u64 * graph.storage().bytes()) as f64 * OPERATIONS_PER_BYTE;
        let width = stride * graph.storage().bytes() as usize;
        let part = |part: Range<usize>| {
            let (first, count) = (part.start, part.len());
            let of = |view: View, bytes: usize| view.part((first * bytes) as u64, (count * bytes) as u64);
            let part = Rows {
                sizes: [count, stride, classes],
                logits: of(self.logits, width),
                labels: of(self.labels, 4),
                weights: of(self.weights, 4),
                stats: of(self.stats, 8),
            };
            (first, part)
        };
        split(rows, ALIGNMENT, graph.most_operations() / row).map(part).collect()
    }

    /// The part of a vector of f32 that belongs to these rows, of which `first` is the first.
    pub(super) fn values(&self, vector: View, first: usize) -> View {
        vector.part(first as u64 * 4, self.sizes[0] as u64 * 4)
    }

    /// The loss of each row and whether it is right.
    pub(super) fn forward(&self, graph: &mut Graph, loss: View, correct: View) -> Result<()> {
        self.dispatch(
            graph,
            &FORWARD,
            &[self.labels, self.weights, self.logits],
            &[loss, correct, self.stats],
        )
    }

    /// Puts the gradients of the logits in their place.
    pub(super) fn backward_in_place(&self, graph: &mut Graph, d_loss: View) -> Result<()> {
        self.dispatch(graph, &IN_PLACE, &[self.labels, self.weights, self.stats, d_loss], &[self.logits])
    }

    fn dispatch(
        &self,
        graph: &mut Graph,
        kernel: &KernelSpec,
        reads: &[View],
        writes: &[View],
    ) -> Result<()> {
        let lanes = rows::lanes(graph, PLAIN);
        let [rows, stride, classes] = self.sizes;
        let params = Params { rows: rows as u32, stride: stride as u32, classes: classes as u32 };
        let dispatch = graph.dispatch((kernel, lanes), params, reads, writes, grid(rows, 1))?;
        let time = (READINGS * self.logits.bytes) as f64 * OPERATIONS_PER_BYTE;
        let in_place = if writes.contains(&self.logits) { self.logits.bytes } else { 0 };
        dispatch.flops((FLOPS * rows * classes) as f64).takes(time).once_and(in_place as f64);
        Ok(())
    }
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    // Rows, classes, columns, deviation.
    let sizes = [
        (1, 1, 1, 1.0),
        (1, 7, 8, 2.0),
        (7, 129, 132, 20.0),
        (129, 7, 7, 1.0),
        (130, 64, 65, 3.0),
        (3, 32768, 32768, 2.0),
    ];
    let case = |(rows, classes, columns, deviation): (usize, usize, usize, f32)| {
        let inputs = Inputs::new(6).normal_around("logits", &[rows, columns], 5.0, deviation);
        let label = move |m: usize| (m * 7919 + classes - 1) % classes;
        // Every third row counts for nothing, but the first does count. As heavy as there are classes, so that
        // the gradients are not lost in the 1 that they are added to.
        let weight =
            move |m: usize| if m % 3 == 1 { 0.0 } else { classes as f32 * (0.25 + m as f32 / 100.0) };
        Case::new(format!("{classes} of [{rows}, {columns}]"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let labels: Vec<u32> = (0..rows).map(|m| label(m) as u32).collect();
                let weights: Vec<f32> = (0..rows).map(weight).collect();
                let labels = graph.constant(&labels, [rows], DType::U32)?;
                let weights = graph.constant(&weights, [rows], DType::F32)?;
                Ok(cross_entropy(graph, &x[0], &labels, &weights, classes)?.loss)
            })
            .reference(move |x| {
                let rows = x[0].chunks(columns).map(|row| &row[..classes]);
                rows.enumerate()
                    .map(|(m, row)| {
                        let max = row.iter().copied().fold(row[0], f64::max);
                        let sum: f64 = row.iter().map(|l| (l - max).exp()).sum();
                        f64::from(weight(m)) * (sum.ln() - (row[label(m)] - max))
                    })
                    .collect()
            })
    };
    sizes.into_iter().map(case).collect()
}
