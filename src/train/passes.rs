//! The recordings of a micro-batch, and where its arrays are put before each replay.

use super::mlm::MlmOptions;
use crate::Result;
use crate::autograd::Graph;
use crate::bert::{InputSlots, Model, Targets, encode, mlm_loss};
use crate::gpu::{Buffer, Gpu, Recording, Region};
use crate::ops::reduce::{broadcast, sum_into};
use crate::optim::Totals;
use crate::tensor::DType;

/// Where the arrays of a batch are put before each replay.
pub(super) struct Slots {
    pub inputs: InputSlots,
    pub rows: Buffer,
    pub labels: Buffer,
    pub weights: Buffer,
    pub ticket: Buffer,
}

impl Slots {
    pub fn new(gpu: &Gpu, options: &MlmOptions) -> Result<Self> {
        let words = |label: &str, count: usize| gpu.buffer(label, count as u64 * 4);
        Ok(Slots {
            inputs: InputSlots::new(gpu, options.micro_batch, options.seq_len)?,
            rows: words("target rows", options.targets)?,
            labels: words("target labels", options.targets)?,
            weights: words("target weights", options.targets)?,
            ticket: words("the ticket", 1)?,
        })
    }
}

/// Records forward, and backward if `graph` has a tape.
pub(super) fn pass(
    mut graph: Graph,
    model: &Model,
    totals: &Totals,
    slots: &Slots,
    targets: usize,
    loss_scale: Region,
) -> Result<Recording> {
    let graph_ref = &mut graph;
    let inputs = slots.inputs.inputs(graph_ref, &model.config)?;
    let targets = Targets {
        rows: graph_ref.input(&slots.rows, [targets], DType::U32)?,
        labels: graph_ref.input(&slots.labels, [targets], DType::U32)?,
        weights: graph_ref.input(&slots.weights, [targets], DType::F32)?,
    };
    let hidden = encode(graph_ref, &model.config, &model.parameters, &inputs)?;
    let guesses = mlm_loss(graph_ref, &model.config, &model.parameters, &hidden.last, &targets)?;
    let count = guesses.loss.shape().elements();
    let ticket = graph_ref.input(&slots.ticket, [1], DType::F32)?;
    for (values, total) in [(&guesses.loss, totals.loss()), (&guesses.correct, totals.correct())] {
        let total = graph_ref.recorder().bind(&total);
        sum_into(graph_ref, values.view(), [count, 1], total, true)?;
    }
    if guesses.loss.needs_gradient() {
        let scale = graph_ref.input(loss_scale, [1], DType::F32)?;
        let d_loss = broadcast(graph_ref, &scale, count)?;
        graph_ref.backward(&guesses.loss, d_loss)?;
    }
    totals.arrive(graph_ref, &ticket)?;
    graph.finish(if guesses.loss.needs_gradient() { "training step" } else { "evaluation" })
}
