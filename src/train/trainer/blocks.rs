//! A step of which several trainers compute a part each, or one computes them one after the other: what each has summed
//! is read to the host, where the sums of all are added, and written back for the optimizer.

use super::{Objective, Trainer, Whole};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Recording, Region};
use crate::optim::{Proofs, Sums};
use crate::tensor::DType;
use crate::train::engine::{StepEngine, StepReport};

/// So many elements are written at once, which bounds the memory that uploads take.
const PIECE: usize = 4 << 20;

impl<O: Objective> Trainer<O> {
    /// Elements of all gradients, laid end to end with their padding.
    pub(in crate::train) fn gradient_elements(&self) -> usize {
        self.engine.model.parameters.trained().iter().map(|segment| segment.elements).sum()
    }

    /// Keys of dropout that have been used.
    pub(in crate::train) fn keys_used(&self) -> u64 {
        self.keys
    }

    /// Goes on as if so many keys of dropout had been used.
    pub(in crate::train) fn set_keys_used(&mut self, keys: u64) {
        self.keys = keys;
    }

    /// Keys of dropout that learning from `micro_batches` uses.
    pub(in crate::train) fn keys_of(&self, micro_batches: &[O::Batch]) -> u64 {
        if !self.drops() {
            return 0;
        }
        let objective = &self.engine.objective;
        let keys = |batch| objective.replays(batch) * objective.dropout_keys(objective.shape(batch));
        micro_batches.iter().map(keys).sum::<usize>() as u64
    }

    /// Learns from a block of a step's micro-batches, and reads what they add up to: the gradient of all parameters end to
    /// end, their losses and right answers.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`]; [`Error::WorkLost`](crate::Error::WorkLost) when not all of it was computed.
    pub(in crate::train) async fn learn_block(
        &mut self,
        whole: &Whole,
        micro_batches: &[O::Batch],
    ) -> Result<(Vec<f32>, Sums)> {
        self.accumulate_part(whole, micro_batches)?;
        let sums = self.engine.totals.read(&self.engine.gpu, &self.proofs).await?;
        let mut gradients = Vec::with_capacity(self.gradient_elements());
        for segment in self.engine.model.parameters.trained() {
            if let Some(buffer) = &segment.gradients {
                gradients.extend(self.engine.gpu.read::<f32>(buffer, 0, segment.elements).await?);
            }
        }
        Ok((gradients, sums))
    }

    /// The optimizer's step for the sums over all blocks, which take the place of what was accumulated.
    ///
    /// # Errors
    /// As [`StepEngine::step`].
    pub(in crate::train) async fn step_from(
        &mut self,
        whole: &Whole,
        gradients: &[f32],
        sums: &Sums,
        learning_rate: f64,
    ) -> Result<StepReport> {
        if self.arrive.is_none() {
            self.arrive = Some(self.record_arrival()?);
        }
        let engine = &self.engine;
        // Who computed no block has not heard of the step yet.
        self.optimizer.expect(whole.answers);
        self.optimizer.begin(false)?;
        self.proofs = Proofs::default();
        engine.totals.write(&engine.gpu, sums);
        let mut rest = gradients;
        for segment in engine.model.parameters.trained() {
            let (own, others) = rest.split_at(segment.elements.min(rest.len()));
            rest = others;
            for (number, piece) in own.chunks(PIECE).enumerate() {
                if let Some(buffer) = &segment.gradients {
                    engine.gpu.write(buffer, (number * PIECE * 4) as u64, piece);
                }
                // What is written goes with the next submission. Where that one is lost, its proof is missing.
                engine.gpu.write(&engine.proof, 0, &[self.proofs.issue()]);
                if let Some(arrive) = &self.arrive {
                    arrive.replay()?;
                }
            }
        }
        self.optimizer.submit(learning_rate as f32, &self.proofs)?;
        let submitted = self.optimizer.begin_report(self.proofs.clone())?;
        self.finish_step(super::BegunStep { answers: whole.answers, submitted }).await
    }

    fn record_arrival(&self) -> Result<Recording> {
        let engine = &self.engine;
        let mut graph = Graph::inference(&engine.gpu);
        let proof = graph.input(Region::from(&engine.proof), [1], DType::F32)?;
        engine.totals.arrive(&mut graph, &proof)?;
        graph.finish(&engine.gpu, "writing gradients")
    }
}
