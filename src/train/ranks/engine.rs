//! The step engine of rank 0, and of a process that computes all blocks by itself.

use std::ops::Range;
use std::time::Instant;

use super::blocks::blocks_of;
use super::learn::{Learned, Shared, learn};
use super::link::alone;
use super::message::{Kind, answered, put_shared, take_report, take_sums};
use super::plan::{Learns, TrainerPlan, adapter};
use super::team::Team;
use super::times::{StepTimes, timed};
use super::wire::{Packed, Writer};
use crate::gpu::Gpu;
use crate::optim::Sums;
use crate::train::engine::{Evaluation, StepEngine, StepReport};
use crate::train::objective::{MaskedTokens, Objective, TextObjective};
use crate::train::trainer::{BegunStep, PIECE, Trainer};
use crate::train::wire_format::{GROUP, WireFormat};
use crate::{Error, Result};

/// Fewer elements than these travel as one.
const LEAST_PIECE: usize = 64 << 10;

/// A [`Trainer`] whose steps are computed in blocks, by all ranks of a team. With one block and one rank it is the trainer
/// itself.
#[derive(Debug)]
pub struct DataParallel<O: Objective> {
    pub(super) trainer: Trainer<O>,
    pub(super) team: Team,
    /// Which blocks each rank computes.
    pub(super) parts: Vec<Range<usize>>,
    /// Whether not all ranks have the same adapter, so that their weights may drift apart in the last bits.
    uneven: bool,
    /// The most elements of gradients that travel as one, where it was chosen.
    piece: Option<usize>,
    /// How gradients travel.
    pub(super) wire: WireFormat,
}

/// A step that was begun.
#[derive(Debug)]
pub enum Step {
    /// By the trainer alone, whose report is on its way.
    Begun(BegunStep),
    /// In blocks, and done.
    Done(StepReport),
}

/// A team whose ranks have been told to make their trainers.
#[derive(Debug)]
struct Opening {
    team: Team,
    parts: Vec<Range<usize>>,
}

impl Opening {
    fn begin(gpu: &Gpu, plan: &TrainerPlan, blocks: usize, team: &Team) -> Result<Self> {
        let parts = team.divide(blocks)?;
        let mut message = Kind::Open.message();
        let asked = (plan, gpu.capabilities().matrix_operands);
        // Numbers, names and lists always serialise.
        message.text(&serde_json::to_string(&asked).unwrap_or_default());
        team.tell_all(&message.0)?;
        Ok(Opening { team: team.clone(), parts })
    }

    /// Joins the trainer of this rank, made meanwhile, whose weights all others get.
    fn finish<O>(self, trainer: Result<Trainer<O>>) -> Result<DataParallel<O>>
    where
        O: Objective<Batch: Packed>,
    {
        let adapters = self.team.answers(|rank, bytes| answered(bytes, rank, |from| from.text()));
        // The own error says more than those that may follow from it.
        let trainer = trainer?;
        let own = trainer.gpu().map(adapter).unwrap_or_default();
        let uneven = adapters?.iter().any(|adapter| *adapter != own);
        let Opening { team, parts } = self;
        let wire = WireFormat::default();
        let mut engine = DataParallel { trainer, team, parts, uneven, piece: None, wire };
        if engine.team.size() > 1 {
            for (name, _) in engine.trainer.model_tensors() {
                let values = pollster::block_on(engine.trainer.read(&name))?;
                engine.tell_values(&name, &values)?;
            }
        }
        Ok(engine)
    }
}

impl DataParallel<MaskedTokens> {
    /// A new model with its first weights that learns to guess masked tokens, on all ranks. A plan that learns from texts is
    /// refused.
    ///
    /// # Errors
    /// As [`Trainer::pretraining`]; [`Error::Config`] for fewer blocks than ranks; [`Error::Rank`].
    pub fn pretraining(gpu: &Gpu, plan: &TrainerPlan, blocks: usize, team: &Team) -> Result<Self> {
        let Learns::Masked(options) = plan.learns else {
            return Err(Error::config("objective", "masked tokens", "texts"));
        };
        let opening = Opening::begin(gpu, plan, blocks, team)?;
        let trainer = plan.masked(gpu, options).and_then(|trainer| {
            trainer.model().initialize(options.seed)?;
            Ok(trainer)
        });
        opening.finish(trainer)
    }
}

impl DataParallel<TextObjective> {
    /// A model that learns from texts, on all ranks, with the weights that `fill` gives its trainer. A plan that guesses
    /// masked tokens is refused.
    ///
    /// # Errors
    /// As [`Trainer::new`]; those of `fill`; [`Error::Config`] for fewer blocks than ranks; [`Error::Rank`].
    pub fn texts(
        gpu: &Gpu,
        plan: &TrainerPlan,
        blocks: usize,
        team: &Team,
        fill: impl FnOnce(&Trainer<TextObjective>) -> Result<()>,
    ) -> Result<Self> {
        let Learns::Texts { objective, options, freeze, recompute } = &plan.learns else {
            return Err(Error::config("objective", "texts", "masked tokens"));
        };
        let opening = Opening::begin(gpu, plan, blocks, team)?;
        let trainer = plan.texts(gpu, objective, *options, (*freeze, *recompute)).and_then(|trainer| {
            fill(&trainer)?;
            Ok(trainer)
        });
        opening.finish(trainer)
    }
}

impl<O: Objective<Batch: Packed>> DataParallel<O> {
    /// The trainer of this rank.
    pub fn trainer(&self) -> &Trainer<O> {
        &self.trainer
    }

    /// The trainer of this rank, for what says nothing to the others.
    pub(in crate::train) fn trainer_mut(&mut self) -> &mut Trainer<O> {
        &mut self.trainer
    }

    /// Has gradients of steps in several blocks travel as `wire` says. The bits of what is learned depend on it, and not on how many
    /// ranks there are.
    #[must_use]
    pub fn with_wire(self, wire: WireFormat) -> Self {
        DataParallel { wire, ..self }
    }

    /// Sends gradients in pieces of at most so many elements, or some more. For tests, whose models are small; no bit depends on it.
    #[doc(hidden)]
    pub fn set_piece(&mut self, elements: usize) {
        self.piece = Some(elements.clamp(1, PIECE));
    }

    /// The most elements of gradients that travel as one: an eighth, so that there is something to add while the rest is being
    /// computed, but not so few that each costs more than it gains.
    fn piece(&self) -> usize {
        let most = (self.trainer.gradient_elements() / 8).clamp(LEAST_PIECE, PIECE);
        // Neighbours that share a scale on their way are in one piece, however long that is.
        self.piece.unwrap_or(most).next_multiple_of(GROUP)
    }

    fn is_alone(&self) -> bool {
        self.team.size() == 1
    }

    /// Whether gradients are added on the host.
    fn in_blocks(&self) -> bool {
        self.parts.len() > 1 || self.parts[0].len() > 1
    }

    /// Gives all others the values of a tensor.
    pub(super) fn tell_values(&self, name: &str, values: &[f32]) -> Result<()> {
        self.team.tell_all(&values_message(name, values))
    }

    /// Gives one the values of a tensor.
    pub(super) fn tell_values_to(&self, rank: usize, name: &str, values: &[f32]) -> Result<()> {
        self.team.tell(rank, values_message(name, values))
    }

    /// A step in blocks, from beginning to end.
    async fn step_in_blocks(&mut self, micro_batches: &[O::Batch], learning_rate: f64) -> Result<StepReport> {
        let (began, mut times) = (Instant::now(), StepTimes { steps: 1, ..StepTimes::default() });
        let whole = self.trainer.whole(micro_batches);
        let ranges = blocks_of(micro_batches.len(), self.parts.last().map_or(1, |part| part.end));
        let first = self.trainer.keys_used();
        let mut keys = first;
        let starts: Vec<u64> = ranges
            .iter()
            .map(|range| {
                let start = keys;
                keys += self.trainer.keys_of(&micro_batches[range.clone()]);
                start
            })
            .collect();
        // Blocks without a micro-batch add nothing; a step without any is one block that is empty.
        let filled = |part: &Range<usize>| -> Vec<usize> {
            part.clone()
                .filter(|&block| !ranges[block].is_empty() || (micro_batches.is_empty() && block == 0))
                .collect()
        };
        let counts: Vec<usize> = self.parts.iter().map(|part| filled(part).len()).collect();
        let pieces = self.trainer.gradient_pieces(self.piece(), micro_batches.first())?;
        let shared = Shared { whole, counts, pieces, wire: self.wire };
        for (rank, part) in self.parts.iter().enumerate().skip(1) {
            let mut message = Kind::Step.message();
            put_shared(&shared, &mut message);
            message.list(&filled(part), |&block, to| {
                to.number(starts[block]);
                put_batches(&micro_batches[ranges[block].clone()], to);
            });
            timed(&mut times.send, || self.team.tell(rank, message.0))?;
        }
        let own: Vec<_> = filled(&self.parts[0])
            .into_iter()
            .map(|block| (starts[block], &micro_batches[ranges[block].clone()]))
            .collect();
        let learned = match self.team.members() {
            Some(mut members) => learn(&mut self.trainer, &mut *members.link, &shared, &own, &mut times)?,
            None => learn(&mut self.trainer, &mut alone(), &shared, &own, &mut times)?,
        };
        let sums = |rank: usize, bytes: &[u8]| answered(bytes, rank, |from| from.list(take_sums));
        let others = timed(&mut times.answers, || self.team.answers(sums));
        let (own, others, gradient) = match (learned, others) {
            (Learned { sums: Ok(own), gradient: Some(gradient) }, Ok(others)) => (own, others, gradient),
            (Learned { sums, .. }, others) => {
                self.team.tell_all(&Kind::Leave.message().0)?;
                return Err(sums.err().or(others.err()).unwrap_or_else(unknown));
            }
        };
        let sums = add_sums(own.into_iter().chain(others.into_iter().flatten()));

        let mut message = Kind::Go.message();
        message.floats(&[sums.loss, sums.correct]);
        message.double(learning_rate);
        timed(&mut times.send, || self.team.tell_all(&message.0))?;
        let updating = Instant::now();
        let report = self.trainer.step_from(&whole, &gradient, &sums, learning_rate).await;
        times.optimizer += updating.elapsed().as_secs_f64();
        self.trainer.set_keys_used(keys);
        let reports = |rank: usize, bytes: &[u8]| answered(bytes, rank, take_report);
        let others = timed(&mut times.answers, || self.team.answers(reports));
        let report = report?;
        let others = others?;
        self.team.count(StepTimes { seconds: began.elapsed().as_secs_f64(), ..times });
        // With one adapter the norm is the same number everywhere; one that differs is no rounding.
        let apart = |other: &StepReport| other.gradient_norm.to_bits() != report.gradient_norm.to_bits();
        let differs = others.iter().position(|other| {
            other.skipped != report.skipped || (!self.uneven && !report.skipped && apart(other))
        });
        match differs {
            None => Ok(report),
            Some(number) => Err(Error::Rank {
                rank: number + 1,
                message: format!(
                    "expected the gradient's norm {} of rank 0, found {}: the ranks have come apart; resume from the last \
                     checkpoint",
                    report.gradient_norm, others[number].gradient_norm
                ),
            }),
        }
    }
}

fn unknown() -> Error {
    Error::Rank { rank: 0, message: "a step failed without an error: this is a defect".to_owned() }
}

fn values_message(name: &str, values: &[f32]) -> Vec<u8> {
    let mut message = Kind::Write.message();
    message.text(name);
    message.floats(values);
    message.0
}

pub(super) fn put_batches<B: Packed>(batches: &[B], to: &mut Writer) {
    to.count(batches.len());
    batches.iter().for_each(|batch| batch.pack(&mut to.0));
}

/// In the order of the blocks, as a device adds them.
fn add_sums(sums: impl Iterator<Item = Sums>) -> Sums {
    let add =
        |one: Sums, other: Sums| Sums { loss: one.loss + other.loss, correct: one.correct + other.correct };
    sums.reduce(add).unwrap_or_default()
}

impl<O: Objective<Batch: Packed>> StepEngine for DataParallel<O> {
    type Batch = O::Batch;
    type Step = Step;

    fn begins_by_waiting(&self) -> bool {
        self.in_blocks()
    }

    /// Waits for the step where it is one of several blocks: their gradients are added on the host.
    fn begin_step(&mut self, micro_batches: &[O::Batch], learning_rate: f64) -> Result<Step> {
        if !self.in_blocks() {
            return self.trainer.begin_step(micro_batches, learning_rate).map(Step::Begun);
        }
        pollster::block_on(self.step_in_blocks(micro_batches, learning_rate)).map(Step::Done)
    }

    async fn finish_step(&mut self, step: Step) -> Result<StepReport> {
        match step {
            Step::Begun(step) => self.trainer.finish_step(step).await,
            Step::Done(report) => Ok(report),
        }
    }

    /// Each rank measures some of the batches; what they give is added in the order of the batches.
    async fn evaluate(&mut self, batches: &[O::Batch]) -> Result<Evaluation> {
        if self.is_alone() {
            return self.trainer.evaluate(batches).await;
        }
        let parts = blocks_of(batches.len(), self.team.size());
        for (rank, part) in parts.iter().enumerate().skip(1) {
            let mut message = Kind::Measure.message();
            put_batches(&batches[part.clone()], &mut message);
            self.team.tell(rank, message.0)?;
        }
        let mut own = Ok(Vec::new());
        for batch in &batches[parts[0].clone()] {
            match (&mut own, self.trainer.measure(batch).await) {
                (Ok(all), Ok(sums)) => all.push(sums),
                (_, Err(error)) => {
                    own = Err(error);
                    break;
                }
                (Err(_), _) => break,
            }
        }
        let others = self.team.answers(|rank, bytes| answered(bytes, rank, |from| from.list(take_sums)));
        let sums: Vec<Sums> = own?.into_iter().chain(others?.into_iter().flatten()).collect();
        Ok(self.trainer.evaluation(batches, &sums))
    }

    fn model_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.trainer.model_tensors()
    }

    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.trainer.optimizer_tensors()
    }

    /// Where adapters differ, the others take these values on: whenever a checkpoint is read, all are equal again, and so the
    /// run goes on from it to the same bits.
    async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let values = self.trainer.read(name).await?;
        if self.uneven {
            self.tell_values(name, &values)?;
        }
        Ok(values)
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.trainer.write(name, values)?;
        self.tell_values(name, values)
    }

    fn device(&self) -> String {
        self.trainer.device()
    }

    fn gpu(&self) -> Option<&Gpu> {
        self.trainer.gpu()
    }
}
