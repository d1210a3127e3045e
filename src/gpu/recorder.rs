//! Record, then run: a list of dispatches over virtual buffers that is planned once and replayed.

use std::sync::Arc;

use super::buffer::{Buffer, Region};
use super::capabilities::MOST_TEXELS;
use super::context::Gpu;
use super::kernel::Kernel;
use super::plan::Lifetime;
use super::recording::Recording;
use super::recording::{Operand, texel_bytes};
use super::speed::OPERATIONS_PER_BYTE;
use crate::{Error, Result};

/// A buffer within one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(pub(super) u32);

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

impl View {
    /// `bytes` of it from `offset` on, a multiple of 256 where it is to be bound.
    pub fn part(self, offset: u64, bytes: u64) -> View {
        View { offset: self.offset + offset, bytes, ..self }
    }
}

pub(super) enum Virtual {
    Persistent(Buffer),
    Transient(u64),
}

pub(super) enum Command {
    Dispatch {
        kernel: Arc<Kernel>,
        params: u64,
        params_bytes: u64,
        views: Vec<View>,
        groups: [u32; 3],
        /// What it takes the time of.
        operations: f64,
    },
    Clear(View),
    Copy {
        from: View,
        to: View,
    },
    Relay {
        from: View,
        to: View,
    },
}

impl Command {
    pub(super) fn name(&self) -> &str {
        match self {
            Command::Dispatch { kernel, .. } => &kernel.name,
            Command::Clear(_) => "clear",
            Command::Copy { .. } | Command::Relay { .. } => "copy",
        }
    }

    /// Operations that take as long.
    pub(super) fn operations(&self) -> f64 {
        match self {
            Command::Dispatch { operations, .. } => *operations,
            Command::Clear(view) | Command::Copy { from: view, .. } => {
                view.bytes as f64 * OPERATIONS_PER_BYTE
            }
            Command::Relay { .. } => 0.0,
        }
    }
}

/// Collects commands. Nothing runs, and no transient memory exists, until [`Recorder::finish`].
pub struct Recorder {
    pub(super) gpu: Gpu,
    pub(super) buffers: Vec<Virtual>,
    pub(super) commands: Vec<Command>,
    pub(super) params: Vec<u8>,
    pub(super) isolate: bool,
    /// Memory to take before more is allocated.
    pub(super) spare: (Vec<Buffer>, Vec<Operand>),
}

/// Uniform bindings begin at multiples of this on every device.
const PARAMS_ALIGNMENT: usize = 256;

/// Workgroups in one dimension of a dispatch, within WebGPU's limits.
pub(super) const MAX_GROUPS: u32 = 65535;

impl Recorder {
    /// An empty recording for `gpu`.
    pub fn new(gpu: &Gpu) -> Self {
        Recorder {
            gpu: gpu.clone(),
            buffers: Vec::new(),
            commands: Vec::new(),
            params: Vec::new(),
            isolate: false,
            spare: Default::default(),
        }
    }

    /// Gives every transient buffer memory of its own, so that a test can poison it and see who reads what
    /// nobody wrote.
    pub fn isolate(&mut self) {
        self.isolate = true;
    }

    /// Uses the transient memory of `other` too, as far as it goes: on a device one recording runs after the other, and
    /// neither leaves anything there for later.
    pub fn share(&mut self, other: &Recording) {
        self.spare = (other.memory.clone(), other.textures.clone());
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
    /// [`Error::Limit`] for more workgroups than a device runs; [`Error::Gpu`] when the bindings do not fit
    /// the kernel: a defect of the calling operation.
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
        let textures = reads.iter().take(kernel.textures as usize);
        let (largest, most) = (textures.map(|view| view.bytes).max(), MOST_TEXELS * texel_bytes(kernel.f16));
        if let Some(bytes) = largest.filter(|&bytes| bytes > most) {
            return Err(Error::Limit {
                operation: kernel.name.clone(),
                adapter: self.gpu.capabilities().name.clone(),
                expected: format!("an operand of {bytes} bytes (lower `micro_batch` or the vocabulary)"),
                found: format!("at most {most}"),
            });
        }
        if groups.iter().any(|&count| count > MAX_GROUPS) {
            return Err(Error::Limit {
                operation: kernel.name.clone(),
                adapter: self.gpu.capabilities().name.clone(),
                expected: format!("{groups:?} workgroups (lower `micro_batch`)"),
                found: format!("at most {MAX_GROUPS} each way"),
            });
        }
        let touched: u64 = reads.iter().chain(writes).map(|view| view.bytes).sum();
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
            operations: touched as f64 * OPERATIONS_PER_BYTE,
        });
        Ok(())
    }

    /// Says how many bytes the newest dispatch reads and writes, where that is not each of its bindings once.
    pub fn touches(&mut self, bytes: f64) {
        self.counts(bytes * OPERATIONS_PER_BYTE);
    }

    /// Says how many floating-point operations the newest dispatch takes. Without it, its time is taken to be that of
    /// what it reads and writes.
    pub fn counts(&mut self, operations: f64) {
        if let Some(Command::Dispatch { operations: counted, .. }) = self.commands.last_mut() {
            *counted = operations;
        }
    }

    /// What each command is called and how many seconds it should take at the device's [speed](Gpu::speed).
    pub fn expected(&self) -> Vec<(&str, f64)> {
        let speed = self.gpu.speed();
        self.commands.iter().map(|command| (command.name(), command.operations() / speed)).collect()
    }

    /// Appends zeroing `view`, in parts none of which takes long.
    pub fn clear(&mut self, view: View) {
        for (offset, bytes) in self.parts(view.bytes) {
            self.commands.push(Command::Clear(view.part(offset, bytes)));
        }
    }

    /// Appends copying `from` to `to`, which are equally long, in parts none of which takes long.
    pub fn copy(&mut self, from: View, to: View) {
        for (offset, bytes) in self.parts(from.bytes.min(to.bytes)) {
            self.commands.push(Command::Copy { from: from.part(offset, bytes), to: to.part(offset, bytes) });
        }
    }

    /// Offsets and lengths of the fewest parts of `bytes` that hold no more than one command should.
    fn parts(&self, bytes: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let most = (self.gpu.most_operations() / OPERATIONS_PER_BYTE) as u64 / 256 * 256;
        let most = most.max(256);
        (0..bytes).step_by(most as usize).map(move |offset| (offset, most.min(bytes - offset)))
    }

    /// Appends copying the first 4 bytes of `from` to `to` by way of every submission before: they arrive if and only
    /// if all of those ran. One at most per recording; all that follows it is in the last submission. The offsets of
    /// the two are multiples of 4.
    pub fn relay(&mut self, from: View, to: View) {
        self.commands.push(Command::Relay { from, to });
    }

    pub(super) fn lifetimes(&self) -> Vec<Lifetime> {
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
                Command::Copy { from, to } | Command::Relay { from, to } => {
                    [from, to].into_iter().for_each(&mut touch)
                }
            }
        }
        for (lifetime, buffer) in lifetimes.iter_mut().zip(&self.buffers) {
            if matches!(buffer, Virtual::Persistent(_)) {
                lifetime.used = None;
            }
        }
        lifetimes
    }
}
