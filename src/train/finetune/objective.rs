//! What is learned: the loss of a batch, recorded forward and backward.

use super::learner::{TaskBatch, TaskOptions};
use crate::Result;
use crate::autograd::Graph;
use crate::bert::{Config, Dropouts, InputSlots, Model, Pooling, classify, encode_with};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::dropout::Key;
use crate::ops::gather_rows::gather_rows;
use crate::ops::matmul::linear;
use crate::ops::normalize::normalize;
use crate::ops::reduce::sum_into;
use crate::ops::scale::scale;
use crate::ops::squared_error::squared_error;
use crate::optim::Totals;
use crate::tensor::{DType, Tensor};

/// What is learned of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Cross entropy of the class of each text, in nats.
    Classes,
    /// The squared difference to the number of each text.
    Number,
    /// Cross entropy of finding the partner of each text among those of all others in the batch, by the cosine of
    /// their vectors times a factor (Henderson et al. 2017). With a text as its own partner, told apart by dropout
    /// alone, it is SimCSE (Gao et al. 2021), whose temperature of 0.05 is a factor of 20.
    Pairs {
        /// How tokens become a vector.
        pooling: Pooling,
        /// What cosines are multiplied by.
        factor: f32,
    },
}

/// What the texts of a batch are labelled with.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// A class each.
    Classes(Vec<u32>),
    /// A number each.
    Numbers(Vec<f32>),
    /// The second half are the partners of the first.
    Pairs,
}

impl Objective {
    /// Whether it learns from such targets.
    pub(super) fn takes(self, targets: &Targets) -> bool {
        matches!(
            (self, targets),
            (Objective::Classes, Targets::Classes(_))
                | (Objective::Number, Targets::Numbers(_))
                | (Objective::Pairs { .. }, Targets::Pairs)
        )
    }

    /// What becomes of a text's tokens.
    pub(super) fn pooling(self, config: &Config) -> Pooling {
        match self {
            Objective::Pairs { pooling, .. } => pooling,
            Objective::Classes | Objective::Number => config.classifier_pooling,
        }
    }

    /// How many losses a batch has.
    pub(super) fn answers(self, batch: &TaskBatch) -> usize {
        match self {
            Objective::Pairs { .. } => batch.texts.len() / 2,
            _ => batch.texts.len(),
        }
    }
}

/// Records a batch of B sequences of T tokens, forward and backward. The buffers are what is pooled, the targets, the
/// weights and the ticket.
pub(super) fn record(
    gpu: &Gpu,
    model: &Model,
    options: TaskOptions,
    sequences: usize,
    inputs: &InputSlots,
    [pooled, targets, weights, ticket]: [&Buffer; 4],
    (totals, key): (&Totals, &Key),
) -> Result<Recording> {
    let mut graph = Graph::training(gpu);
    let graph_ref = &mut graph;
    let (config, parameters) = (&model.config, &model.parameters);
    let inputs = inputs.inputs(graph_ref, config)?;
    let dropouts =
        Dropouts { hidden: options.dropout, attention: options.dropout, key: key.tensor(graph_ref)? };
    let hidden = encode_with(graph_ref, config, parameters, &inputs, Some(&dropouts))?.last;
    let shape = options.objective.pooling(config).slots_shape(sequences);
    let slots = graph_ref.input(pooled, shape.as_slice(), DType::U32)?;
    let head = |graph: &mut Graph| classify(graph, config, parameters, &hidden, &slots, Some(&dropouts));
    let (loss, correct) = match options.objective {
        Objective::Classes => {
            let logits = head(graph_ref)?;
            let labels = graph_ref.input(targets, [sequences], DType::U32)?;
            let weights = graph_ref.input(weights, [sequences], DType::F32)?;
            let guessed = cross_entropy(graph_ref, &logits, &labels, &weights, config.labels.len())?;
            (guessed.loss, Some(guessed.correct))
        }
        Objective::Number => {
            let numbers = head(graph_ref)?;
            let targets = graph_ref.input(targets, [sequences], DType::F32)?;
            let weights = graph_ref.input(weights, [sequences], DType::F32)?;
            (squared_error(graph_ref, &numbers, &targets, &weights)?, None)
        }
        Objective::Pairs { pooling, factor } => {
            let vectors = pooling.record(graph_ref, &hidden, &slots)?;
            let weights = graph_ref.input(weights, [sequences / 2], DType::F32)?;
            let found = in_batch(graph_ref, &vectors, factor, &weights)?;
            (found.loss, Some(found.correct))
        }
    };
    let count = loss.shape().elements();
    let ticket = graph_ref.input(ticket, [1], DType::F32)?;
    let mut sums = vec![(&loss, totals.loss())];
    sums.extend(correct.iter().map(|correct| (correct, totals.correct())));
    for (values, total) in sums {
        let total = graph_ref.recorder().bind(&total);
        sum_into(graph_ref, values.view(), [count, 1], total, true)?;
    }
    let ones = graph_ref.constant(&vec![1f32; count], [count], DType::F32)?;
    graph_ref.backward(&loss, ones)?;
    totals.arrive(graph_ref, &ticket)?;
    graph.finish("finetuning step")
}

/// Cross entropy of finding row `n + i` of `vectors [2n, C]` as the partner of row `i` among all from `n` on.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes are not these.
pub fn in_batch(graph: &mut Graph, vectors: &Tensor, factor: f32, weights: &Tensor) -> Result<CrossEntropy> {
    let pairs = weights.shape().elements();
    let unit = normalize(graph, vectors)?;
    let mut half = |first: usize| {
        let rows: Vec<u32> = (first..first + pairs).map(|row| row as u32).collect();
        let rows = graph.constant(&rows, [pairs], DType::U32)?;
        gather_rows(graph, &unit, &rows)
    };
    let (texts, partners) = (half(0)?, half(pairs)?);
    let cosines = linear(graph, &texts, &partners)?; // [n, n rounded up to 4]
    let logits = scale(graph, &cosines, factor)?;
    let own: Vec<u32> = (0..pairs as u32).collect();
    let own = graph.constant(&own, [pairs], DType::U32)?;
    cross_entropy(graph, &logits, &own, weights, pairs)
}
