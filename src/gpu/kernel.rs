//! A compiled shader entry point and the description it is compiled from.

use std::sync::Arc;

use super::context::lock;
use super::{Constant, F16, Gpu, Source, shader};
use crate::{Error, Result};

/// Texels in one row of a buffer that is read as a texture.
pub const TEXELS: u32 = 1024;

/// One field of a struct that shaders share: name, offset and size in bytes.
pub type Field = (&'static str, usize, usize);

/// The fields of a `Params` struct in Rust, compared by a test with the shader's.
pub type ParamsLayout = &'static [Field];

/// A struct of 4-byte fields that Rust and shaders both declare, under one name: a test compares the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStruct {
    /// Its name.
    pub name: &'static str,
    /// Its fields in Rust.
    pub fields: ParamsLayout,
}

/// Declares structs of 4-byte fields that lie in buffers of shaders: `#[repr(C)]`, each with its layout as `SHARED`.
macro_rules! shared {
    ($(
        $(#[$note:meta])*
        $visible:vis struct $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty),+ $(,)? }
    )+) => {$(
        $(#[$note])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        $visible struct $name { $($(#[$about])* $visible $field: $kind),+ }

        impl $name {
            $visible const SHARED: $crate::gpu::SharedStruct = $crate::gpu::SharedStruct {
                name: stringify!($name),
                fields: &[
                    $((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$kind>())),+
                ],
            };
        }
    )+};
}
pub(crate) use shared;

/// Declares an operation's uniform parameters: a struct named `Params`, its layout beside it as `LAYOUT`.
macro_rules! params {
    ($($field:ident: $kind:ty),+ $(,)?) => {
        $crate::gpu::shared! { struct Params { $($field: $kind),+ } }

        const LAYOUT: $crate::gpu::ParamsLayout = Params::SHARED.fields;
    };
}
pub(crate) use params;

/// What a kernel is compiled from. Bindings follow one rule: `Params` at 0 (uniform), then the buffers it
/// reads (`read`), then those it writes (`read_write`).
#[derive(Debug, Clone, Copy)]
pub struct KernelSpec {
    /// The shader file.
    pub source: Source,
    /// The entry point.
    pub entry: &'static str,
    /// How many buffers it only reads.
    pub reads: u32,
    /// How many of these, the first ones, it reads as textures of 4 `elem` a texel, [`TEXELS`] texels a row:
    /// the recorder copies them. Adapters that are CPUs fetch texels faster than storage.
    pub textures: u32,
    /// How many storage buffers it writes.
    pub writes: u32,
    /// The Rust side of its `Params`.
    pub params: ParamsLayout,
    /// One set of constants that makes it complete: tests validate the shader with it.
    pub example: &'static [Constant],
}

/// The whole source, not its name alone: others may name a shader like one of ours.
pub(super) type KernelKey = (Source, &'static str, Vec<Constant>);

/// A compiled entry point.
pub struct Kernel {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) name: String,
    pub(super) reads: u32,
    pub(super) textures: u32,
    /// Whether `elem`, and with it what textures hold, is f16.
    pub(super) f16: bool,
    pub(super) writes: u32,
}

impl Gpu {
    /// The kernel of `spec` with `constants`, compiled at its first use.
    ///
    /// # Errors
    /// [`Error::Shader`] with file and line when it does not compile.
    pub fn kernel(&self, spec: &KernelSpec, constants: &[Constant]) -> Result<Arc<Kernel>> {
        let mut constants = constants.to_vec();
        if self.0.saturate_f16 {
            constants.push((shader::SATURATE, 1));
        }
        let key = (spec.source, spec.entry, constants);
        if let Some(kernel) = lock(&self.0.kernels).get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = Arc::new(self.compile(spec, &key.2)?);
        lock(&self.0.kernels).insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    fn compile(&self, spec: &KernelSpec, constants: &[Constant]) -> Result<Kernel> {
        let name = format!("{}:{}", spec.source.name, spec.entry);
        let composed = shader::compose(&spec.source, constants)?;
        let device = &self.0.device;
        self.check(&name)?;
        let in_source = |error| match error {
            Error::Gpu { message, .. } => composed.error(&message),
            other => other,
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&name),
            source: wgpu::ShaderSource::Wgsl(composed.text.as_str().into()),
        };
        // SAFETY: our shaders keep their own bounds (every index is tested against `Params`, and tests run
        // them with poisoned surroundings), their loops end, and they divide by no zero.
        let module = unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
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
        let KernelSpec { reads, textures, writes, .. } = *spec;
        let f16 = constants.iter().any(|&(name, value)| name == F16 && value > 0);
        Ok(Kernel { pipeline, layout, name, reads, textures, f16, writes })
    }
}
