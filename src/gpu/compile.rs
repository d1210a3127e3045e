//! Compiling kernels, once each.

#[cfg(not(target_arch = "wasm32"))]
use std::collections::HashMap;
use std::sync::Arc;

use super::context::Gpu;
use super::kernel::{Kernel, KernelKey, KernelSpec};
use super::lock::lock;
use super::shader::{self, Constant, TILE};
use super::spirv;
use crate::{Error, Result};

impl Gpu {
    /// The kernel of `spec` with `constants`, compiled at its first use.
    ///
    /// # Errors
    /// [`Error::Shader`] with file and line when it does not compile.
    pub fn kernel(&self, spec: &KernelSpec, constants: &[Constant]) -> Result<Arc<Kernel>> {
        let key = self.key(spec, constants);
        if let Some(kernel) = lock(&self.0.kernels).get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = Arc::new(self.compile(spec, &key.2)?);
        lock(&self.0.kernels).insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    /// Compiles those of the kernels that were not compiled before on all cores at once: drivers that translate a shader
    /// as soon as they are handed it take longer for that than for all else at a program's start. One that does not
    /// compile is left to [`Gpu::kernel`], because the device tells errors to whoever asks next, and only one who asks
    /// alone knows whose they are.
    ///
    /// # Errors
    /// As [`Gpu::check`], of what was done before.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn compile_ahead<'a>(
        &self,
        kernels: impl Iterator<Item = (&'a KernelSpec, &'a [Constant])>,
    ) -> Result<()> {
        use rayon::prelude::*;

        let mut missing: HashMap<KernelKey, &KernelSpec> =
            kernels.map(|(spec, constants)| (self.key(spec, constants), spec)).collect();
        missing.retain(|key, _| !lock(&self.0.kernels).contains_key(key));
        if missing.len() < 2 {
            return Ok(());
        }
        // What is told from here on is about these kernels.
        self.check("compiling kernels")?;
        let compile = |(key, spec): (KernelKey, &KernelSpec)| {
            self.compile(spec, &key.2).map(|kernel| (key, Arc::new(kernel)))
        };
        let compiled: Result<Vec<_>> = missing.into_par_iter().map(compile).collect();
        if let Ok(compiled) = compiled {
            lock(&self.0.kernels).extend(compiled);
        }
        Ok(())
    }

    fn key(&self, spec: &KernelSpec, constants: &[Constant]) -> KernelKey {
        let mut constants = constants.to_vec();
        if self.0.saturate_f16 {
            constants.push((shader::SATURATE, 1));
        }
        (spec.source, spec.entry, constants)
    }

    fn compile(&self, spec: &KernelSpec, constants: &[Constant]) -> Result<Kernel> {
        let name = spec.name();
        let composed = shader::compose(&spec.source, constants)?;
        let device = &self.0.device;
        self.check(&name)?;
        let in_source = |error| match error {
            Error::Gpu { message, .. } => composed.error(&message),
            other => other,
        };
        let on_units = constants.iter().any(|&(name, _)| name == TILE);
        let module = if on_units && self.0.capabilities.vulkan_memory_model {
            spirv::module(device, &name, spec.entry, &composed)?
        } else {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&name),
                source: wgpu::ShaderSource::Wgsl(composed.text.as_str().into()),
            };
            // SAFETY: our shaders keep their own bounds (every index is tested against `Params`, and tests run
            // them with poisoned surroundings), their loops end, and they divide by no zero.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        self.check(&name).map_err(in_source)?;
        let entries: Vec<_> = (0..=spec.reads + spec.writes)
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: if (1..=spec.textures).contains(&binding) {
                    wgpu::BindingType::Texture {
                        sample_type: wgpu::TextureSampleType::Float { filterable: false },
                        view_dimension: wgpu::TextureViewDimension::D2,
                        multisampled: false,
                    }
                } else {
                    wgpu::BindingType::Buffer {
                        ty: if binding == 0 {
                            wgpu::BufferBindingType::Uniform
                        } else {
                            wgpu::BufferBindingType::Storage { read_only: binding <= spec.reads }
                        },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    }
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&name),
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(spec.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.check(&name).map_err(in_source)?;
        Ok(Kernel { pipeline, layout, name })
    }
}
