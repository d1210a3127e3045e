//! A rank that learns by itself: its own steps, and the outer step, which all ranks do alike from the mean of what they have learned.

use std::ops::Range;
use std::time::Instant;

use super::exchange::sum_in_order;
use super::link::Link;
use super::message::{answer, put_report, take_wire};
use super::times::{StepTimes, timed};
use super::wire::{Packed, Reader};
use crate::train::engine::{StepEngine, StepReport};
use crate::train::objective::Objective;
use crate::train::trainer::Trainer;
use crate::train::wire_format::WireFormat;
use crate::{Error, Result};

/// What names of outer moments begin with.
pub(super) const OUTER: &str = "outer.";

/// What rank 0 asks of a rank that learns by itself. All is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ask {
    /// Do a step of your own. Answered with its report.
    Step,
    /// Make ready how far you have come since the last synchronisation, weighted with your share.
    Difference,
    /// Exchange the differences, and do the outer step.
    Outer,
    /// The values of a tensor.
    Read,
}

/// The weights that all ranks had last in common, and the outer step's momentum, on the host.
#[derive(Debug)]
pub(super) struct Outer {
    /// The tensors that are trained, and where they lie in what follows.
    places: Vec<(String, Range<usize>)>,
    weights: Vec<f32>,
    momentum: Vec<f32>,
    /// What is to be exchanged.
    difference: Option<Vec<f32>>,
}

impl Outer {
    pub(super) fn new<O: Objective>(trainer: &Trainer<O>) -> Self {
        let parameters = &trainer.model().parameters;
        let trained = parameters.trained().len();
        let is_trained = |name: &str| parameters.locate(name).is_ok_and(|(segment, ..)| segment < trained);
        let mut end = 0;
        let mut places = Vec::new();
        for (name, shape) in parameters.shapes().into_iter().filter(|(name, _)| is_trained(name)) {
            let start = end;
            end += shape.iter().product::<usize>();
            places.push((name, start..end));
        }
        Outer { places, weights: Vec::new(), momentum: vec![0.0; end], difference: None }
    }

    /// The tensors that have momentum, by their names in checkpoints and their numbers of elements.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, usize)> {
        self.places.iter().map(|(name, place)| (format!("{OUTER}{name}"), place.len()))
    }

    fn place(&self, name: &str) -> Result<Range<usize>> {
        let known = self.places.iter().find(|(known, _)| name.strip_prefix(OUTER) == Some(known));
        known
            .map(|(_, place)| place.clone())
            .ok_or_else(|| Error::config("outer state", "a trained tensor", name))
    }

    /// The momentum of a tensor.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.momentum[self.place(name)?].to_vec())
    }

    /// Replaces the momentum of a tensor.
    pub(super) fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let place = self.place(name)?;
        if values.len() != place.len() {
            let expected = format!("{} values for {name}", place.len());
            return Err(Error::shape("writing outer state", expected, values.len()));
        }
        self.momentum[place].copy_from_slice(values);
        Ok(())
    }

    async fn device<O: Objective>(&self, trainer: &mut Trainer<O>) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(self.momentum.len());
        for (name, _) in &self.places {
            all.extend(trainer.read(name).await?);
        }
        Ok(all)
    }

    /// A step of this rank's own; none without a micro-batch. `begins` where the weights have changed since the last outer step, so
    /// that they are those that ranks have in common.
    pub(super) async fn step<O: Objective>(
        &mut self,
        trainer: &mut Trainer<O>,
        begins: bool,
        micro_batches: &[O::Batch],
        learning_rate: f64,
    ) -> Result<StepReport> {
        if begins {
            self.weights = self.device(trainer).await?;
        }
        if micro_batches.is_empty() {
            return Ok(StepReport::default());
        }
        trainer.step(micro_batches, learning_rate).await
    }

    /// Makes ready how far this rank has come, weighted with its `share` of all.
    pub(super) async fn take_difference<O: Objective>(
        &mut self,
        trainer: &mut Trainer<O>,
        share: f32,
    ) -> Result<()> {
        let mut difference = self.device(trainer).await?;
        for (own, common) in difference.iter_mut().zip(&self.weights) {
            *own = share * (common - *own);
        }
        self.difference = Some(difference);
        Ok(())
    }

    /// The sum of all ranks' differences, which they have made ready.
    ///
    /// # Errors
    /// As [`sum_in_order`].
    pub(super) fn exchange(
        &mut self,
        (link, wire): (&mut dyn Link, WireFormat),
        times: &mut StepTimes,
    ) -> Result<Vec<f32>> {
        let own = self.difference.take().unwrap_or_default();
        let counts = vec![1; link.size()];
        sum_in_order((link, wire), self.momentum.len(), &counts, vec![own], times)
    }

    /// The outer step for the mean of all ranks' differences, into the trainer.
    ///
    /// # Errors
    /// [`Error::WorkLost`] where the weights have not arrived on the device.
    pub(super) async fn apply<O: Objective>(
        &mut self,
        trainer: &mut Trainer<O>,
        mean: &[f32],
        learning_rate: f32,
        momentum: f32,
    ) -> Result<()> {
        nesterov(&mut self.weights, &mut self.momentum, mean, learning_rate, momentum);
        for (name, place) in &self.places {
            trainer.write(name, &self.weights[place.clone()])?;
        }
        // An upload is lost with the submission that it goes with, and the ranks would come apart unseen.
        let arrived = self.device(trainer).await?;
        if arrived.iter().map(|x| x.to_bits()).eq(self.weights.iter().map(|x| x.to_bits())) {
            return Ok(());
        }
        let message = "the weights on the device are not those that were written".to_owned();
        Err(Error::WorkLost { operation: "the outer step".to_owned(), message })
    }
}

/// A step of gradient descent with Nesterov's momentum (Sutskever et al. 2013, as PyTorch has it): m ← μ m + g, w ← w - η (g + μ m).
fn nesterov(weights: &mut [f32], moments: &mut [f32], gradient: &[f32], learning_rate: f32, momentum: f32) {
    for ((weight, moment), gradient) in weights.iter_mut().zip(moments).zip(gradient) {
        *moment = momentum * *moment + gradient;
        *weight -= learning_rate * (gradient + momentum * *moment);
    }
}

/// Does what rank 0 asks, says what to answer, and adds what it waited for to `times`. The error is the link's, after which nobody can
/// be told.
pub(super) fn serve<O: Objective<Batch: Packed>>(
    trainer: &mut Trainer<O>,
    outer: &mut Outer,
    message: &mut Reader<'_>,
    link: &mut dyn Link,
    times: &mut StepTimes,
) -> Result<Vec<u8>> {
    let began = Instant::now();
    const ASKS: [Ask; 4] = [Ask::Step, Ask::Difference, Ask::Outer, Ask::Read];
    let ask = ASKS.get(usize::from(message.byte()?)).copied().ok_or_else(|| message.broken())?;
    let told = match ask {
        Ask::Step => {
            let (begins, learning_rate) = (message.byte()? != 0, message.double()?);
            let batches: Vec<O::Batch> = message.list(|message| message.packed())?;
            let step = outer.step(trainer, begins, &batches, learning_rate);
            let report = timed(&mut times.compute, || pollster::block_on(step));
            times.steps += u64::from(report.is_ok());
            answer(report, |report, to| put_report(&report, to))
        }
        Ask::Difference => {
            let share = message.double()? as f32;
            let difference = outer.take_difference(trainer, share);
            answer(timed(&mut times.read, || pollster::block_on(difference)), |(), _| {})
        }
        Ask::Outer => {
            let (learning_rate, momentum) = (message.double()? as f32, message.double()? as f32);
            let mean = outer.exchange((link, take_wire(message)?), times)?;
            let applied = outer.apply(trainer, &mean, learning_rate, momentum);
            answer(timed(&mut times.optimizer, || pollster::block_on(applied)), |(), _| {})
        }
        Ask::Read => {
            let values = message.text().and_then(|name| pollster::block_on(trainer.read(&name)));
            answer(values, |values, to| to.floats(&values))
        }
    };
    if ask != Ask::Read {
        times.seconds += began.elapsed().as_secs_f64();
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::nesterov;

    /// Against the same in f64, written as a sum over all earlier gradients.
    #[test]
    fn the_outer_step_is_nesterovs() {
        let (rate, share) = (0.7_f64, 0.9_f64);
        let gradient = |step: i32, at: usize| f64::from(step + 1) * 0.125 - at as f64 * 0.375;
        let (mut weights, mut moments) = (vec![1.0_f32, -2.0, 0.5], vec![0.0_f32; 3]);
        let mut expected = [1.0_f64, -2.0, 0.5];
        for step in 0..20 {
            let gradients: Vec<f32> = (0..3).map(|at| gradient(step, at) as f32).collect();
            nesterov(&mut weights, &mut moments, &gradients, rate as f32, share as f32);
            for (at, expected) in expected.iter_mut().enumerate() {
                let sum: f64 = (0..=step).map(|then| share.powi(step - then) * gradient(then, at)).sum();
                *expected -= rate * (gradient(step, at) + share * sum);
                let found = f64::from(weights[at]);
                assert!((found - *expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found} {expected}");
            }
        }
        // With a rate of 1 and no momentum the weights become the mean of all ranks'.
        let (mut weights, mut moments) = ([3.0_f32], [0.0_f32]);
        nesterov(&mut weights, &mut moments, &[0.5 * (3.0 - 1.0) + 0.5 * (3.0 - 2.0)], 1.0, 0.0);
        assert_eq!(weights, [1.5]);
    }
}
