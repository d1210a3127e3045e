//! Encoding a recording and handing it to the driver.

use std::ops::Range;

use web_time::Instant;

use super::kernel::TEXELS;
use super::lock::lock;
use super::pace::rounds;
use super::profile::Timing;
use super::recording::{Recording, Step};
use super::timer::Timer;
use crate::Result;

impl Recording {
    /// Encodes and submits all commands once, in as many submissions as it takes for none to run longer than
    /// [`GpuOptions::longest_submission`](super::GpuOptions::longest_submission): see [`Recording::plan`].
    ///
    /// It does not wait for them, but for the second replay of a recording that is not short, whose submissions are
    /// timed: by that the cuts between them are adjusted. A page cannot wait here, and keeps to the plan.
    ///
    /// # Errors
    /// As [`Gpu::check`](super::Gpu::check).
    pub fn replay(&self) -> Result<()> {
        self.replay_in_parts(&[], &mut |_| Ok(()))
    }

    /// [`Recording::replay`] with a submission that ends at each of `cuts`, which are numbers of commands in their order.
    /// After each submission `submitted` is told how many commands were.
    ///
    /// A replay whose submissions are timed has no other cuts than those that are timed, and tells nobody: what is begun then would be
    /// part of what is measured.
    pub(super) fn replay_in_parts(
        &self,
        cuts: &[usize],
        submitted: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let mut pace = lock(&self.pace);
        let timed = pace.is_timed();
        if timed {
            self.gpu.wait(self.label)?;
        }
        let mut seconds = Vec::new();
        let submissions = pace.submissions(self.steps.len());
        // A page reads nothing early, and need not carry what that takes.
        #[cfg(target_arch = "wasm32")]
        let _ = cuts;
        #[cfg(not(target_arch = "wasm32"))]
        let submissions = if timed || cuts.is_empty() { submissions } else { divided(&submissions, cuts) };
        for (number, commands) in submissions.into_iter().enumerate() {
            let clock = Instant::now();
            let end = commands.end;
            self.submit(number, commands)?;
            if timed {
                self.gpu.wait(self.label)?;
                seconds.push(clock.elapsed().as_secs_f64());
            } else {
                submitted(end)?;
            }
        }
        pace.learn(&seconds, &self.expected, self.together(), self.gpu.0.submissions.longest);
        self.gpu.check(self.label)
    }

    /// Replays it `count` times, for measurements: a short recording many times in one submission, because handing one
    /// over can take longer than what it holds.
    ///
    /// # Errors
    /// As [`Gpu::check`](super::Gpu::check).
    pub fn repeat(&self, count: usize) -> Result<()> {
        let longest = self.gpu.0.submissions.longest;
        let rounds = rounds(self.expected.iter().sum(), longest);
        if rounds <= 1 || self.proof.is_some() || self.gpu.is_profiled() {
            return (0..count).try_for_each(|_| self.replay());
        }
        for first in (0..count).step_by(rounds) {
            let mut encoder = self.encoder();
            for _ in 0..rounds.min(count - first) {
                self.encode(&mut encoder, 0, 0..self.steps.len(), &mut None);
            }
            self.gpu.submit(encoder.finish());
        }
        self.gpu.check(self.label)
    }

    /// How long each submission of the next replay should take, in seconds at the [speed](super::Gpu::speed) that the device
    /// had when this was recorded.
    pub fn plan(&self) -> Vec<f64> {
        let submissions = lock(&self.pace).submissions(self.steps.len());
        submissions.into_iter().map(|commands| self.expected[commands].iter().sum()).collect()
    }

    /// The first of the commands that stay with the last submission: the one that delivers a proof, as what follows
    /// it counts only when the proof has arrived.
    pub(super) fn together(&self) -> usize {
        self.proof.as_ref().map_or(self.steps.len(), |proof| proof.index)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.0.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(self.label) })
    }

    /// Submits commands as number `number` of a replay's submissions.
    fn submit(&self, number: usize, commands: Range<usize>) -> Result<()> {
        let mut encoder = self.encoder();
        let steps = &self.steps[commands.clone()];
        let mut timer =
            self.gpu.timer(|| steps.iter().filter(|step| matches!(step, Step::Dispatch { .. })).count());
        self.encode(&mut encoder, number, commands, &mut timer);
        if let Some(timer) = timer {
            timer.finish(&self.gpu, &mut encoder)?;
        }
        self.gpu.submit(encoder.finish());
        Ok(())
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        number: usize,
        commands: Range<usize>,
        timer: &mut Option<Timer>,
    ) {
        let last = commands.end == self.steps.len();
        let mut steps = self.steps[commands].iter().peekable();
        while let Some(step) = steps.peek() {
            if let Step::Dispatch { kernel, groups, cost, .. } = step {
                let timing =
                    || Timing { kernel: kernel.name.clone(), groups: *groups, cost: *cost, seconds: None };
                let timed = timer.is_some();
                let timestamp_writes = timer.as_mut().and_then(|timer| timer.around(timing()));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                let mut pass = encoder.begin_compute_pass(&descriptor);
                while let Some(Step::Dispatch { kernel, bind_group, groups: [x, y, z], .. }) = steps.peek() {
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
            match (step, &self.proof) {
                (Step::Deliver, Some(proof)) => proof.carry(encoder, number, (&proof.to.0, proof.to.1)),
                _ => step.transfer(encoder),
            }
            if let (Some(timer), Some((name, bytes))) = (timer.as_mut(), step.transferred()) {
                timer.list(name, bytes);
            }
            steps.next();
        }
        if let Some(proof) = self.proof.as_ref().filter(|_| !last) {
            proof.carry(encoder, number, proof.slot(number));
        }
    }
}

/// Submissions that end at `cuts` as well.
#[cfg(not(target_arch = "wasm32"))]
fn divided(submissions: &[Range<usize>], cuts: &[usize]) -> Vec<Range<usize>> {
    let mut parts = Vec::with_capacity(submissions.len() + cuts.len());
    for commands in submissions {
        let mut start = commands.start;
        for &cut in cuts.iter().filter(|cut| (commands.start..commands.end).contains(cut)) {
            if cut > start {
                parts.push(start..cut);
                start = cut;
            }
        }
        parts.push(start..commands.end);
    }
    parts
}

impl Step {
    /// What a command that is no dispatch is called, and the bytes that it reads and writes.
    fn transferred(&self) -> Option<(&'static str, f64)> {
        match *self {
            Step::Dispatch { .. } | Step::Deliver => None,
            Step::Clear { bytes, .. } => Some(("clear", bytes as f64)),
            Step::Copy { bytes, .. } | Step::ToTexture { bytes, .. } => Some(("copy", 2.0 * bytes as f64)),
        }
    }

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
