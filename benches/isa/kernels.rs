//! Every kernel for GPUs, in every form, as a Vulkan driver gets it.

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgrad::gpu::{Constant, F16, KernelSpec, TILE, shader, spirv};

#[path = "../../tests/common/kernels.rs"]
mod all;

/// A kernel in one form.
pub struct Form {
    pub spec: KernelSpec,
    pub constants: Vec<Constant>,
}

impl Form {
    /// Its constants, as `COLUMNS=64 F16=1`.
    pub fn constants(&self) -> String {
        let one = |(name, value): &Constant| format!("{name}={value}");
        self.constants.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// Whether it needs matrix units.
    pub fn is_cooperative(&self) -> bool {
        all::is_cooperative(&self.constants)
    }

    /// The edge of the tiles that it needs of matrix units, and whether their operands are f16.
    pub fn tile(&self) -> Option<(u32, bool)> {
        let of =
            |name| self.constants.iter().find(|(constant, _)| *constant == name).map(|(_, value)| *value);
        Some((of(TILE)?, of(F16)? > 0))
    }

    /// Its SPIR-V, by the options that wgpu takes for a shader without runtime checks on a device of Vulkan 1.3.
    pub fn spirv(&self) -> Result<Vec<u32>, String> {
        let composed = shader::compose(&self.spec.source, &self.constants).map_err(|e| e.to_string())?;
        if self.is_cooperative() {
            return spirv::compile(&composed, self.spec.entry).map_err(|e| e.to_string());
        }
        let text = &composed.text;
        let explain = |message: String| composed.error(&message).to_string();
        let module = naga::front::wgsl::parse_str(text).map_err(|e| explain(e.emit_to_string(text)))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .map_err(|e| explain(e.emit_to_string(text)))?;
        let unchecked = BoundsCheckPolicy::Unchecked;
        let options = spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::empty(),
            bounds_check_policies: BoundsCheckPolicies {
                index: unchecked,
                buffer: unchecked,
                image_load: unchecked,
                binding_array: unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..Default::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: self.spec.entry.to_owned(),
        };
        spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|e| explain(e.to_string()))
    }
}

/// All of them. Kernels for adapters that are CPUs are left out, as no GPU gets one.
pub fn forms() -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    for spec in all::all().into_iter().flat_map(|(_, kernels)| kernels) {
        if spec.source.name.ends_with("_software") {
            continue;
        }
        for constants in all::variants(spec) {
            forms.push(Form { spec: *spec, constants });
        }
    }
    forms
}
