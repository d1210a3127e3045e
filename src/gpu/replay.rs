//! Encoding a recording and handing it to the driver.

use std::ops::Range;

use web_time::Instant;

use super::context::lock;
use super::kernel::TEXELS;
use super::pace::Measure;
use super::profile::Timing;
use super::recording::{Recording, Step};
use super::{Buffer, Gpu};
use crate::Result;

/// Carries four bytes through every submission of a recording: each takes them on only when the one before it did, so
/// that they arrive if and only if all of them ran.
pub(super) struct Relay {
    pub from: (wgpu::Buffer, u64),
    pub to: (wgpu::Buffer, u64),
    /// The command that delivers.
    pub index: usize,
    /// A slot after each submission, by turns in these two: no copy is within one buffer.
    slots: [Buffer; 2],
}

/// Bytes that are carried.
const BATON: u64 = 4;

impl Relay {
    pub(super) fn new(
        gpu: &Gpu,
        from: (wgpu::Buffer, u64),
        to: (wgpu::Buffer, u64),
        index: usize,
    ) -> Result<Self> {
        let slots = || gpu.buffer("proof of submissions", (index as u64 + 1) * BATON);
        Ok(Relay { from, to, index, slots: [slots()?, slots()?] })
    }

    fn slot(&self, piece: usize) -> (&wgpu::Buffer, u64) {
        (&self.slots[piece % 2].0.raw, piece as u64 * BATON)
    }

    /// Takes the baton from before submission `piece` to `to`. Nothing is left behind for the next replay to take
    /// when a submission of it was lost.
    fn carry(&self, encoder: &mut wgpu::CommandEncoder, piece: usize, (to, at): (&wgpu::Buffer, u64)) {
        match piece.checked_sub(1) {
            None => encoder.copy_buffer_to_buffer(&self.from.0, self.from.1, to, at, BATON),
            Some(before) => {
                let (from, offset) = self.slot(before);
                encoder.copy_buffer_to_buffer(from, offset, to, at, BATON);
                encoder.clear_buffer(from, offset, Some(BATON));
            }
        }
    }
}

impl Recording {
    /// Encodes and submits all commands once. Does not wait for them, but for the second and third time, when it
    /// learns how long they take: a recording with a [relay](super::Recorder::relay) is cut into submissions that
    /// take no longer than [`GpuOptions::longest_submission`](super::GpuOptions::longest_submission).
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn replay(&self) -> Result<()> {
        let Some(relay) = &self.relay else {
            self.submit(0, 0..self.steps.len())?;
            return self.gpu.check(self.label);
        };
        let mut pace = lock(&self.pace);
        let (pieces, measure) = pace.pieces(&self.expected, relay.index, self.gpu.0.submissions.longest);
        if measure != Measure::Nothing {
            self.gpu.wait(self.label)?;
        }
        let mut seconds = Vec::new();
        let mut clock = Instant::now();
        let count = pieces.len();
        for (number, piece) in pieces.into_iter().enumerate() {
            self.submit(number, piece)?;
            let last = number + 1 == count;
            if measure == Measure::Each || (measure == Measure::Whole && last) {
                self.gpu.wait(self.label)?;
                seconds.push(clock.elapsed().as_secs_f64());
                clock = Instant::now();
            }
        }
        *pace = pace.next(&seconds, self.gpu.0.submissions.longest);
        self.gpu.check(self.label)
    }

    /// Submits commands as number `number` of a replay's submissions.
    fn submit(&self, number: usize, commands: Range<usize>) -> Result<()> {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(self.label) };
        let mut encoder = self.gpu.0.device.create_command_encoder(&descriptor);
        let last = commands.end == self.steps.len();
        let steps = &self.steps[commands.clone()];
        let mut timer =
            self.gpu.timer(|| steps.iter().filter(|step| matches!(step, Step::Dispatch { .. })).count());
        let mut steps = steps.iter().zip(&self.expected[commands]).peekable();
        while let Some((step, seconds)) = steps.peek() {
            if let Step::Dispatch { kernel, groups, .. } = step {
                let timing = || Timing {
                    kernel: kernel.name.clone(),
                    groups: *groups,
                    operations: *seconds * self.gpu.speed(),
                    seconds: 0.0,
                };
                let timed = timer.is_some();
                let timestamp_writes = timer.as_mut().map(|timer| timer.around(timing()));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                let mut pass = encoder.begin_compute_pass(&descriptor);
                while let Some((Step::Dispatch { kernel, bind_group, groups: [x, y, z] }, _)) = steps.peek() {
                    pass.set_pipeline(&kernel.pipeline);
                    pass.set_bind_group(0, bind_group, &[]);
                    pass.dispatch_workgroups(*x, *y, *z);
                    steps.next();
                    if timed {
                        break;
                    }
                }
                continue;
            }
            match (step, &self.relay) {
                (Step::Deliver, Some(relay)) => relay.carry(&mut encoder, number, (&relay.to.0, relay.to.1)),
                _ => step.transfer(&mut encoder),
            }
            steps.next();
        }
        if let Some(relay) = self.relay.as_ref().filter(|_| !last) {
            relay.carry(&mut encoder, number, relay.slot(number));
        }
        if let Some(timer) = timer {
            timer.finish(&self.gpu, &mut encoder)?;
        }
        self.gpu.submit(encoder.finish());
        Ok(())
    }
}

impl Step {
    fn transfer(&self, encoder: &mut wgpu::CommandEncoder) {
        match self {
            Step::Dispatch { .. } | Step::Deliver => {}
            Step::Clear { buffer, offset, bytes } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
            Step::Copy { from, from_offset, to, to_offset, bytes } => {
                encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes);
            }
            Step::ToTexture { from, offset, bytes, texel, to } => {
                // Whole rows, then what is left of the last one.
                let row = u64::from(TEXELS) * texel;
                let rows = bytes / row;
                let mut copy = |start: u64, y: u64, width: u64, height: u64| {
                    encoder.copy_buffer_to_texture(
                        wgpu::TexelCopyBufferInfo {
                            buffer: from,
                            layout: wgpu::TexelCopyBufferLayout {
                                offset: start,
                                bytes_per_row: Some(row as u32),
                                rows_per_image: None,
                            },
                        },
                        wgpu::TexelCopyTextureInfo {
                            texture: to,
                            mip_level: 0,
                            origin: wgpu::Origin3d { x: 0, y: y as u32, z: 0 },
                            aspect: wgpu::TextureAspect::All,
                        },
                        wgpu::Extent3d {
                            width: width as u32,
                            height: height as u32,
                            depth_or_array_layers: 1,
                        },
                    );
                };
                if rows > 0 {
                    copy(*offset, 0, u64::from(TEXELS), rows);
                }
                let rest = (bytes % row).div_ceil(*texel);
                if rest > 0 {
                    copy(offset + rows * row, rows, rest, 1);
                }
            }
        }
    }
}
