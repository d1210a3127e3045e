//! What an adapter can do, and which row of the kernel tables it takes.

use serde::Serialize;

use super::choices::Choices;
use super::kernel::TEXELS;
use super::options::{AdapterKind, GpuOptions, MatrixOperands};
use super::spirv;

/// Workgroup memory for products on units that take f32, and for attention on units: more than every adapter has.
pub(crate) const UNITS_MEMORY: u32 = 32 << 10;

/// Storage buffers that attention on units binds: more than every adapter has, too.
pub(crate) const UNITS_BUFFERS: u32 = 10;

/// What the opened device offers. All sizes are in bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Capabilities {
    /// The adapter's name as its driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub device_type: String,
    /// The row of the kernel tables.
    pub kind: AdapterKind,
    /// Whether shaders may compute with f16 (`SHADER_F16`).
    pub f16: bool,
    /// Whether the adapter has subgroup operations, and the sizes it may choose.
    pub subgroups: Option<(u32, u32)>,
    /// The cooperative matrix shapes the adapter lists, as `16x16x16 f16->f32`.
    pub cooperative_matrices: Vec<String>,
    /// What the device was opened to multiply on its matrix units.
    pub matrix_operands: Option<MatrixOperands>,
    /// The edge of the tiles in use there, 16 or 8.
    pub matrix_tile: Option<u32>,
    /// The invocations of a subgroup, where kernels for matrix units can be compiled for one number.
    pub matrix_subgroup: Option<u32>,
    /// Whether kernels for matrix units are handed to the driver as SPIR-V that spells Vulkan's memory model out. Where
    /// it is false they are compiled as all others are.
    pub vulkan_memory_model: bool,
    /// The largest storage binding of the opened device.
    pub max_binding: u64,
    /// The largest buffer of the opened device.
    pub max_buffer: u64,
    /// Storage buffers that one dispatch may bind.
    pub max_storage_buffers: u32,
    /// Workgroup memory.
    pub max_workgroup_memory: u32,
    /// Invocations in a workgroup.
    pub max_invocations: u32,
    /// The forms of kernels that were chosen for it.
    #[serde(skip_serializing_if = "Choices::is_empty")]
    pub choices: Choices,
}

/// Texels of the largest texture that every device has, where a buffer is read as one.
pub(super) const MOST_TEXELS: u64 = TEXELS as u64 * 8192;

/// `16x16x16 f16->f32`: rows, columns and inner size, operands and result.
fn matrix(p: &wgpu::CooperativeMatrixProperties) -> String {
    format!("{}x{}x{} {:?}->{:?}", p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type).to_lowercase()
}

impl Capabilities {
    /// Whether a user who asks for `part` of a name, case ignored, means this adapter.
    pub fn is_called(&self, part: &str) -> bool {
        self.name.to_lowercase().contains(&part.to_lowercase())
    }

    /// Whether Direct3D's shaders go through its old compiler, because there is no `dxcompiler.dll`. With the new one
    /// every GPU has subgroup operations; with the old one, none.
    pub fn is_without_dxc(&self) -> bool {
        self.backend == "dx12" && !self.f16 && self.subgroups.is_none()
    }

    /// How many elements of so many `bytes` the largest operand of a kernel may have: kernels for software adapters read
    /// theirs through textures.
    pub fn max_operand(&self, bytes: u64) -> u64 {
        let bound = self.max_binding / bytes;
        match self.kind {
            AdapterKind::Cpu => bound.min(MOST_TEXELS * 4),
            AdapterKind::Gpu => bound,
        }
    }

    /// Restricts what the adapter offers to what `options` ask for.
    pub(super) fn adjust(&mut self, options: &GpuOptions) {
        self.kind = options.kind.unwrap_or(self.kind);
        self.f16 &= !options.without_f16;
        self.choices.clone_from(&options.choices);
        self.max_binding = self.max_binding.min(options.max_binding.unwrap_or(u64::MAX));
        if options.unlisted_matrix_units && self.device_type == "cpu" && !self.cooperative_matrices.is_empty()
        {
            self.cooperative_matrices.push("8x8x8 f32->f32".into());
        }
        if options.unlisted_matrix_units && self.backend == "noop" {
            self.cooperative_matrices.push("16x16x16 f16->f32".into());
        }
        self.matrix_tile = options.matrix_units.and_then(|operands| self.tile_of(operands));
        self.matrix_operands = options.matrix_units.filter(|_| self.matrix_tile.is_some());
        self.vulkan_memory_model &= self.matrix_tile.is_some();
    }

    /// The edge of the tiles that `operands` are multiplied in on matrix units, where the adapter lists a shape that
    /// kernels are written for and is a GPU that can run them.
    pub fn tile_of(&self, operands: MatrixOperands) -> Option<u32> {
        let listed = |shape: &str| self.cooperative_matrices.iter().any(|matrix| matrix == shape);
        let tile = match operands {
            MatrixOperands::F16 if !self.f16 => None,
            MatrixOperands::F16 if listed("16x16x16 f16->f32") => Some(16),
            MatrixOperands::F16 => listed("8x8x8 f16->f32").then_some(8),
            MatrixOperands::F32 if self.max_workgroup_memory < UNITS_MEMORY => None,
            MatrixOperands::F32 => listed("8x8x8 f32->f32").then_some(8),
        };
        tile.filter(|_| self.kind == AdapterKind::Gpu && self.matrix_subgroup.is_some())
    }

    pub(super) fn of(adapter: &wgpu::Adapter, device_limits: &wgpu::Limits) -> Self {
        let info = adapter.get_info();
        let features = adapter.features();
        let kind =
            if info.device_type == wgpu::DeviceType::Cpu { AdapterKind::Cpu } else { AdapterKind::Gpu };
        let cooperative_matrices = if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            adapter.cooperative_matrix_properties().iter().map(matrix).collect()
        } else {
            Vec::new()
        };
        let subgroups = features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size));
        // Kernels for matrix units are compiled for one size of subgroups, which must be the one that runs. Apple's is 32
        // always, though wgpu gives the range that Metal allows; other drivers that give a range choose within it.
        let matrix_subgroup = match subgroups {
            Some(_) if info.backend == wgpu::Backend::Metal => Some(32),
            Some((least, most)) if least == most => Some(most).filter(|size| [8, 16, 32, 64].contains(size)),
            _ => None,
        };
        Capabilities {
            name: info.name.clone(),
            backend: info.backend.to_string().to_lowercase(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            device_type: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "cpu",
                wgpu::DeviceType::Other => "other",
            }
            .to_string(),
            kind,
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups,
            vulkan_memory_model: !cooperative_matrices.is_empty() && spirv::offered(adapter),
            cooperative_matrices,
            matrix_operands: None,
            matrix_tile: None,
            matrix_subgroup,
            max_binding: device_limits.max_storage_buffer_binding_size,
            max_buffer: device_limits.max_buffer_size,
            max_storage_buffers: device_limits.max_storage_buffers_per_shader_stage,
            max_workgroup_memory: device_limits.max_compute_workgroup_storage_size,
            max_invocations: device_limits.max_compute_invocations_per_workgroup,
            choices: Choices::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no adapter at hand has: units that take f32.
    fn apple() -> Capabilities {
        Capabilities {
            backend: "metal".into(),
            f16: true,
            cooperative_matrices: vec!["8x8x8 f16->f32".into(), "8x8x8 f32->f32".into()],
            matrix_subgroup: Some(32),
            max_workgroup_memory: UNITS_MEMORY,
            ..Capabilities::default()
        }
    }

    fn opened(mut adapter: Capabilities, options: &GpuOptions) -> (Option<MatrixOperands>, Option<u32>) {
        adapter.adjust(options);
        (adapter.matrix_operands, adapter.matrix_tile)
    }

    #[test]
    fn units_are_those_that_were_asked_for_and_that_there_are() {
        let with = |operands| GpuOptions { matrix_units: Some(operands), ..GpuOptions::default() };
        let (f16, f32) = (MatrixOperands::F16, MatrixOperands::F32);
        assert_eq!(opened(apple(), &GpuOptions::default()), (None, None));
        assert_eq!(opened(apple(), &with(f16)), (Some(f16), Some(8)));
        assert_eq!(opened(apple(), &with(f32)), (Some(f32), Some(8)));
        // f32 needs no f16 in shaders, but more workgroup memory.
        let without_f16 = Capabilities { f16: false, ..apple() };
        assert_eq!(opened(without_f16.clone(), &with(f32)), (Some(f32), Some(8)));
        assert_eq!(opened(without_f16, &with(f16)), (None, None));
        let little = Capabilities { max_workgroup_memory: 16 << 10, ..apple() };
        assert_eq!(opened(little.clone(), &with(f32)), (None, None));
        assert_eq!(opened(little, &with(f16)), (Some(f16), Some(8)));
        let shapes = ["16x16x16 f16->f32", "16x16x16 f16->f16"].map(String::from).to_vec();
        let nvidia = Capabilities { cooperative_matrices: shapes, ..apple() };
        assert_eq!(opened(nvidia.clone(), &with(f16)), (Some(f16), Some(16)));
        assert_eq!(opened(nvidia, &with(f32)), (None, None));
        // lavapipe lists f16 alone; what a GPU does not list it is not asked to do.
        for (device_type, tile) in [("cpu", Some(8)), ("discrete", None)] {
            let cooperative_matrices = vec!["8x8x8 f16->f32".into()];
            let one = Capabilities { cooperative_matrices, device_type: device_type.into(), ..apple() };
            let options = GpuOptions { unlisted_matrix_units: true, ..with(f32) };
            assert_eq!(opened(one.clone(), &options), (tile.map(|_| f32), tile));
            assert_eq!(opened(one, &with(f32)), (None, None));
        }
        // Subgroups of a size that changes, and CPUs, which pose as GPUs.
        for other in [
            Capabilities { matrix_subgroup: None, ..apple() },
            Capabilities { kind: AdapterKind::Cpu, ..apple() },
        ] {
            assert_eq!(opened(other.clone(), &with(f16)), (None, None));
            assert_eq!(opened(other, &with(f32)), (None, None));
        }
    }
}
