//! The proof that all submissions of a recording ran.

use super::buffer::Buffer;
use super::context::Gpu;
use crate::Result;

/// Carries four bytes through every submission of a recording: each takes them on only when the one before it did, so
/// that they arrive if and only if all of them ran.
pub(super) struct Proof {
    pub from: (wgpu::Buffer, u64),
    pub to: (wgpu::Buffer, u64),
    /// The command that delivers.
    pub index: usize,
    /// A slot after each submission, by turns in these two: no copy is within one buffer.
    slots: [Buffer; 2],
}

/// Bytes that are carried.
const BYTES: u64 = 4;

impl Proof {
    pub(super) fn new(
        gpu: &Gpu,
        from: (wgpu::Buffer, u64),
        to: (wgpu::Buffer, u64),
        index: usize,
    ) -> Result<Self> {
        let slots = || gpu.buffer("proof of submissions", (index as u64 + 1) * BYTES);
        Ok(Proof { from, to, index, slots: [slots()?, slots()?] })
    }

    pub(super) fn slot(&self, piece: usize) -> (&wgpu::Buffer, u64) {
        (&self.slots[piece % 2].0.raw, piece as u64 * BYTES)
    }

    /// Takes the proof from before submission `piece` to `to`. Nothing is left behind for the next replay to take
    /// when a submission of it was lost.
    pub(super) fn carry(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        piece: usize,
        (to, at): (&wgpu::Buffer, u64),
    ) {
        match piece.checked_sub(1) {
            None => encoder.copy_buffer_to_buffer(&self.from.0, self.from.1, to, at, BYTES),
            Some(before) => {
                let (from, offset) = self.slot(before);
                encoder.copy_buffer_to_buffer(from, offset, to, at, BYTES);
                encoder.clear_buffer(from, offset, Some(BYTES));
            }
        }
    }
}
