//! What a model learns: one file for each objective.
//!
//! An [`Objective`] says what a batch is, which buffers hold one on the device, what is put there before a replay, and
//! which losses are recorded. The [`Trainer`](super::Trainer) does everything else: recordings by shape, gradients,
//! loss scale, dropout's keys, the optimizer, and the proof that nothing was lost.

#[cfg(not(target_arch = "wasm32"))]
mod chosen;
mod masked;

#[cfg(not(target_arch = "wasm32"))]
pub use chosen::ChosenObjective;
pub use masked::{MaskedBuffers, MaskedTokens};

/// Declares the modules of objectives, and exports what is public in them. A page, which only pretrains, has none of
/// these.
macro_rules! objectives {
    ($($name:ident),+ $(,)?) => {
        $(
            #[cfg(not(target_arch = "wasm32"))]
            mod $name;
            #[cfg(not(target_arch = "wasm32"))]
            pub use $name::*;
        )+
    };
}

objectives! { classes, label_sets, numbers, pairs, texts, token_classes }

use std::sync::Arc;

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::models::{Config, Model};
use crate::nn::Dropouts;
use crate::tensor::Tensor;

/// What a recording is made for: B sequences of T tokens.
pub type BatchShape = (usize, usize);

/// The losses of a batch, as an objective records them.
#[derive(Debug)]
pub struct Losses {
    /// `[n]` f32: the loss of each answer times its weight.
    pub loss: Tensor,
    /// `[n]` f32: 1 for a right answer, 0 for a wrong one; none where an answer is not right or wrong.
    pub correct: Option<Tensor>,
}

/// Something to learn from batches of one kind.
pub trait Objective {
    /// What one micro-batch holds.
    type Batch;
    /// The buffers of the device that hold a batch of one shape.
    type Buffers;

    /// The shape of the recording that computes `batch`.
    fn shape(&self, batch: &Self::Batch) -> BatchShape;

    /// Whether `batch` fits the model and its targets fit each other.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when not.
    fn check(&self, config: &Config, batch: &Self::Batch) -> Result<()>;

    /// How many losses the batch has; the gradient is that of their mean over all batches of a step, but for
    /// [`Objective::total_weight`].
    fn answers(&self, batch: &Self::Batch) -> usize;

    /// What the losses of the batch weigh together: their number, unless some count more than others. The gradient is that
    /// of their weighted sum over what all batches of a step weigh.
    fn total_weight(&self, batch: &Self::Batch) -> f64 {
        self.answers(batch) as f64
    }

    /// How many replays compute `batch`.
    fn replays(&self, _batch: &Self::Batch) -> usize {
        1
    }

    /// How many keys of dropout a replay needs: one for all that is computed at once.
    fn dropout_keys(&self, _shape: BatchShape) -> usize {
        1
    }

    /// Makes the buffers of a shape.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    fn buffers(&self, gpu: &Gpu, model: &Model, shape: BatchShape) -> Result<Self::Buffers>;

    /// Fills the buffers for replay number `replay` of `batch`; each of its losses is multiplied by `weight`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for token ids that do not fit the model.
    fn upload(
        &self,
        gpu: &Gpu,
        model: &Model,
        buffers: &Self::Buffers,
        batch: &Self::Batch,
        replay: usize,
        weight: f32,
    ) -> Result<()>;

    /// Records the losses of a batch that lies in `buffers`, with dropout where there are keys for it.
    ///
    /// # Errors
    /// Those of the operations.
    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &Self::Buffers,
        dropouts: &[Dropouts],
    ) -> Result<Losses>;
}

/// An objective that was chosen while the program runs.
impl<B, U> Objective for Box<dyn Objective<Batch = B, Buffers = U>> {
    type Batch = B;
    type Buffers = U;

    fn shape(&self, batch: &B) -> BatchShape {
        (**self).shape(batch)
    }

    fn check(&self, config: &Config, batch: &B) -> Result<()> {
        (**self).check(config, batch)
    }

    fn answers(&self, batch: &B) -> usize {
        (**self).answers(batch)
    }

    fn total_weight(&self, batch: &B) -> f64 {
        (**self).total_weight(batch)
    }

    fn replays(&self, batch: &B) -> usize {
        (**self).replays(batch)
    }

    fn dropout_keys(&self, shape: BatchShape) -> usize {
        (**self).dropout_keys(shape)
    }

    fn buffers(&self, gpu: &Gpu, model: &Model, shape: BatchShape) -> Result<U> {
        (**self).buffers(gpu, model, shape)
    }

    fn upload(
        &self,
        gpu: &Gpu,
        model: &Model,
        buffers: &U,
        batch: &B,
        replay: usize,
        weight: f32,
    ) -> Result<()> {
        (**self).upload(gpu, model, buffers, batch, replay, weight)
    }

    fn record(
        &self,
        graph: &mut Graph,
        model: &Arc<Model>,
        buffers: &U,
        dropouts: &[Dropouts],
    ) -> Result<Losses> {
        (**self).record(graph, model, buffers, dropouts)
    }
}
