//! What every optimizer decides, whatever its update rules: the gradient's norm and whether it is finite, clipping, the
//! scale of the loss, and the proof that nothing of a step was lost.

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};

use super::norm::{CONSTANTS, NORM, Params, norm_groups, record_norm, vectors};
use super::totals::{Proofs, Sums, Totals};
use crate::autograd::Graph;
use crate::gpu::{
    Buffer, Gpu, KernelSpec, ReadBack, Recorder, Recording, Region, SharedStruct, View, shared,
};
use crate::nn::Parameters;
use crate::{Error, Result};

shared! {
    /// What changes from step to step and is written before each.
    struct Settings {
        learning_rate: f32,
        /// This step's own.
        proof: u32,
        /// The sum of those of its micro-batches.
        proofs: f32,
        /// The proof of the step before, where nobody knows yet what became of that one; 0 where it is known.
        previous: u32,
    }

    /// What is kept from step to step, and this one's decision.
    pub(super) struct State {
        /// What the loss is multiplied by before it is differentiated.
        loss_scale: f32,
        /// Steps whose gradient was finite since the scale changed.
        clean: f32,
        /// Steps that were applied.
        step: f32,
        apply: u32, scale: f32, learning_rate: f32,
    }

    /// What the CPU reads of a step.
    struct Outcome {
        loss: f32, correct: f32, proofs: f32, norm: f32, apply: u32, proof: u32, whole: u32,
        /// The step's proof, which comes here by way of every submission of the step.
        delivered: u32,
    }
}

const DECIDE: KernelSpec = KernelSpec { entry: "decide", reads: 5, writes: 2, ..NORM };

pub(super) const KERNELS: &[KernelSpec] = &[NORM, DECIDE];
pub(super) const STRUCTS: &[SharedStruct] = &[Settings::SHARED, State::SHARED, Outcome::SHARED];

/// PyTorch's: where the loss scale starts at least, and after how many clean steps it doubles.
const FIRST_LOSS_SCALE: f32 = 65536.0;
/// What the gradient of one target's loss is multiplied by at least in the first step: a mean over many targets leaves
/// each of them so small a share that its gradient would vanish as f16.
const FIRST_TARGET_SCALE: f32 = 128.0;
/// The loss scale grows no further.
const LARGEST_LOSS_SCALE: f32 = 16_777_216.0;
const GROWTH: u32 = 2000;

/// What errors name.
const STEP: &str = "the optimizer step";

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// What the micro-batches added up.
    pub sums: Sums,
    /// The gradient's norm before clipping.
    pub norm: f32,
    /// Whether the gradient was finite and the parameters have changed.
    pub applied: bool,
}

/// The buffers of the decision, and what the CPU knows of them.
#[derive(Debug)]
pub(super) struct Control {
    gpu: Gpu,
    settings: Buffer,
    state: Buffer,
    outcome: Buffer,
    /// Zeroes totals, and totals and gradients at once.
    clear: [Recording; 2],
    /// Whether the state is what [`Control::new`] left.
    fresh: AtomicBool,
    /// The newest step's.
    proof: u32,
    /// That of the newest step whose outcome was read.
    reported: u32,
    mixed: bool,
}

/// A step that was submitted, whose outcome is on its way.
#[derive(Debug)]
pub struct Submitted {
    outcome: ReadBack,
    proof: u32,
    proofs: Proofs,
}

/// What [`Control::record`] leaves for the update rules.
pub(super) struct Decided {
    /// The [`State`].
    pub state: View,
    /// The gradients of each segment.
    pub gradients: Vec<View>,
    settings: View,
    outcome: View,
}

impl Control {
    pub(super) fn new(parameters: &Parameters, totals: &Totals) -> Result<Self> {
        let gpu = parameters.gpu();
        let mixed = parameters.segments().iter().any(|segment| segment.weights_f16.is_some());
        let loss_scale = if mixed { FIRST_LOSS_SCALE } else { 1.0 };
        let first = State { loss_scale, clean: 0.0, step: 0.0, apply: 0, scale: 0.0, learning_rate: 0.0 };
        Ok(Control {
            gpu: gpu.clone(),
            settings: gpu.buffer("the step's settings", size_of::<Settings>() as u64)?,
            state: gpu.upload("the optimizer's state", &[first])?,
            outcome: gpu.buffer("the step's outcome", size_of::<Outcome>() as u64)?,
            clear: [clear(parameters, totals, false)?, clear(parameters, totals, true)?],
            fresh: AtomicBool::new(true),
            proof: 0,
            reported: 0,
            mixed,
        })
    }

    /// See [`Optimizer::expect`](super::Optimizer::expect).
    pub(super) fn expect(&mut self, targets: usize) {
        if std::mem::take(self.fresh.get_mut()) && self.mixed {
            let at = offset_of!(State, loss_scale) as u64;
            self.gpu.write(&self.state, at, &[first_loss_scale(targets)]);
        }
    }

    /// Zeroes the totals, and the gradients where no replay is to come that overwrites them.
    pub(super) fn begin(&self, empty: bool) -> Result<()> {
        self.clear[usize::from(empty)].replay()
    }

    /// Replays `step` with a proof of its own.
    pub(super) fn submit(&mut self, step: &Recording, learning_rate: f32, proofs: &Proofs) -> Result<()> {
        let previous = if self.proof == self.reported { 0 } else { self.proof };
        self.proof = self.proof.wrapping_add(0x9e37_79b9);
        let settings = Settings { learning_rate, proof: self.proof, proofs: proofs.sum(), previous };
        self.gpu.write(&self.settings, 0, &[settings]);
        step.replay()
    }

    /// Begins to read the outcome of the newest step, before another takes its place.
    pub(super) fn begin_report(&self, proofs: Proofs) -> Result<Submitted> {
        let outcome = self.gpu.begin_read(&self.outcome, 0, size_of::<Outcome>() as u64)?;
        Ok(Submitted { outcome, proof: self.proof, proofs })
    }

    /// Waits for a step and proves that all of it ran.
    pub(super) async fn report(&mut self, step: Submitted) -> Result<Report> {
        let Submitted { outcome, proof: expected, proofs } = step;
        // Whatever it was, who is told can act on it: only what nobody has heard of holds back the next step.
        self.reported = expected;
        let outcome: Vec<Outcome> = outcome.finish().await?;
        let Outcome { loss, correct, proofs: found, norm, apply, proof, whole, delivered } = outcome[0];
        verify(proof, expected)?;
        // A long step is several submissions; this number went through all of them.
        verify(delivered, expected)?;
        proofs.verify(STEP, found)?;
        if whole == 0 {
            let message = "the step before was not completed, so that this one changed nothing".to_owned();
            return Err(Error::WorkLost { operation: STEP.into(), message });
        }
        Ok(Report { sums: Sums { loss, correct }, norm, applied: apply != 0 })
    }

    /// Where the loss scale lies.
    pub(super) fn loss_scale(&self) -> Region {
        Region { buffer: self.state.clone(), offset: offset_of!(State, loss_scale) as u64, bytes: 16 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.settings.bytes() + self.state.bytes() + self.outcome.bytes()
    }

    pub(super) async fn read(&self) -> Result<State> {
        Ok(self.gpu.read(&self.state, 0, 1).await?[0])
    }

    /// Replaces what is kept. The next step decides the rest anew.
    pub(super) fn write(&self, [loss_scale, clean, step]: [f32; 3]) {
        let state = State { loss_scale, clean, step, apply: 0, scale: 0.0, learning_rate: 0.0 };
        self.gpu.write(&self.state, 0, &[state]);
        self.fresh.store(false, Ordering::Relaxed);
    }

    /// Records the norm and the decision, which come first in a step.
    pub(super) fn record(
        &self,
        graph: &mut Graph,
        parameters: &Parameters,
        clip: f32,
        totals: &Totals,
    ) -> Result<Decided> {
        let segments = parameters.trained();
        if segments.is_empty() {
            return Err(Error::config("optimizer", "trained parameters", "none"));
        }
        let all: Vec<u32> = segments.iter().map(|segment| norm_groups(segment.elements)).collect();
        let count = all.iter().sum::<u32>();
        let partials = graph.scratch("optimizer", count as usize)?;
        let growth = if self.mixed { GROWTH } else { 0 };
        let base = Params { partials: count, clip, growth, ..Params::NONE };
        let mut gradients = Vec::new();
        let mut first = 0;
        for (segment, &groups) in segments.iter().zip(&all) {
            let Some(gradients_of) = &segment.gradients else { continue };
            let view = graph.recorder().bind(&gradients_of.into());
            let params = Params { vectors: vectors(segment.elements), first, groups, ..base };
            first += groups;
            record_norm(graph, params, view, partials)?;
            gradients.push(view);
        }
        let [settings, state, outcome] =
            [&self.settings, &self.state, &self.outcome].map(|buffer| graph.recorder().bind(&buffer.into()));
        let [loss, correct, proofs] =
            [totals.loss(), totals.correct(), totals.proofs()].map(|total| graph.recorder().bind(&total));
        let reads = [settings, partials, loss, correct, proofs];
        graph.dispatch((&DECIDE, CONSTANTS), base, &reads, &[state, outcome], [1, 1, 1])?.once();
        Ok(Decided { state, gradients, settings, outcome })
    }
}

impl Decided {
    /// Records the proof that everything before it ran, which comes last in a step.
    pub(super) fn prove(&self, recorder: &mut Recorder) {
        let from = self.settings.part(offset_of!(Settings, proof) as u64, 4);
        recorder.prove(from, self.outcome.part(offset_of!(Outcome, delivered) as u64, 4));
    }
}

/// A power of two, so that it changes no digit of a gradient.
fn first_loss_scale(targets: usize) -> f32 {
    let wanted = FIRST_TARGET_SCALE * targets as f32;
    wanted.clamp(FIRST_LOSS_SCALE, LARGEST_LOSS_SCALE).log2().ceil().exp2()
}

/// An outcome that carries another step's proof was never written: some drivers count a failed submission as
/// completed.
fn verify(found: u32, expected: u32) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WorkLost {
        operation: STEP.into(),
        message: format!(
            "the report carries {found:#x} instead of {expected:#x}: the step was not completed"
        ),
    })
}

/// Zeroes the gradients where it is asked for, and the totals, which tell when any of that was dropped.
fn clear(parameters: &Parameters, totals: &Totals, gradients: bool) -> Result<Recording> {
    let mut recorder = Recorder::new(parameters.gpu());
    let segments = parameters.trained().iter().filter(|_| gradients);
    for gradients in segments.filter_map(|segment| segment.gradients.as_ref()) {
        let view = recorder.bind(&gradients.into());
        recorder.clear(view);
    }
    totals.clear(&mut recorder);
    recorder.finish(parameters.gpu(), "clear totals and gradients")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_loss_scale_grows_with_the_targets() {
        let found = [1, 512, 513, 4864, 1 << 20].map(super::first_loss_scale);
        assert_eq!(found, [65536.0, 65536.0, 131_072.0, 1_048_576.0, 16_777_216.0]);
    }

    #[test]
    fn an_outcome_of_another_step_is_rejected() {
        assert!(super::verify(7, 7).is_ok());
        let error = super::verify(0, 7).unwrap_err().to_string();
        assert!(error.contains("not completed"), "{error}");
    }
}
