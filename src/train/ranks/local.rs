//! The step engine of rank 0 where ranks learn by themselves between two synchronisations.

use std::time::Instant;

use super::blocks::blocks_of;
use super::engine::{DataParallel, put_batches};
use super::link::alone;
use super::message::{Kind, answered, put_wire, take_report};
use super::outer::{Ask, OUTER, Outer};
use super::plan::TrainerPlan;
use super::team::Team;
use super::times::{StepTimes, timed};
use super::wire::Writer;
use crate::data::Batch;
use crate::gpu::Gpu;
use crate::train::engine::{Evaluation, StepEngine, StepReport};
use crate::train::local_steps::LocalSteps;
use crate::train::objective::MaskedTokens;
use crate::train::wire_format::WireFormat;
use crate::{Error, Result};

/// The name of the tensor that holds how many steps were done.
const STEPS: &str = "sync.steps";
/// Its first two values are the digits of that number to this base, each of which f32 holds exactly; the third is 1 where a rank has
/// done steps of its own.
const DIGIT: u64 = 1 << 24;

/// Ranks each of which learns from its own micro-batches, with an optimizer of its own. After every H steps the mean of how far they
/// have come is a gradient to an outer step, from which all go on alike (DiLoCo, Douillard et al. 2023). The first steps may be
/// those of [`DataParallel`].
///
/// The optimizer's tensors are those of all ranks, so that a checkpoint goes on to the same bits on as many.
#[derive(Debug)]
pub struct LocalTraining {
    exact: DataParallel<MaskedTokens>,
    options: LocalSteps,
    outer: Outer,
    /// Steps of the run.
    done: u64,
    /// Whether some of them were local, so that optimizers differ.
    differs: bool,
    /// Micro-batches that each rank has learned from since the last synchronisation.
    learned: Vec<usize>,
    /// Whether the ranks know the weights that all have in common, as after an outer step.
    known: bool,
    /// Whether each has a model of its own.
    apart: bool,
}

impl LocalTraining {
    /// A new model with its first weights that learns to guess masked tokens.
    ///
    /// # Errors
    /// As [`DataParallel::pretraining`]; [`Error::Config`] for another number of ranks than the options say.
    pub fn pretraining(
        gpu: &Gpu,
        plan: &TrainerPlan,
        blocks: usize,
        options: LocalSteps,
        team: &Team,
    ) -> Result<Self> {
        if let Some(ranks) = options.ranks.filter(|ranks| *ranks != team.size()) {
            let expected = format!(
                "{ranks} ranks, as the run has begun with: each has an optimizer's state of its own between synchronisations"
            );
            return Err(Error::config("sync", expected, team.size()));
        }
        let exact = DataParallel::pretraining(gpu, plan, blocks, team)?;
        let outer = Outer::new(exact.trainer());
        let learned = vec![0; exact.parts.len()];
        Ok(LocalTraining {
            exact,
            options,
            outer,
            done: 0,
            differs: false,
            learned,
            known: false,
            apart: false,
        })
    }

    /// Has gradients of exact steps, and how far ranks have come, travel as `wire` says.
    #[must_use]
    pub fn with_wire(self, wire: WireFormat) -> Self {
        LocalTraining { exact: self.exact.with_wire(wire), ..self }
    }

    fn ask(ask: Ask) -> Writer {
        let mut message = Kind::Local.message();
        message.byte(ask as u8);
        message
    }

    /// Waits until all others have done what they were asked.
    fn all_done(&self) -> Result<()> {
        self.exact.team.answers(|rank, bytes| answered(bytes, rank, |_| Ok(()))).map(|_| ())
    }

    /// A step that each rank does with its own micro-batches.
    async fn local_step(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<StepReport> {
        let (began, mut times) = (Instant::now(), StepTimes { steps: 1, ..StepTimes::default() });
        let begins = !self.known;
        let blocks = self.exact.parts.last().map_or(1, |part| part.end);
        let ranges = blocks_of(micro_batches.len(), blocks);
        let of_rank = |rank: usize| {
            let ranges = &ranges[self.exact.parts[rank].clone()];
            let ends = ranges.first().zip(ranges.last());
            ends.map_or(&[][..], |(first, last)| &micro_batches[first.start..last.end])
        };
        for rank in 1..self.exact.parts.len() {
            let mut message = Self::ask(Ask::Step);
            message.byte(u8::from(begins));
            message.double(learning_rate);
            put_batches(of_rank(rank), &mut message);
            timed(&mut times.send, || self.exact.team.tell(rank, message.0))?;
        }
        let answers: Vec<usize> = (0..self.exact.parts.len())
            .map(|rank| of_rank(rank).iter().map(|batch| batch.labels.len()).sum())
            .collect();
        let learned: Vec<usize> = (0..self.exact.parts.len()).map(|rank| of_rank(rank).len()).collect();
        self.learned.iter_mut().zip(&learned).for_each(|(all, more)| *all += more);
        (self.known, self.apart, self.differs) = (true, true, true);
        let own = of_rank(0);
        let computing = Instant::now();
        let own = self.outer.step(&mut self.exact.trainer, begins, own, learning_rate).await;
        times.compute += computing.elapsed().as_secs_f64();
        let take = |rank: usize, bytes: &[u8]| answered(bytes, rank, take_report);
        let others = timed(&mut times.answers, || self.exact.team.answers(take));
        // The own error says more than those that may follow from it.
        let reports: Vec<StepReport> = std::iter::once(own?).chain(others?).collect();
        self.exact.team.count(StepTimes { seconds: began.elapsed().as_secs_f64(), ..times });
        Ok(together(&reports, &answers))
    }
}

/// What the steps of all ranks say together, each weighted with its answers.
fn together(reports: &[StepReport], answers: &[usize]) -> StepReport {
    let all = answers.iter().sum::<usize>().max(1) as f64;
    let mean = |value: fn(&StepReport) -> f64| {
        // A rank without an answer has no loss.
        let had = reports.iter().zip(answers).filter(|(_, answers)| **answers > 0);
        had.map(|(report, answers)| value(report) * *answers as f64).sum::<f64>() / all
    };
    StepReport {
        loss: mean(|report| report.loss),
        accuracy: mean(|report| report.accuracy),
        gradient_norm: mean(|report| report.gradient_norm),
        skipped: reports.iter().any(|report| report.skipped),
    }
}

/// The rank that a tensor of another rank belongs to, and its name there.
fn of_other(name: &str) -> Option<(usize, &str)> {
    let (rank, name) = name.strip_prefix("rank")?.split_once('.')?;
    Some((rank.parse().ok()?, name))
}

impl StepEngine for LocalTraining {
    type Batch = Batch;
    type Step = StepReport;

    fn begins_by_waiting(&self) -> bool {
        true
    }

    fn begin_step(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<StepReport> {
        pollster::block_on(async {
            let report = if self.options.is_local(self.done) {
                self.local_step(micro_batches, learning_rate).await?
            } else {
                if self.differs {
                    let expected = "no more exact steps than the run has begun with, as each rank has an optimizer's state of its own since";
                    return Err(Error::config("sync", expected, format!("after={}", self.options.after)));
                }
                self.known = false;
                self.exact.step(micro_batches, learning_rate).await?
            };
            self.done += 1;
            if self.options.is_sync(self.done) {
                self.synchronize().await?;
            }
            Ok(report)
        })
    }

    async fn finish_step(&mut self, step: StepReport) -> Result<StepReport> {
        Ok(step)
    }

    fn is_whole(&self) -> bool {
        !self.apart
    }

    /// The outer step.
    async fn synchronize(&mut self) -> Result<()> {
        if !self.apart {
            return Ok(());
        }
        // It belongs to the step before.
        let (began, mut times) = (Instant::now(), StepTimes::default());
        // A rank that has learned from nothing has come nowhere, and its part of the mean is that of the others.
        let learned = std::mem::replace(&mut self.learned, vec![0; self.exact.parts.len()]);
        let all = learned.iter().sum::<usize>().max(1) as f64;
        let share = |rank: usize| learned[rank] as f64 / all;
        for rank in 1..self.exact.parts.len() {
            let mut message = Self::ask(Ask::Difference);
            message.double(share(rank));
            self.exact.team.tell(rank, message.0)?;
        }
        let own = share(0) as f32;
        let reading = Instant::now();
        let own = self.outer.take_difference(&mut self.exact.trainer, own).await;
        times.read += reading.elapsed().as_secs_f64();
        let others = timed(&mut times.answers, || self.all_done());
        own.and(others)?;

        let LocalSteps { learning_rate, momentum, .. } = self.options;
        let mut message = Self::ask(Ask::Outer);
        message.double(learning_rate);
        message.double(momentum);
        let wire = self.exact.wire;
        put_wire(wire, &mut message);
        self.exact.team.tell_all(&message.0)?;
        let mean = match self.exact.team.members() {
            Some(mut members) => self.outer.exchange((&mut *members.link, wire), &mut times)?,
            None => self.outer.exchange((&mut alone(), wire), &mut times)?,
        };
        let (rate, momentum) = (learning_rate as f32, momentum as f32);
        let applying = Instant::now();
        let own = self.outer.apply(&mut self.exact.trainer, &mean, rate, momentum).await;
        times.optimizer += applying.elapsed().as_secs_f64();
        let others = timed(&mut times.answers, || self.all_done());
        own.and(others)?;
        self.apart = false;
        self.exact.team.count(StepTimes { seconds: began.elapsed().as_secs_f64(), ..times });
        Ok(())
    }

    /// With each rank's own model on its part of the batches, where they are apart.
    async fn evaluate(&mut self, batches: &[Batch]) -> Result<Evaluation> {
        self.exact.evaluate(batches).await
    }

    fn model_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.exact.model_tensors()
    }

    /// This rank's, the outer step's, and those of all others.
    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let own = self.exact.optimizer_tensors();
        let ranks = 1..self.exact.parts.len();
        let others: Vec<_> = ranks
            .flat_map(|rank| {
                own.iter().map(move |(name, shape)| (format!("rank{rank}.{name}"), shape.clone()))
            })
            .collect();
        let outer = self.outer.tensors().map(|(name, elements)| (name, vec![elements]));
        let steps = (STEPS.to_owned(), vec![3]);
        own.into_iter().chain(std::iter::once(steps)).chain(outer).chain(others).collect()
    }

    async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        if name == STEPS {
            let differs = f32::from(u8::from(self.differs));
            return Ok(vec![(self.done / DIGIT) as f32, (self.done % DIGIT) as f32, differs]);
        }
        if name.starts_with(OUTER) {
            return self.outer.read(name);
        }
        let Some((rank, name)) = of_other(name) else {
            if self.exact.trainer.model().parameters.locate(name).is_ok() {
                // Ranks on unlike adapters take these values over, from which they go on here as when resumed.
                self.known &= self.apart;
                return self.exact.read(name).await;
            }
            // No other rank takes this one's over, as with exact steps on unlike adapters.
            return self.exact.trainer.read(name).await;
        };
        let mut message = Self::ask(Ask::Read);
        message.text(name);
        self.exact.team.tell(rank, message.0)?;
        self.exact.team.answer(rank, |bytes| answered(bytes, rank, |from| from.floats()))
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        if name == STEPS {
            let is_digit = |value: &f32| value.fract() == 0.0 && (0.0..DIGIT as f32).contains(value);
            let [high, low, differs] = values else {
                let expected = format!("3 values for {name}");
                return Err(Error::shape("writing optimizer state", expected, values.len()));
            };
            if !values.iter().all(is_digit) {
                let found = format!("{high}, {low} and {differs} for {name}");
                return Err(Error::shape("writing optimizer state", "digits of a number of steps", found));
            }
            self.done = *high as u64 * DIGIT + *low as u64;
            self.differs = *differs > 0.0;
            return Ok(());
        }
        if name.starts_with(OUTER) {
            self.outer.write(name, values)?;
            return self.exact.tell_values(name, values);
        }
        if let Some((rank, name)) = of_other(name) {
            return self.exact.tell_values_to(rank, name, values);
        }
        if self.exact.trainer.model().parameters.locate(name).is_ok() {
            (self.known, self.apart) = (false, false);
            return self.exact.write(name, values);
        }
        self.exact.trainer.write(name, values)
    }

    fn device(&self) -> String {
        self.exact.device()
    }

    fn gpu(&self) -> Option<&Gpu> {
        self.exact.gpu()
    }
}
