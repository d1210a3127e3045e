//! Record, then run: a list of dispatches over virtual buffers that is planned once and replayed.

use std::fmt;
use std::sync::Arc;

use super::buffer::{Buffer, Region};
use super::capabilities::MOST_TEXELS;
use super::cost::{Cost, Dispatched};
use super::kernel::KernelSpec;
use super::plan::{Lifetime, Plan, plan};
use super::recording::{Operand, Recording, texel_bytes};
use super::shader::{Constant, F16, TILE};
use super::speed::OPERATIONS_PER_BYTE;
use super::split::split;
use super::target::Target;
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
    /// The range of `bytes` that begins `offset` bytes into this one: a multiple of 256 for what is to be bound.
    pub fn part(self, offset: u64, bytes: u64) -> View {
        View { offset: self.offset + offset, bytes, ..self }
    }
}

pub(super) enum Virtual {
    Persistent(Buffer),
    /// Uploaded when the recording is finished.
    Constant(Vec<u8>),
    Transient(u64),
}

/// One dispatch, as it was recorded.
pub(super) struct Dispatch {
    pub(super) kernel: KernelSpec,
    pub(super) constants: Vec<Constant>,
    /// Where its parameters lie among those of the recording, and how many bytes they are.
    pub(super) params: (u64, u64),
    /// What it reads, then what it writes.
    pub(super) views: Vec<View>,
    pub(super) groups: [u32; 3],
}

impl Dispatch {
    /// Whether `elem`, and with it what textures hold, is f16.
    pub(super) fn f16(&self) -> bool {
        self.constants.iter().any(|&(name, value)| name == F16 && value > 0)
    }
}

pub(super) enum Action {
    Dispatch(Dispatch),
    Clear(View),
    /// From the first to the second.
    Copy([View; 2]),
    /// As [`Recorder::prove`] says.
    Prove([View; 2]),
}

pub(super) struct Command {
    pub(super) action: Action,
    pub(super) cost: Cost,
}

impl Command {
    pub(super) fn name(&self) -> String {
        match &self.action {
            Action::Dispatch(dispatch) => dispatch.kernel.name(),
            Action::Clear(_) => "clear".into(),
            Action::Copy(_) | Action::Prove(_) => "copy".into(),
        }
    }

    /// What it reads and what it writes.
    pub(super) fn views(&self) -> (&[View], &[View]) {
        match &self.action {
            Action::Dispatch(dispatch) => dispatch.views.split_at(dispatch.kernel.reads as usize),
            Action::Clear(view) => (&[], std::slice::from_ref(view)),
            Action::Copy(views) | Action::Prove(views) => views.split_at(1),
        }
    }
}

/// Collects commands as plain data. Nothing runs, nothing is compiled and no memory is taken until
/// [`Recorder::finish`], which alone needs the device.
pub struct Recorder {
    target: Target,
    pub(super) buffers: Vec<Virtual>,
    pub(super) commands: Vec<Command>,
    pub(super) params: Vec<u8>,
    pub(super) isolate: bool,
    /// Memory to take before more is allocated.
    pub(super) spare: (Vec<Buffer>, Vec<Operand>),
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("target", &self.target)
            .field("commands", &self.commands.len())
            .field("buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}

/// Uniform bindings begin at multiples of this on every device.
const PARAMS_ALIGNMENT: usize = 256;

/// Workgroups in one dimension of a dispatch, within WebGPU's limits.
pub(super) const MAX_GROUPS: u32 = 65535;

impl Recorder {
    /// An empty recording for a device, or for one that is only described.
    pub fn new(target: impl Into<Target>) -> Self {
        Recorder {
            target: target.into(),
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

    /// What is recorded for.
    pub fn target(&self) -> &Target {
        &self.target
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

    fn add(&mut self, buffer: Virtual, bytes: u64) -> View {
        self.buffers.push(buffer);
        View { buffer: BufferId(self.buffers.len() as u32 - 1), offset: 0, bytes }
    }

    /// Memory that holds `data` when the finished recording is replayed first.
    pub fn constant<T: bytemuck::NoUninit>(&mut self, data: &[T]) -> View {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        self.add(Virtual::Constant(bytes.to_vec()), (bytes.len().max(1) as u64).next_multiple_of(16))
    }

    /// A buffer that only this recording uses; its contents are unspecified until written.
    ///
    /// # Errors
    /// [`Error::Limit`] when it would exceed the device's largest binding.
    pub fn transient(&mut self, operation: &'static str, bytes: u64) -> Result<View> {
        let bytes = bytes.max(1).next_multiple_of(16);
        let most = self.target.capabilities.max_binding;
        if bytes > most {
            return Err(self.limit(operation, format!("{bytes} bytes in one binding"), most.to_string()));
        }
        Ok(self.add(Virtual::Transient(bytes), bytes))
    }

    /// The error of something that exceeds what the device offers.
    fn limit(&self, operation: impl Into<String>, expected: String, most: String) -> Error {
        let adapter = self.target.capabilities.name.clone();
        Error::Limit { operation: operation.into(), adapter, expected, found: format!("at most {most}") }
    }

    /// Appends one dispatch of `kernel` with `constants`: `params`, then `reads`, then `writes` are its bindings.
    ///
    /// # Errors
    /// [`Error::Limit`] for more workgroups than a device runs; [`Error::Gpu`] when the bindings do not fit
    /// the kernel: a defect of the calling operation.
    pub fn dispatch<P: bytemuck::NoUninit>(
        &mut self,
        (kernel, constants): (&KernelSpec, &[Constant]),
        params: P,
        reads: &[View],
        writes: &[View],
        groups: [u32; 3],
    ) -> Result<Dispatched<'_>> {
        let clash = writes.iter().any(|w| reads.iter().any(|r| r.buffer == w.buffer));
        if reads.len() != kernel.reads as usize || writes.len() != kernel.writes as usize || clash {
            return Err(Error::Gpu {
                operation: kernel.name(),
                message: format!(
                    "takes {} reads and {} other writes, was given {reads:?} and {writes:?}",
                    kernel.reads, kernel.writes
                ),
            });
        }
        let views: Vec<View> = reads.iter().chain(writes).copied().collect();
        let touched: u64 = views.iter().map(|view| view.bytes).sum();
        let bytes = bytemuck::bytes_of(&params);
        let params = (self.params.len() as u64, bytes.len().next_multiple_of(16) as u64);
        let dispatch = Dispatch { kernel: *kernel, constants: constants.to_vec(), params, views, groups };
        let textures = reads.iter().take(kernel.textures as usize);
        let (largest, most) =
            (textures.map(|view| view.bytes).max(), MOST_TEXELS * texel_bytes(dispatch.f16()));
        if let Some(bytes) = largest.filter(|&bytes| bytes > most) {
            return Err(self.limit(kernel.name(), format!("an operand of {bytes} bytes"), most.to_string()));
        }
        if groups.iter().any(|&count| count > MAX_GROUPS) {
            let most = format!("{MAX_GROUPS} each way");
            return Err(self.limit(kernel.name(), format!("{groups:?} workgroups"), most));
        }
        self.params.extend_from_slice(bytes);
        self.params.resize(self.params.len().next_multiple_of(PARAMS_ALIGNMENT), 0);
        let units = dispatch.constants.iter().any(|&(name, _)| name == TILE);
        let mut cost = Cost::of_bytes(touched as f64);
        cost.units = units;
        self.commands.push(Command { action: Action::Dispatch(dispatch), cost });
        let newest = self.commands.len() - 1;
        Ok(Dispatched(&mut self.commands[newest].cost))
    }

    fn push(&mut self, action: Action, bytes: u64) {
        self.commands.push(Command { action, cost: Cost::of_transfer(bytes as f64) });
    }

    /// What each command is called, what it costs, and how many seconds it should take at the device's
    /// [speed](Target::speed).
    pub fn expected(&self) -> Vec<(String, Cost, f64)> {
        let seconds = |cost: Cost| cost.operations() / self.target.speed;
        self.commands.iter().map(|command| (command.name(), command.cost, seconds(command.cost))).collect()
    }

    /// Appends zeroing `view`, in parts none of which takes long.
    pub fn clear(&mut self, view: View) {
        for (offset, bytes) in self.parts(view.bytes) {
            self.push(Action::Clear(view.part(offset, bytes)), bytes);
        }
    }

    /// Appends copying `from` to `to`, as much as the shorter one holds, in parts none of which takes long.
    pub fn copy(&mut self, from: View, to: View) {
        for (offset, bytes) in self.parts(from.bytes.min(to.bytes)) {
            self.push(Action::Copy([from, to].map(|view| view.part(offset, bytes))), 2 * bytes);
        }
    }

    /// Offsets and lengths of the parts of `bytes` that one command each should take.
    fn parts(&self, bytes: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let room = self.target.most_operations() / OPERATIONS_PER_BYTE;
        split(bytes as usize, 256, room).map(|part| (part.start as u64, part.len() as u64))
    }

    /// Appends copying the first 4 bytes of `from` to `to` by way of every submission before: they arrive if and only
    /// if all of those ran. One at most per recording; all that follows it is in the last submission. The offsets of
    /// the two are multiples of 4.
    pub fn prove(&mut self, from: View, to: View) {
        self.push(Action::Prove([from, to]), 0);
    }

    /// Which transient buffers share memory, and how much there is.
    pub(crate) fn plan(&self) -> Plan {
        plan(&self.lifetimes(), !self.isolate)
    }

    /// How large each buffer is, and which commands use it; those that the plan has no place for count as unused.
    pub(crate) fn lifetimes(&self) -> Vec<Lifetime> {
        let bytes = |buffer: &Virtual| if let Virtual::Transient(bytes) = buffer { *bytes } else { 0 };
        let lifetime = |buffer| Lifetime { bytes: bytes(buffer), used: None };
        let mut lifetimes: Vec<_> = self.buffers.iter().map(lifetime).collect();
        for (index, command) in self.commands.iter().enumerate() {
            let (reads, writes) = command.views();
            for view in reads.iter().chain(writes) {
                let Lifetime { bytes: 1.., used } = &mut lifetimes[view.buffer.0 as usize] else { continue };
                let first = used.as_ref().map_or(index, |used| *used.start());
                *used = Some(first..=index);
            }
        }
        lifetimes
    }
}
