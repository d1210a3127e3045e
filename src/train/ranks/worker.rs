//! What every rank but the first does: what it is told.

use std::time::Instant;

use super::exchange::refuse;
use super::learn::learn;
use super::link::Link;
use super::message::{Kind, answer, put_report, put_sums, take_shared};
use super::outer::{OUTER, Outer, serve};
use super::plan::{Learns, TrainerPlan, adapter};
use super::team::{Hello, greet};
use super::times::{StepTimes, timed};
use super::wire::{Packed, Reader};
use crate::gpu::{Gpu, MatrixOperands};
use crate::optim::Sums;
use crate::train::engine::{StepEngine, StepReport};
use crate::train::objective::Objective;
use crate::train::trainer::{Trainer, Whole};
use crate::{Error, Result};

/// Works for rank 0 until that has nothing more to do. `open` opens the device of a plan, with the matrix units that rank 0 uses,
/// as far as it has them; it is called again where rank 0 begins anew.
///
/// What goes wrong here rank 0 is told, which decides how it goes on.
///
/// # Errors
/// [`Error::Rank`] when rank 0 cannot be reached any more.
pub fn work(
    link: &mut dyn Link,
    hello: &Hello,
    mut open: impl FnMut(&TrainerPlan, Option<MatrixOperands>) -> Result<Gpu>,
) -> Result<()> {
    if !greet(link, hello)? {
        return Ok(());
    }
    let mut member: Option<Box<dyn Member>> = None;
    // What went wrong since the last answer.
    let mut pending: Result<()> = Ok(());
    // What all steps waited for, and the one under way, which began then.
    let (mut times, mut step, mut began) = (StepTimes::default(), StepTimes::default(), Instant::now());
    loop {
        let bytes = timed(&mut step.answers, || link.receive(0))?;
        let mut message = Reader::new(&bytes, 0);
        match Kind::take(&mut message)? {
            Kind::End => return Ok(()),
            Kind::Times => {
                // Numbers always serialise.
                let told = serde_json::to_string(&times).unwrap_or_default();
                link.send(0, answer(Ok(told), |told, to| to.text(&told)))?;
            }
            Kind::Open => {
                // The memory of the device may not hold two trainers at once.
                member = None;
                pending = Ok(());
                let made = make(&mut message, &mut open).map(|made| {
                    let adapter = made.adapter();
                    member = Some(made);
                    adapter
                });
                link.send(0, answer(made, |adapter, to| to.text(&adapter)))?;
            }
            Kind::Write => {
                let written = write(&mut message, member.as_deref_mut());
                pending = pending.and(written);
            }
            Kind::Step => {
                (step, began) = (StepTimes { steps: 1, ..StepTimes::default() }, Instant::now());
                let ready = std::mem::replace(&mut pending, Ok(()));
                let sums = match ready.and_then(|()| present(member.as_deref_mut())) {
                    Ok(member) => member.learn(&mut message, link, &mut step)?,
                    Err(error) => {
                        refuse(link)?;
                        Err(error)
                    }
                };
                let told = answer(sums, |sums, to| to.list(&sums, put_sums));
                timed(&mut step.send, || link.send(0, told))?;
            }
            Kind::Go => {
                let member = present(member.as_deref_mut())?;
                let report = timed(&mut step.optimizer, || member.step(&mut message))?;
                let told = answer(report, |report, to| put_report(&report, to));
                timed(&mut step.send, || link.send(0, told))?;
                times += StepTimes { seconds: began.elapsed().as_secs_f64(), ..step };
            }
            Kind::Leave => {
                if let Some(member) = &mut member {
                    member.forget();
                }
            }
            Kind::Local => {
                let told = match std::mem::replace(&mut pending, Ok(())) {
                    Ok(()) => present(member.as_deref_mut())?.local(&mut message, link, &mut times)?,
                    Err(error) => answer(Err(error), |(), _| {}),
                };
                link.send(0, told)?;
            }
            Kind::Measure => {
                let sums = std::mem::replace(&mut pending, Ok(()))
                    .and_then(|()| present(member.as_deref_mut())?.measure(&mut message));
                link.send(0, answer(sums, |sums, to| to.list(&sums, put_sums)))?;
            }
        }
    }
}

/// A trainer of any objective.
trait Member {
    /// What it runs on, with all that decides bits.
    fn adapter(&self) -> String;
    fn write(&mut self, name: &str, values: &[f32]) -> Result<()>;
    /// Learns from the blocks of a message, and adds their gradients to those of all ranks. The outer error is the link's, after
    /// which nobody can be told.
    fn learn(
        &mut self,
        message: &mut Reader<'_>,
        link: &mut dyn Link,
        times: &mut StepTimes,
    ) -> Result<Result<Vec<Sums>>>;
    /// The optimizer's step. The outer error is that of a message that nobody here has written.
    fn step(&mut self, message: &mut Reader<'_>) -> Result<Result<StepReport>>;
    /// Gives up what was learned.
    fn forget(&mut self);
    fn measure(&mut self, message: &mut Reader<'_>) -> Result<Vec<Sums>>;
    /// As [`serve`] does.
    fn local(
        &mut self,
        message: &mut Reader<'_>,
        link: &mut dyn Link,
        times: &mut StepTimes,
    ) -> Result<Vec<u8>>;
}

/// A trainer, and the gradient of all blocks between two messages.
struct Working<O: Objective> {
    trainer: Trainer<O>,
    step: Option<(Whole, Vec<f32>)>,
    /// Where it learns by itself.
    outer: Option<Outer>,
}

impl<O: Objective> Working<O> {
    fn new(trainer: Trainer<O>) -> Self {
        Working { trainer, step: None, outer: None }
    }

    fn outer(&mut self) -> (&mut Trainer<O>, &mut Outer) {
        let outer = self.outer.get_or_insert_with(|| Outer::new(&self.trainer));
        (&mut self.trainer, outer)
    }
}

fn make(
    message: &mut Reader<'_>,
    open: &mut impl FnMut(&TrainerPlan, Option<MatrixOperands>) -> Result<Gpu>,
) -> Result<Box<dyn Member>> {
    let (plan, units): (TrainerPlan, _) =
        serde_json::from_str(&message.text()?).map_err(|_| message.broken())?;
    let gpu = open(&plan, units)?;
    Ok(match &plan.learns {
        Learns::Masked(options) => Box::new(Working::new(plan.masked(&gpu, *options)?)),
        Learns::Texts { objective, options, freeze, recompute } => {
            Box::new(Working::new(plan.texts(&gpu, objective, *options, (*freeze, *recompute))?))
        }
    })
}

fn present<'m>(member: Option<&'m mut (dyn Member + 'static)>) -> Result<&'m mut (dyn Member + 'static)> {
    let message = "it has no trainer: this is a defect".to_owned();
    member.ok_or(Error::Training { step: 0, message })
}

fn write(message: &mut Reader<'_>, member: Option<&mut (dyn Member + 'static)>) -> Result<()> {
    let (name, values) = (message.text()?, message.floats()?);
    // Where there is no trainer, rank 0 has been told so.
    member.map_or(Ok(()), |member| member.write(&name, &values))
}

fn batches<B: Packed>(message: &mut Reader<'_>) -> Result<Vec<B>> {
    message.list(|message| message.packed())
}

impl<O: Objective<Batch: Packed>> Member for Working<O> {
    fn adapter(&self) -> String {
        self.trainer.gpu().map(adapter).unwrap_or_default()
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        if name.starts_with(OUTER) {
            return self.outer().1.write(name, values);
        }
        self.trainer.write(name, values)
    }

    fn learn(
        &mut self,
        message: &mut Reader<'_>,
        link: &mut dyn Link,
        times: &mut StepTimes,
    ) -> Result<Result<Vec<Sums>>> {
        // The memory of the last step's gradient, where that was not gone on with.
        self.step = None;
        let read = |message: &mut Reader<'_>| {
            let shared = take_shared(message)?;
            let blocks = message.list(|message| Ok((message.number()?, batches::<O::Batch>(message)?)))?;
            Ok((shared, blocks))
        };
        let (shared, blocks) = match read(message) {
            Ok(read) => read,
            Err(error) => {
                refuse(link)?;
                return Ok(Err(error));
            }
        };
        let learned = learn(&mut self.trainer, link, &shared, &blocks, times)?;
        self.step = learned.gradient.map(|gradient| (shared.whole, gradient));
        Ok(learned.sums)
    }

    fn step(&mut self, message: &mut Reader<'_>) -> Result<Result<StepReport>> {
        let [loss, correct] = message.floats()?[..] else { return Err(message.broken()) };
        let learning_rate = message.double()?;
        let (whole, gradient) = self.step.take().ok_or_else(|| message.broken())?;
        let sums = Sums { loss, correct };
        Ok(pollster::block_on(self.trainer.step_from(&whole, &gradient, &sums, learning_rate)))
    }

    fn forget(&mut self) {
        self.step = None;
    }

    fn measure(&mut self, message: &mut Reader<'_>) -> Result<Vec<Sums>> {
        let all: Vec<O::Batch> = batches(message)?;
        all.iter().map(|batch| pollster::block_on(self.trainer.measure(batch))).collect()
    }

    fn local(
        &mut self,
        message: &mut Reader<'_>,
        link: &mut dyn Link,
        times: &mut StepTimes,
    ) -> Result<Vec<u8>> {
        let (trainer, outer) = self.outer();
        serve(trainer, outer, message, link, times)
    }
}
