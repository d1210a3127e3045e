//! A step of which several trainers compute a part each, or one computes them one after the other: what each has summed
//! is read to the host, where the sums of all are added, and written back for the optimizer.

use std::ops::Range;

use super::{Engine, Objective, Recorded, Trainer, Whole, less_memory};
use crate::autograd::Graph;
use crate::gpu::{Part, Recording, Region};
use crate::optim::{Proofs, Sums};
use crate::tensor::DType;
use crate::train::engine::{StepEngine, StepReport};
use crate::{Error, Result};

/// So many elements are read or written at once, which bounds the memory that uploads take.
pub(in crate::train) const PIECE: usize = 4 << 20;

impl<O: Objective> Engine<O> {
    /// Where elements of the gradients lie, which are numbered as they lie end to end.
    fn part(&self, piece: &Range<usize>) -> Result<Part> {
        let mut start = 0;
        for segment in self.model.parameters.trained() {
            let own = start..start + segment.elements;
            if let (Some(buffer), true) =
                (&segment.gradients, own.start <= piece.start && piece.end <= own.end)
            {
                let elements = piece.start - start..piece.end - start;
                return Ok(Part { buffer: buffer.clone(), elements });
            }
            start = own.end;
        }
        let found = format!("elements {} to {} of {start}", piece.start, piece.end);
        Err(Error::shape("reading gradients", "elements of one segment", found))
    }

    /// All gradients in pieces of at most so many elements, in the order in which they lie end to end.
    fn pieces(&self, most: usize) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for segment in self.model.parameters.trained() {
            let end = start + segment.elements;
            pieces.extend((start..end).step_by(most).map(|at| at..end.min(at + most)));
            start = end;
        }
        pieces
    }
}

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

    /// All gradients in pieces of at most so many elements, numbered as they lie end to end, in the order in which a backward
    /// pass of `batch` is done with them.
    ///
    /// # Errors
    /// As [`Trainer::prepare`].
    pub(in crate::train) fn gradient_pieces(
        &mut self,
        most: usize,
        batch: Option<&O::Batch>,
    ) -> Result<Vec<Range<usize>>> {
        let engine = &self.engine;
        let most = most.max(1);
        let Some(batch) = batch else { return Ok(engine.pieces(most)) };
        let shape = engine.objective.shape(batch);
        let recorded = self.shapes.get(shape, |beside| engine.record(shape, beside), || engine.settle());
        let Recorded { begin, pieces, .. } = recorded.map_err(less_memory)?;
        let known = pieces.take().filter(|(of, _)| *of == most);
        let (_, pieces) = pieces.insert(known.unwrap_or_else(|| {
            let mut pieces = engine.pieces(most);
            pieces.sort_by_cached_key(|piece| engine.part(piece).map_or(0, |part| begin.final_after(&part)));
            (most, pieces)
        }));
        Ok(pieces.clone())
    }

    /// Learns from a block of a step's micro-batches, and lends `each` what they add up to: the gradients, piece by piece in the
    /// order of `pieces`, each as soon as it is final, while the backward pass goes on. Returns their losses and right
    /// answers, before which nobody knows whether all was computed.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`]; [`Error::WorkLost`] when not all of it was computed.
    pub(in crate::train) async fn learn_block(
        &mut self,
        whole: &Whole,
        micro_batches: &[O::Batch],
        pieces: &[Range<usize>],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<Sums> {
        let parts: Vec<Part> = pieces.iter().map(|piece| self.engine.part(piece)).collect::<Result<_>>()?;
        let mut begun = Vec::new();
        let objective = &self.engine.objective;
        let mut left: usize = micro_batches.iter().map(|batch| objective.replays(batch)).sum();
        self.accumulate_part(whole, micro_batches, &mut |recording| {
            left -= 1;
            if left == 0 {
                begun = recording.replay_reading(&parts)?;
                return Ok(());
            }
            recording.replay()
        })?;
        let gpu = &self.engine.gpu;
        // Where nothing was learned the gradients are zero.
        begun.resize_with(parts.len(), || None);
        for (number, (read, part)) in begun.into_iter().zip(&parts).enumerate() {
            // Those before have given back their memory.
            let read = match read {
                Some(read) => read,
                None => gpu.begin_part(part)?,
            };
            // A piece is never longer than what is read at once.
            read.lend(|values| each(number, values)).await?;
        }
        self.engine.totals.read(gpu, &self.proofs).await
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
