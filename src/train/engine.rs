//! What a training run needs of a trainer. The run around it plans, feeds, evaluates and saves.

use crate::Result;
use crate::gpu::Gpu;

/// What one optimizer step reported.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepReport {
    /// The mean loss over all answers, before the step: nats per masked token, class or pair, or a squared error; 0
    /// without an answer.
    pub loss: f64,
    /// The share of right answers, from 0 to 1.
    pub accuracy: f64,
    /// The gradient's L2 norm before clipping.
    pub gradient_norm: f64,
    /// The gradient was not finite, and nothing was changed.
    pub skipped: bool,
}

/// What a measurement on held-out sequences gave.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evaluation {
    /// Mean cross entropy in nats per masked token.
    pub loss: f64,
    /// The share of masked tokens guessed right, from 0 to 1.
    pub accuracy: f64,
    /// How many masked tokens there were.
    pub masked: u64,
}

/// A model with its optimizer, as a run sees it. [`Trainer`](super::Trainer) computes; tests of runs have a small one.
///
/// All that training changes lies in the model's and the optimizer's tensors: a trainer into which the tensors
/// of another were written goes on exactly as that one would. A new trainer is a function of its configuration.
#[allow(async_fn_in_trait, reason = "used generically, never as an object, and a page has one thread")]
pub trait StepEngine {
    /// What one micro-batch holds.
    type Batch;

    /// A step that was begun and not reported yet.
    type Step;

    /// Begins an optimizer step over all micro-batches, with the gradient of the mean over all their answers, and waits for
    /// nothing, unless it [begins by waiting](StepEngine::begins_by_waiting). One more may be begun before the report of this one is read.
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    fn begin_step(&mut self, micro_batches: &[Self::Batch], learning_rate: f64) -> Result<Self::Step>;

    /// Whether a step is done when it is begun, so that one that is begun ahead gains nothing.
    fn begins_by_waiting(&self) -> bool {
        false
    }

    /// Waits for a step, and tells what it did. Steps are finished in the order in which they were begun.
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    async fn finish_step(&mut self, step: Self::Step) -> Result<StepReport>;

    /// One optimizer step, begun and finished.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost) when the device must be opened again, [`Error::WorkLost`](crate::Error::WorkLost)
    /// when the driver has dropped work: both times the run goes back to its newest checkpoint. Any other ends the run.
    async fn step(&mut self, micro_batches: &[Self::Batch], learning_rate: f64) -> Result<StepReport> {
        let step = self.begin_step(micro_batches, learning_rate)?;
        self.finish_step(step).await
    }

    /// Whether its tensors are those of one model, and may be saved. Ranks that learn by themselves have one each between two
    /// [synchronisations](StepEngine::synchronize).
    fn is_whole(&self) -> bool {
        true
    }

    /// Makes one model of what all ranks have learned, where it is not [whole](StepEngine::is_whole).
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    async fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    /// The mean loss over all answers of `batches`; nothing is changed.
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    async fn evaluate(&mut self, batches: &[Self::Batch]) -> Result<Evaluation>;

    /// Names and shapes as in [`Config::parameters`](crate::models::Config::parameters).
    fn model_tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// Names and shapes of the optimizer's state, distinct from the model's.
    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// The values of a model or optimizer tensor, row-major.
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    async fn read(&mut self, name: &str) -> Result<Vec<f32>>;

    /// Replaces the values of a model or optimizer tensor, row-major.
    ///
    /// # Errors
    /// An unknown name, or another number of values.
    fn write(&mut self, name: &str, values: &[f32]) -> Result<()>;

    /// What it runs on, for people: the adapter's name. May be empty.
    fn device(&self) -> String {
        String::new()
    }

    /// The device, where it has one that can run the saved model.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }
}
