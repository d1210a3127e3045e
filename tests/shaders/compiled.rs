//! A kernel as naga reads it, compared with what the Rust side says of it.

use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Handle, Module, ShaderStage, StorageAccess, TypeInner};
use wgrad::gpu::{Constant, F16, KernelSpec, SharedStruct, shader};

use crate::common::kernels::is_cooperative;

/// WebGPU's default limits.
const INVOCATIONS: u32 = 256;
const WORKGROUP_SIZE: [u32; 3] = [256, 256, 64];

/// One field of a struct in WGSL: name, offset and size in bytes.
pub(crate) type Member<'a> = (&'a str, usize, usize);

/// A shader that compiled, and the entry point that is looked at.
pub(crate) struct Compiled {
    pub(crate) module: Module,
    pub(crate) info: ModuleInfo,
    pub(crate) entry: usize,
}

impl Compiled {
    pub(crate) fn of(spec: &KernelSpec, constants: &[Constant]) -> Result<Self, String> {
        let composed = shader::compose(&spec.source, constants).map_err(|e| e.to_string())?;
        let module = naga::front::wgsl::parse_str(&composed.text)
            .map_err(|e| composed.error(&e.emit_to_string(&composed.text)).to_string())?;
        // No capability beyond those that every WebGPU device has, but for f16 where it is asked for.
        let f16 = constants.iter().any(|(name, value)| *name == F16 && *value > 0);
        let mut capabilities = if f16 { Capabilities::SHADER_FLOAT16 } else { Capabilities::empty() };
        capabilities.set(Capabilities::COOPERATIVE_MATRIX, is_cooperative(constants));
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|e| composed.error(&e.emit_to_string(&composed.text)).to_string())?;
        let entry =
            module.entry_points.iter().position(|e| e.name == spec.entry).ok_or("no such entry point")?;
        Ok(Compiled { module, info, entry })
    }

    pub(crate) fn info(&self) -> &FunctionInfo {
        self.info.get_entry_point(self.entry)
    }

    /// The globals that the entry point uses, itself or in what it calls.
    pub(crate) fn globals(&self) -> impl Iterator<Item = &GlobalVariable> {
        let used = |(handle, _): &(Handle<GlobalVariable>, &GlobalVariable)| !self.info()[*handle].is_empty();
        self.module.global_variables.iter().filter(used).map(|(_, global)| global)
    }

    fn bytes(&self, global: &GlobalVariable) -> u32 {
        self.module.types[global.ty].inner.size(self.module.to_ctx())
    }

    pub(crate) fn write_for_other_languages(&self, name: &str, constants: &[Constant]) -> Result<(), String> {
        use naga::back::{msl, spv};
        let cooperative = is_cooperative(constants);
        let mut options = spv::Options::default();
        if cooperative {
            options.lang_version = (1, 6);
        }
        let pipeline =
            spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: name.to_string() };
        let words = spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|e| format!("SPIR-V: {e}"))?;
        if words.is_empty() {
            return Err("SPIR-V: nothing written".into());
        }
        if constants.contains(&("VECTORS", 1)) {
            // Metal loads tiles from arrays of scalars, in variants of their own.
            return Ok(());
        }
        let options =
            msl::Options { lang_version: if cooperative { (3, 1) } else { (2, 4) }, ..Default::default() };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, name.to_string())),
            ..Default::default()
        };
        let (text, info) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|e| format!("MSL: {e}"))?;
        match info.entry_point_names.as_slice() {
            [Ok(written)] if text.contains(written.as_str()) => {}
            other => return Err(format!("MSL: wrote the entry points {other:?}")),
        }
        // Direct3D's compiler knows no matrix units.
        if cooperative { Ok(()) } else { self.hlsl(name).map(|_| ()) }
    }

    /// HLSL as wgpu has it written where it asks for no runtime checks, and what the entry point is called there.
    pub(crate) fn hlsl(&self, name: &str) -> Result<(String, String), String> {
        use naga::back::hlsl;
        let options = hlsl::Options {
            // The first one with f16.
            shader_model: hlsl::ShaderModel::V6_2,
            zero_initialize_workgroup_memory: false,
            restrict_indexing: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, name.to_string())) };
        let mut text = String::new();
        let info = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        match info.entry_point_names.as_slice() {
            [Ok(written)] if text.contains(written.as_str()) => Ok((text, written.clone())),
            other => Err(format!("HLSL: wrote the entry points {other:?}")),
        }
    }

    /// `Params` at 0, then `reads` (the first ones may be textures), then `writes`, all of them used and nothing else.
    pub(crate) fn check_bindings(&self, spec: &KernelSpec, most: u32) -> Result<(), String> {
        let mut found = Vec::new();
        for global in self.globals() {
            let Some(binding) = &global.binding else { continue };
            if binding.group != 0 {
                return Err(format!("{:?} is in group {}", global.name, binding.group));
            }
            let kind = match global.space {
                AddressSpace::Handle => "texture",
                AddressSpace::Uniform => "uniform",
                AddressSpace::Storage { access } if access == StorageAccess::LOAD => "read",
                AddressSpace::Storage { access } if access == StorageAccess::LOAD | StorageAccess::STORE => {
                    "read_write"
                }
                other => return Err(format!("{:?} is bound as {other:?}", global.name)),
            };
            found.push((binding.binding, kind));
        }
        found.sort_unstable();
        let (reads, storage) = (spec.reads, spec.reads + spec.writes);
        let kind = |binding| match binding {
            0 => "uniform",
            binding if binding <= spec.textures => "texture",
            binding if binding <= reads => "read",
            _ => "read_write",
        };
        let expected: Vec<_> = (0..=storage).map(|binding| (binding, kind(binding))).collect();
        if found != expected {
            return Err(format!("binds {found:?}, its description says {expected:?}"));
        }
        if storage > most {
            return Err(format!("binds {storage} storage buffers"));
        }
        Ok(())
    }

    pub(crate) fn check_params(&self, spec: &KernelSpec) -> Result<(), String> {
        let uniform =
            self.globals().find(|global| global.space == AddressSpace::Uniform).ok_or("no uniform")?;
        let Some((_, found, span)) = self.structure(uniform) else {
            return Err("its uniform is no struct".into());
        };
        if found != spec.params {
            return Err(format!("Params is {found:?} in WGSL, {:?} in Rust", spec.params));
        }
        let end = spec.params.last().map_or(0, |(_, offset, size)| offset + size);
        if span as usize > end.next_multiple_of(16) {
            return Err(format!("Params takes {span} bytes in WGSL, {end} in Rust"));
        }
        Ok(())
    }

    /// A global that is a struct: its type's name, fields and bytes.
    pub(crate) fn structure(&self, global: &GlobalVariable) -> Option<(&str, Vec<Member<'_>>, u32)> {
        let kind = &self.module.types[global.ty];
        let TypeInner::Struct { members, span } = &kind.inner else { return None };
        let size = |member: &naga::StructMember| {
            self.module.types[member.ty].inner.size(self.module.to_ctx()) as usize
        };
        let fields = members
            .iter()
            .map(|member| (member.name.as_deref().unwrap_or("?"), member.offset as usize, size(member)))
            .collect();
        Some((kind.name.as_deref().unwrap_or("?"), fields, *span))
    }

    /// A buffer that holds a struct holds one of `known`, which Rust declares too.
    pub(crate) fn check_structs(&self, known: &[SharedStruct]) -> Result<(), String> {
        let storage = |global: &&GlobalVariable| matches!(global.space, AddressSpace::Storage { .. });
        for (name, found, _) in self.globals().filter(storage).filter_map(|global| self.structure(global)) {
            let known: Vec<_> = known.iter().filter(|known| known.name == name).map(|k| k.fields).collect();
            if known.is_empty() {
                return Err(format!("{name} is in WGSL alone: expected it in `optim::structs`"));
            }
            if !known.iter().any(|fields| found == *fields) {
                return Err(format!("{name} is {found:?} in WGSL, {known:?} in Rust"));
            }
        }
        Ok(())
    }

    pub(crate) fn check_limits(&self, limit: u32) -> Result<(), String> {
        let size = self.module.entry_points[self.entry].workgroup_size;
        let invocations: u32 = size.iter().product();
        if invocations == 0
            || invocations > INVOCATIONS
            || size.iter().zip(WORKGROUP_SIZE).any(|(s, l)| *s > l)
        {
            return Err(format!("workgroups of {size:?}"));
        }
        let shared = |global: &&GlobalVariable| global.space == AddressSpace::WorkGroup;
        let bytes: u32 = self.globals().filter(shared).map(|g| self.bytes(g).next_multiple_of(16)).sum();
        if bytes > limit {
            return Err(format!("{bytes} bytes of workgroup memory"));
        }
        Ok(())
    }
}
