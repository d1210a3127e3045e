//! Record, then run: a list of dispatches over virtual buffers that is planned once and replayed.

use std::sync::Arc;

use super::context::Allocation;
use super::plan::{Lifetime, Plan, plan};
use super::{Buffer, Gpu, Kernel, Region};
use crate::{Error, Result};

/// A buffer within one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(u32);

/// A range of a buffer, in bytes. Offsets are multiples of 256, so that every device can bind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// Where the range begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

enum Virtual {
    Persistent(Buffer),
    Transient(u64),
}

enum Command {
    Dispatch { kernel: Arc<Kernel>, params: u64, params_bytes: u64, views: Vec<View>, groups: [u32; 3] },
    Clear(View),
    Copy { from: View, to: View },
}

/// Collects commands. Nothing runs, and no transient memory exists, until [`Recorder::finish`].
pub struct Recorder {
    gpu: Gpu,
    buffers: Vec<Virtual>,
    commands: Vec<Command>,
    params: Vec<u8>,
    isolate: bool,
}

/// Uniform bindings begin at multiples of this on every device.
const PARAMS_ALIGNMENT: usize = 256;

impl Recorder {
    /// An empty recording for `gpu`.
    pub fn new(gpu: &Gpu) -> Self {
        Recorder {
            gpu: gpu.clone(),
            buffers: Vec::new(),
            commands: Vec::new(),
            params: Vec::new(),
            isolate: false,
        }
    }

    /// Gives every transient buffer memory of its own, so that a test can poison it and see who reads what
    /// nobody wrote.
    pub fn isolate(&mut self) {
        self.isolate = true;
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How many commands are recorded.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Brings a buffer that outlives the recording into it.
    pub fn bind(&mut self, region: &Region) -> View {
        let buffer = &region.buffer;
        let known = self.buffers.iter().position(
            |known| matches!(known, Virtual::Persistent(other) if Arc::ptr_eq(&other.0, &buffer.0)),
        );
        let index = known.unwrap_or_else(|| {
            self.buffers.push(Virtual::Persistent(buffer.clone()));
            self.buffers.len() - 1
        });
        View { buffer: BufferId(index as u32), offset: region.offset, bytes: region.bytes }
    }

    /// A buffer that only this recording uses; its contents are unspecified until written.
    ///
    /// # Errors
    /// [`Error::Limit`] when it would exceed the device's largest binding.
    pub fn transient(&mut self, operation: &'static str, bytes: u64) -> Result<View> {
        let bytes = bytes.max(1).next_multiple_of(16);
        let capabilities = self.gpu.capabilities();
        if bytes > capabilities.max_binding {
            return Err(Error::Limit {
                operation: operation.into(),
                adapter: capabilities.name.clone(),
                expected: format!("{bytes} bytes in one binding (lower `micro_batch` or the vocabulary)"),
                found: format!("at most {}", capabilities.max_binding),
            });
        }
        self.buffers.push(Virtual::Transient(bytes));
        Ok(View { buffer: BufferId(self.buffers.len() as u32 - 1), offset: 0, bytes })
    }

    /// Appends one dispatch: `params`, then `reads`, then `writes` are its bindings.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the bindings do not fit the kernel: a defect of the calling operation.
    pub fn dispatch<P: bytemuck::NoUninit>(
        &mut self,
        kernel: &Arc<Kernel>,
        params: P,
        reads: &[View],
        writes: &[View],
        groups: [u32; 3],
    ) -> Result<()> {
        let clash = writes.iter().any(|w| reads.iter().any(|r| r.buffer == w.buffer));
        if reads.len() != kernel.reads as usize || writes.len() != kernel.writes as usize || clash {
            return Err(Error::Gpu {
                operation: kernel.name.clone(),
                message: format!(
                    "takes {} reads and {} other writes, was given {reads:?} and {writes:?}",
                    kernel.reads, kernel.writes
                ),
            });
        }
        let bytes = bytemuck::bytes_of(&params);
        let offset = self.params.len();
        self.params.extend_from_slice(bytes);
        self.params.resize(self.params.len().next_multiple_of(PARAMS_ALIGNMENT), 0);
        self.commands.push(Command::Dispatch {
            kernel: Arc::clone(kernel),
            params: offset as u64,
            params_bytes: bytes.len().next_multiple_of(16) as u64,
            views: reads.iter().chain(writes).copied().collect(),
            groups,
        });
        Ok(())
    }

    /// Appends zeroing `view`.
    pub fn clear(&mut self, view: View) {
        self.commands.push(Command::Clear(view));
    }

    /// Appends copying `from` to `to`, which are equally long.
    pub fn copy(&mut self, from: View, to: View) {
        self.commands.push(Command::Copy { from, to });
    }

    fn lifetimes(&self) -> Vec<Lifetime> {
        let mut lifetimes: Vec<_> = self
            .buffers
            .iter()
            .map(|buffer| match buffer {
                Virtual::Transient(bytes) => Lifetime { bytes: *bytes, used: None },
                Virtual::Persistent(_) => Lifetime { bytes: 0, used: None },
            })
            .collect();
        for (index, command) in self.commands.iter().enumerate() {
            let mut touch = |view: &View| {
                let used = &mut lifetimes[view.buffer.0 as usize].used;
                let first = used.as_ref().map_or(index, |used| *used.start());
                *used = Some(first..=index);
            };
            match command {
                Command::Dispatch { views, .. } => views.iter().for_each(&mut touch),
                Command::Clear(view) => touch(view),
                Command::Copy { from, to } => [from, to].into_iter().for_each(&mut touch),
            }
        }
        for (lifetime, buffer) in lifetimes.iter_mut().zip(&self.buffers) {
            if matches!(buffer, Virtual::Persistent(_)) {
                lifetime.used = None;
            }
        }
        lifetimes
    }

    /// Bytes that the transient buffers will take once planned.
    pub fn planned_bytes(&self) -> u64 {
        plan(&self.lifetimes(), !self.isolate).bytes.iter().sum()
    }

    /// Plans memory, allocates it and prepares every binding.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Gpu`] when the driver rejects a binding.
    pub fn finish(self, label: &'static str) -> Result<Recording> {
        let Plan { slots, bytes } = plan(&self.lifetimes(), !self.isolate);
        let memory = bytes.iter().map(|&b| self.gpu.buffer(label, b)).collect::<Result<Vec<_>>>()?;
        let real = |view: &View| -> Option<&Allocation> {
            match &self.buffers[view.buffer.0 as usize] {
                Virtual::Persistent(buffer) => Some(&buffer.0),
                Virtual::Transient(_) => slots[view.buffer.0 as usize].map(|slot| &*memory[slot].0),
            }
        };
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = self.gpu.allocate("params", (self.params.len() as u64).max(256), uniform)?;
        self.gpu.write(&params, 0, &self.params);
        let mut steps = Vec::with_capacity(self.commands.len());
        for command in &self.commands {
            steps.push(match command {
                Command::Dispatch { kernel, params: offset, params_bytes, views, groups } => {
                    let binding = |buffer, offset, bytes| {
                        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset,
                            size: std::num::NonZeroU64::new(bytes),
                        })
                    };
                    let mut entries = vec![wgpu::BindGroupEntry {
                        binding: 0,
                        resource: binding(&params.0.raw, *offset, *params_bytes),
                    }];
                    for (index, view) in views.iter().enumerate() {
                        let Some(buffer) = real(view) else { continue };
                        entries.push(wgpu::BindGroupEntry {
                            binding: index as u32 + 1,
                            resource: binding(&buffer.raw, view.offset, view.bytes),
                        });
                    }
                    let bind_group = self.gpu.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&kernel.name),
                        layout: &kernel.layout,
                        entries: &entries,
                    });
                    self.gpu.check(&kernel.name)?;
                    Step::Dispatch { kernel: Arc::clone(kernel), bind_group, groups: *groups }
                }
                Command::Clear(view) => match real(view) {
                    Some(buffer) => Step::Clear(buffer.raw.clone(), view.offset, view.bytes),
                    None => continue,
                },
                Command::Copy { from, to } => match (real(from), real(to)) {
                    (Some(a), Some(b)) => {
                        Step::Copy(a.raw.clone(), from.offset, b.raw.clone(), to.offset, from.bytes)
                    }
                    _ => continue,
                },
            });
        }
        let persistent = self
            .buffers
            .into_iter()
            .filter_map(|b| if let Virtual::Persistent(buffer) = b { Some(buffer) } else { None })
            .collect();
        Ok(Recording { gpu: self.gpu, label, steps, memory, params, persistent })
    }
}

enum Step {
    Dispatch { kernel: Arc<Kernel>, bind_group: wgpu::BindGroup, groups: [u32; 3] },
    Clear(wgpu::Buffer, u64, u64),
    Copy(wgpu::Buffer, u64, wgpu::Buffer, u64, u64),
}

/// A planned list of commands that can run any number of times.
pub struct Recording {
    gpu: Gpu,
    label: &'static str,
    steps: Vec<Step>,
    memory: Vec<Buffer>,
    // Held so that they live as long as the commands that use them.
    #[allow(dead_code)]
    params: Buffer,
    #[allow(dead_code)]
    persistent: Vec<Buffer>,
}

impl Recording {
    /// Bytes of transient memory it holds.
    pub fn transient_bytes(&self) -> u64 {
        self.memory.iter().map(Buffer::bytes).sum()
    }

    /// How many commands one replay encodes.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Fills all transient memory with `word`; with a NaN pattern, whoever reads what nobody wrote shows.
    pub fn poison(&self, word: u32) {
        for buffer in &self.memory {
            self.gpu.write(buffer, 0, &vec![word; buffer.bytes() as usize / 4]);
        }
    }

    /// Encodes and submits all commands once. Does not wait for them.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn replay(&self) -> Result<()> {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(self.label) };
        let mut encoder = self.gpu.0.device.create_command_encoder(&descriptor);
        let mut steps = self.steps.iter().peekable();
        while let Some(step) = steps.peek() {
            match step {
                Step::Clear(buffer, offset, bytes) => {
                    encoder.clear_buffer(buffer, *offset, Some(*bytes));
                    steps.next();
                }
                Step::Copy(from, from_offset, to, to_offset, bytes) => {
                    encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes);
                    steps.next();
                }
                Step::Dispatch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    while let Some(Step::Dispatch { kernel, bind_group, groups: [x, y, z] }) = steps.peek() {
                        pass.set_pipeline(&kernel.pipeline);
                        pass.set_bind_group(0, bind_group, &[]);
                        pass.dispatch_workgroups(*x, *y, *z);
                        steps.next();
                    }
                }
            }
        }
        self.gpu.0.queue.submit([encoder.finish()]);
        self.gpu.check(self.label)
    }
}
