//! From recorded commands to real buffers and bindings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[cfg(not(target_arch = "wasm32"))]
use super::buffer::Region;
use super::buffer::{Allocation, Buffer};
use super::context::Gpu;
use super::kernel::TEXELS;
use super::pace::Pace;
use super::plan::Plan;
use super::proof::Proof;
use super::recorder::{Action, Recorder, View, Virtual};
use super::recording::{Operand, OperandTexture, Recording, Step, texel_bytes};
use crate::{Error, Result};

impl Recorder {
    /// Plans memory, allocates it on `gpu`, compiles kernels that were not compiled before and prepares every binding.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Shader`] for a kernel that does not compile; [`Error::Gpu`] when the driver
    /// rejects a binding.
    pub fn finish(mut self, gpu: &Gpu, label: &'static str) -> Result<Recording> {
        let Plan { slots, bytes } = self.plan();
        let memory = self.memory(gpu, label, &bytes)?;
        let mut persistent = Vec::with_capacity(self.buffers.len());
        for buffer in std::mem::take(&mut self.buffers) {
            persistent.push(match buffer {
                Virtual::Persistent(buffer) => Some(buffer),
                Virtual::Constant(data) => Some(gpu.upload("constant", &data)?),
                Virtual::Transient(_) => None,
            });
        }
        let missing = |name: &str, what: String| Error::Gpu {
            operation: name.into(),
            message: format!("{what} has no memory in the plan of the {label}: a defect of the planner"),
        };
        let real = |name: &str, view: &View| -> Result<&Allocation> {
            let index = view.buffer.0 as usize;
            let planned = || slots[index].map(|slot| &memory[slot]);
            let buffer = persistent[index].as_ref().or_else(planned);
            buffer.map(|buffer| &*buffer.0).ok_or_else(|| missing(name, format!("{view:?}")))
        };
        let uniform = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = gpu.allocate("params", (self.params.len() as u64).max(256), uniform)?;
        gpu.write(&params, 0, &self.params);
        let textures = self.textures(gpu)?;
        #[cfg(not(target_arch = "wasm32"))]
        gpu.compile_ahead(self.commands.iter().filter_map(|command| match &command.action {
            Action::Dispatch(dispatch) => Some((&dispatch.kernel, &*dispatch.constants)),
            _ => None,
        }))?;
        // What each texture holds at this point of the list.
        let mut loaded: Vec<Option<(*const Allocation, View)>> = vec![None; textures.len()];
        let mut steps = Vec::with_capacity(self.commands.len());
        let speed = self.target().speed;
        #[cfg(not(target_arch = "wasm32"))]
        let mut written = Vec::new();
        let (mut proof, mut expected) = (None, Vec::with_capacity(self.commands.len()));
        for command in &self.commands {
            let name = &*command.name();
            match &command.action {
                Action::Dispatch(dispatch) => {
                    let kernel = gpu.kernel(&dispatch.kernel, &dispatch.constants)?;
                    let f16 = dispatch.f16();
                    let binding = |buffer, offset, bytes| {
                        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset,
                            size: std::num::NonZeroU64::new(bytes),
                        })
                    };
                    let mut resources = vec![binding(&params.0.raw, dispatch.params.0, dispatch.params.1)];
                    for (index, view) in dispatch.views.iter().enumerate() {
                        let buffer = real(name, view)?;
                        if index < dispatch.kernel.textures as usize {
                            let fits = |o: &Operand| (o.index, o.f16) == (index, f16);
                            let slot = textures.iter().position(fits);
                            let slot = slot.ok_or_else(|| missing(name, format!("the texture {index}")))?;
                            let Operand { texture, view: texture_view, .. } = &textures[slot];
                            let source = (buffer as *const Allocation, *view);
                            if loaded[slot].replace(source) != Some(source) {
                                steps.push(Step::ToTexture {
                                    from: buffer.raw.clone(),
                                    offset: view.offset,
                                    bytes: view.bytes,
                                    texel: texel_bytes(f16),
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
                    let bind_group = gpu.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(name),
                        layout: &kernel.layout,
                        entries: &entries,
                    });
                    gpu.check(name)?;
                    let (groups, cost) = (dispatch.groups, command.cost);
                    steps.push(Step::Dispatch { kernel, bind_group, groups, cost });
                }
                Action::Clear(view) => {
                    let (offset, bytes) = (view.offset, view.bytes);
                    steps.push(Step::Clear { buffer: real(name, view)?.raw.clone(), offset, bytes });
                }
                Action::Copy([from, to]) => {
                    steps.push(Step::Copy {
                        from: real(name, from)?.raw.clone(),
                        from_offset: from.offset,
                        to: real(name, to)?.raw.clone(),
                        to_offset: to.offset,
                        bytes: from.bytes.min(to.bytes),
                    });
                }
                Action::Prove([from, to]) => {
                    let from = (real(name, from)?.raw.clone(), from.offset);
                    let to = (real(name, to)?.raw.clone(), to.offset);
                    proof = Some(Proof::new(gpu, from, to, steps.len())?);
                    steps.push(Step::Deliver);
                }
            }
            // What is copied to textures before a dispatch counts as part of it.
            if steps.len() > expected.len() {
                expected.resize(steps.len() - 1, 0.0);
                expected.push(command.cost.operations() / speed);
            }
            for view in command.views().1 {
                let buffer = real(name, view)?;
                #[cfg(not(target_arch = "wasm32"))]
                if let Some(buffer) = &persistent[view.buffer.0 as usize] {
                    let region = Region { buffer: buffer.clone(), offset: view.offset, bytes: view.bytes };
                    written.push((region, steps.len()));
                }
                for slot in &mut loaded {
                    *slot = slot.take_if(|(held, _)| !std::ptr::eq(*held, buffer));
                }
            }
        }
        let together = proof.as_ref().map_or(steps.len(), |proof| proof.index);
        let longest = gpu.0.submissions.longest;
        let pace = Mutex::new(Pace::planned(&expected, together, longest, !cfg!(target_arch = "wasm32")));
        let recording = Recording {
            gpu: gpu.clone(),
            label,
            steps,
            proof,
            pace,
            expected,
            #[cfg(not(target_arch = "wasm32"))]
            written,
            memory,
            textures,
            params,
            persistent: persistent.into_iter().flatten().collect(),
        };
        gpu.note_plan(label, || recording.plan());
        Ok(recording)
    }

    /// Buffers of at least `bytes`, spare ones first.
    fn memory(&self, gpu: &Gpu, label: &str, bytes: &[u64]) -> Result<Vec<Buffer>> {
        let mut spare = self.spare.0.clone();
        let take = |&bytes: &u64| {
            let fits = (0..spare.len()).filter(|&index| spare[index].bytes() >= bytes);
            match fits.min_by_key(|&index| spare[index].bytes()) {
                Some(index) => Ok(spare.swap_remove(index)),
                None => gpu.buffer(label, bytes),
            }
        };
        bytes.iter().map(take).collect()
    }

    /// One texture for each position among the texture reads and each type, large enough for all dispatches: each
    /// is filled right before the dispatch that reads it.
    fn textures(&self, gpu: &Gpu) -> Result<Vec<Operand>> {
        const LABEL: &str = "the textures of operands";
        let mut heights: BTreeMap<(usize, bool), u64> = BTreeMap::new();
        for command in &self.commands {
            let Action::Dispatch(dispatch) = &command.action else { continue };
            let f16 = dispatch.f16();
            for (index, view) in dispatch.views.iter().take(dispatch.kernel.textures as usize).enumerate() {
                let rows = view.bytes.div_ceil(u64::from(TEXELS) * texel_bytes(f16));
                let height = heights.entry((index, f16)).or_insert(1);
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
                let reserved = gpu.reserve(LABEL, bytes)?;
                let raw = gpu.0.device.create_texture(&wgpu::TextureDescriptor {
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
                gpu.check_created(LABEL, bytes)?;
                let view = texture.raw.create_view(&Default::default());
                Ok(Operand { index, f16, texture, view })
            })
            .collect()
    }
}
