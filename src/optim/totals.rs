//! What the micro-batches of a step add up on the device, and the proof that all of them did.

use std::mem::offset_of;

use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu, Recorder, Region};
use crate::ops::reduce::sum_into;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// The sums as they lie in their buffer: each is bound by itself, and what is bound begins at a multiple of 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Layout {
    loss: [f32; 64],
    correct: [f32; 64],
    proofs: [f32; 64],
}

/// Sums over the replays since they were last cleared: weighted losses, right answers, proofs; one f32 each.
#[derive(Debug, Clone)]
pub struct Totals {
    sums: Buffer,
    /// The proof of the clearing itself.
    cleared: Buffer,
}

/// The proof of the clearing: the sum of proofs begins with it, so that a lost clearing is missed as a lost
/// micro-batch is, also where it is several submissions.
const CLEARED: f32 = 1.0;

/// What the totals held.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Weighted losses.
    pub loss: f32,
    /// Right answers.
    pub correct: f32,
}

impl Totals {
    /// All zeros.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let sums = gpu.buffer("the totals", size_of::<Layout>() as u64)?;
        Ok(Totals { sums, cleared: gpu.upload("the proof of clearing", &[CLEARED])? })
    }

    fn region(&self, offset: usize) -> Region {
        Region { buffer: self.sums.clone(), offset: offset as u64, bytes: 16 }
    }

    /// Where weighted losses are added up.
    pub fn loss(&self) -> Region {
        self.region(offset_of!(Layout, loss))
    }

    /// Where right answers are counted.
    pub fn correct(&self) -> Region {
        self.region(offset_of!(Layout, correct))
    }

    /// Where proofs are added up.
    pub fn proofs(&self) -> Region {
        self.region(offset_of!(Layout, proofs))
    }

    /// Records zeroing all of them, which counts only when everything that was recorded before it ran.
    pub fn clear(&self, recorder: &mut Recorder) {
        let all = recorder.bind(&(&self.sums).into());
        recorder.clear(all);
        let (from, to) = (recorder.bind(&(&self.cleared).into()), recorder.bind(&self.proofs()));
        recorder.prove(from, to);
    }

    /// Records adding `proof [1]`. It comes last in a recording, as it counts only when everything before it ran.
    ///
    /// # Errors
    /// Those of the device.
    pub fn arrive(&self, graph: &mut Graph, proof: &Tensor) -> Result<()> {
        let arrived = graph.scratch("proof", 1)?;
        graph.recorder().prove(proof.view(), arrived);
        let total = graph.recorder().bind(&self.proofs());
        sum_into(graph, arrived, [1, 1], total, true)
    }

    /// Replaces the sums of losses and right answers, before the next submission.
    pub fn write(&self, gpu: &Gpu, sums: &Sums) {
        gpu.write(&self.sums, offset_of!(Layout, loss) as u64, &[sums.loss]);
        gpu.write(&self.sums, offset_of!(Layout, correct) as u64, &[sums.correct]);
    }

    /// Reads the sums over the replays that were given `proofs`.
    ///
    /// # Errors
    /// [`Error::WorkLost`] when not all of them ran; as [`Gpu::read`].
    pub async fn read(&self, gpu: &Gpu, proofs: &Proofs) -> Result<Sums> {
        let found: Vec<Layout> = gpu.read(&self.sums, 0, 1).await?;
        let Layout { loss, correct, proofs: arrived } = found[0];
        proofs.verify("measuring", arrived[0])?;
        Ok(Sums { loss: loss[0], correct: correct[0] })
    }
}

/// One number for each replay, which adds it to the totals. Some drivers drop a submission and report it as done;
/// the sum of the proofs then is another.
#[derive(Debug, Clone)]
pub struct Proofs {
    issued: u32,
    sum: f32,
}

impl Default for Proofs {
    /// None but that of the clearing.
    fn default() -> Self {
        Proofs { issued: 0, sum: CLEARED }
    }
}

impl Proofs {
    /// The next replay's: small, so that f32 adds up the proofs of a million replays exactly.
    pub fn issue(&mut self) -> f32 {
        let proof = (self.issued % 16 + 1) as f32;
        self.issued += 1;
        self.sum += proof;
        proof
    }

    /// The sum of those issued.
    pub fn sum(&self) -> f32 {
        self.sum
    }

    /// Compares with what the device added up in `operation`.
    pub(super) fn verify(&self, operation: &str, found: f32) -> Result<()> {
        if found == self.sum {
            return Ok(());
        }
        Err(Error::WorkLost {
            operation: operation.into(),
            message: format!(
                "the proofs of {} micro-batches add up to {found} instead of {}: not all of them were computed",
                self.issued, self.sum
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CLEARED, Proofs};

    #[test]
    fn every_missing_or_repeated_proof_shows() {
        let mut proofs = Proofs::default();
        let issued: Vec<f32> = (0..40).map(|_| proofs.issue()).collect();
        proofs.verify("test", proofs.sum()).unwrap();
        for proof in issued {
            for found in [proofs.sum() - proof, proofs.sum() + proof, f32::NAN] {
                let error = proofs.verify("test", found).unwrap_err().to_string();
                assert!(error.contains("not all of them were computed"), "{error}");
            }
        }
    }

    #[test]
    fn a_million_proofs_are_added_exactly() {
        let mut proofs = Proofs::default();
        let exact: u64 = (0..1 << 20).map(|_| proofs.issue() as u64).sum();
        assert_eq!(proofs.sum() as u64, CLEARED as u64 + exact);
    }
}
