//! From recorded commands to real buffers and bindings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::buffer::{Allocation, Buffer};
use super::kernel::TEXELS;
use super::pace::Pace;
use super::plan::{Plan, plan};
use super::recorder::{Command, Recorder, View, Virtual};
use super::recording::{Operand, OperandTexture, Recording, Step, texel_bytes};
use super::relay::Relay;
use crate::{Error, Result};

impl Recorder {
    /// Plans memory, allocates it and prepares every binding.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], or [`crate::Error::Gpu`] when the driver rejects a binding.
    pub fn finish(self, label: &'static str) -> Result<Recording> {
        let Plan { slots, bytes } = plan(&self.lifetimes(), !self.isolate);
        let memory = self.memory(label, &bytes)?;
        let missing = |name: &str, what: String| Error::Gpu {
            operation: name.into(),
            message: format!("{what} has no memory in the plan of the {label}: a defect of the planner"),
        };
        let real = |name: &str, view: &View| -> Result<&Allocation> {
            match &self.buffers[view.buffer.0 as usize] {
                Virtual::Persistent(buffer) => Ok(&buffer.0),
                Virtual::Transient(_) => match slots[view.buffer.0 as usize] {
                    Some(slot) => Ok(&memory[slot].0),
                    None => Err(missing(name, format!("{view:?}"))),
                },
            }
        };
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = self.gpu.allocate("params", (self.params.len() as u64).max(256), uniform)?;
        self.gpu.write(&params, 0, &self.params);
        let textures = self.textures()?;
        // What each texture holds at this point of the list.
        let mut loaded: Vec<Option<(*const Allocation, View)>> = vec![None; textures.len()];
        let mut steps = Vec::with_capacity(self.commands.len());
        let speed = self.gpu.speed();
        let (mut relay, mut expected) = (None, Vec::with_capacity(self.commands.len()));
        for command in &self.commands {
            let name = command.name();
            let written = match command {
                Command::Dispatch { kernel, views, .. } => &views[kernel.reads as usize..],
                Command::Clear(view) => std::slice::from_ref(view),
                Command::Copy { to, .. } | Command::Relay { to, .. } => std::slice::from_ref(to),
            };
            match command {
                Command::Dispatch { kernel, params: offset, params_bytes, views, groups, .. } => {
                    let binding = |buffer, offset, bytes| {
                        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset,
                            size: std::num::NonZeroU64::new(bytes),
                        })
                    };
                    let mut resources = vec![binding(&params.0.raw, *offset, *params_bytes)];
                    for (index, view) in views.iter().enumerate() {
                        let buffer = real(name, view)?;
                        if index < kernel.textures as usize {
                            let fits = |o: &Operand| (o.index, o.f16) == (index, kernel.f16);
                            let slot = textures.iter().position(fits);
                            let slot = slot.ok_or_else(|| missing(name, format!("the texture {index}")))?;
                            let Operand { texture, view: texture_view, .. } = &textures[slot];
                            let source = (buffer as *const Allocation, *view);
                            if loaded[slot].replace(source) != Some(source) {
                                steps.push(Step::ToTexture {
                                    from: buffer.raw.clone(),
                                    offset: view.offset,
                                    bytes: view.bytes,
                                    texel: texel_bytes(kernel.f16),
                                    to: texture.raw.clone(),
                                });
                            }
                            resources.push(wgpu::BindingResource::TextureView(texture_view));
                        } else {
                            resources.push(binding(&buffer.raw, view.offset, view.bytes));
                        }
                    }
                    let entries: Vec<_> = (0..)
                        .zip(resources)
                        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
                        .collect();
                    let bind_group = self.gpu.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&kernel.name),
                        layout: &kernel.layout,
                        entries: &entries,
                    });
                    self.gpu.check(&kernel.name)?;
                    steps.push(Step::Dispatch { kernel: Arc::clone(kernel), bind_group, groups: *groups });
                }
                Command::Clear(view) => {
                    let (offset, bytes) = (view.offset, view.bytes);
                    steps.push(Step::Clear { buffer: real(name, view)?.raw.clone(), offset, bytes });
                }
                Command::Copy { from, to } => {
                    steps.push(Step::Copy {
                        from: real(name, from)?.raw.clone(),
                        from_offset: from.offset,
                        to: real(name, to)?.raw.clone(),
                        to_offset: to.offset,
                        bytes: from.bytes.min(to.bytes),
                    });
                }
                Command::Relay { from, to } => {
                    let from = (real(name, from)?.raw.clone(), from.offset);
                    let to = (real(name, to)?.raw.clone(), to.offset);
                    relay = Some(Relay::new(&self.gpu, from, to, steps.len())?);
                    steps.push(Step::Deliver);
                }
            }
            // What is copied to textures before a dispatch counts as part of it.
            if steps.len() > expected.len() {
                expected.resize(steps.len() - 1, 0.0);
                expected.push(command.operations() / speed);
            }
            for view in written {
                let buffer = real(name, view)?;
                for slot in &mut loaded {
                    *slot = slot.take_if(|(held, _)| !std::ptr::eq(*held, buffer));
                }
            }
        }
        let persistent = self
            .buffers
            .into_iter()
            .filter_map(|b| if let Virtual::Persistent(buffer) = b { Some(buffer) } else { None })
            .collect();
        let together = relay.as_ref().map_or(steps.len(), |relay| relay.index);
        let longest = self.gpu.0.submissions.longest;
        let pace = Mutex::new(Pace::planned(&expected, together, longest, !cfg!(target_arch = "wasm32")));
        let gpu = self.gpu;
        let recording = Recording {
            gpu,
            label,
            steps,
            relay,
            pace,
            expected,
            speed,
            memory,
            textures,
            params,
            persistent,
        };
        recording.gpu.note_plan(label, || recording.plan());
        Ok(recording)
    }

    /// Buffers of at least `bytes`, spare ones first.
    fn memory(&self, label: &str, bytes: &[u64]) -> Result<Vec<Buffer>> {
        let mut spare = self.spare.0.clone();
        let take = |&bytes: &u64| {
            let fits = (0..spare.len()).filter(|&index| spare[index].bytes() >= bytes);
            match fits.min_by_key(|&index| spare[index].bytes()) {
                Some(index) => Ok(spare.swap_remove(index)),
                None => self.gpu.buffer(label, bytes),
            }
        };
        bytes.iter().map(take).collect()
    }

    /// One texture for each position among the texture reads and each type, large enough for all dispatches: each
    /// is filled right before the dispatch that reads it.
    fn textures(&self) -> Result<Vec<Operand>> {
        const LABEL: &str = "the textures of operands";
        let mut heights: BTreeMap<(usize, bool), u64> = BTreeMap::new();
        for command in &self.commands {
            let Command::Dispatch { kernel, views, .. } = command else { continue };
            for (index, view) in views.iter().take(kernel.textures as usize).enumerate() {
                let rows = view.bytes.div_ceil(u64::from(TEXELS) * texel_bytes(kernel.f16));
                let height = heights.entry((index, kernel.f16)).or_insert(1);
                *height = rows.max(*height);
            }
        }
        heights
            .into_iter()
            .map(|((index, f16), height)| {
                let fits = |o: &&Operand| (o.index, o.f16) == (index, f16) && o.rows() >= height;
                if let Some(spare) = self.spare.1.iter().find(fits) {
                    return Ok(spare.clone());
                }
                let bytes = height * u64::from(TEXELS) * texel_bytes(f16);
                let reserved = self.gpu.reserve(LABEL, bytes)?;
                let raw = self.gpu.0.device.create_texture(&wgpu::TextureDescriptor {
                    label: Some(LABEL),
                    size: wgpu::Extent3d { width: TEXELS, height: height as u32, depth_or_array_layers: 1 },
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: match f16 {
                        true => wgpu::TextureFormat::Rgba16Float,
                        false => wgpu::TextureFormat::Rgba32Float,
                    },
                    usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
                    view_formats: &[],
                });
                let texture = Arc::new(OperandTexture { raw, reserved });
                self.gpu.check_created(LABEL, bytes)?;
                let view = texture.raw.create_view(&Default::default());
                Ok(Operand { index, f16, texture, view })
            })
            .collect()
    }
}
