//! SPIR-V for kernels on matrix units, by the letter of Vulkan's memory model.
//!
//! naga declares that model for a module with cooperative matrices, but its barriers neither make writes available nor
//! visible and its accesses are private (gfx-rs/wgpu#8805). Private accesses of different invocations are ordered
//! by nothing in a shader, so such a kernel has data races by the letter. [`spell_out`] adds what is missing, and the
//! result is handed to the driver as it is.
//!
//! By the model's section "Location-Ordered" that is, for memory which several invocations of a workgroup access through
//! one variable: accesses are non-private, a write is made available by the barrier after it, and visible by the
//! barrier before the read. So a barrier carries both for workgroup memory, and then loads and stores need no
//! availability or visibility of their own. Storage buffers stay private where within one dispatch no invocation reads what
//! another wrote to them: what goes from one dispatch to the next is ordered by commands. A kernel with a storage barrier
//! has such reads, and all its buffers that are written are treated as workgroup memory is. That barrier holds for a
//! workgroup, as WGSL has it; naga asks for the whole device, which takes a capability of its own.
//!
//! naga also gives arrays in workgroup memory and in variables a stride, which Vulkan allows in buffers alone. It is taken
//! away, and Khronos's validator has nothing left to say.
//!
//! An instruction in SPIR-V is its length, its number and its operands, so a walk over words does it without a
//! library; `tests/spirv.rs` decodes the result with one that others wrote.

use std::collections::{HashMap, HashSet};

use wgpu::naga;
use wgpu::naga::back::spv;
use wgpu::naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

use super::shader::Composed;
use crate::Result;

/// This file: what it does to kernels changes them as their own text does.
pub const SOURCE: &str = include_str!("spirv.rs");

/// What the device is handed for `entry` of a kernel on matrix units: one module with this entry point alone.
///
/// # Errors
/// [`crate::Error::Shader`] with file and line where the text does not compile, or has what cannot be spelled out.
pub fn compile(composed: &Composed, entry: &str) -> Result<Vec<u32>> {
    spell_out(&translate(composed, entry)?).map_err(|message| composed.error(&message))
}

/// SPIR-V as naga writes it, with the options that wgpu takes for a shader without runtime checks. Bindings keep their
/// numbers, which are those that wgpu gives to a layout of one group that leaves none out.
///
/// # Errors
/// [`crate::Error::Shader`] with file and line where the text does not compile.
pub fn translate(composed: &Composed, entry: &str) -> Result<Vec<u32>> {
    let text = &composed.text;
    let module = naga::front::wgsl::parse_str(text).map_err(|e| composed.error(&e.emit_to_string(text)))?;
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX,
    )
    .validate(&module)
    .map_err(|e| composed.error(&e.emit_to_string(text)))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        // What Vulkan 1.3 takes, without which `offered` is false.
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        capabilities: Some(
            [
                spv::Capability::Shader,
                spv::Capability::Matrix,
                spv::Capability::Float16,
                spv::Capability::CooperativeMatrixKHR,
                spv::Capability::VulkanMemoryModel,
            ]
            .into_iter()
            .collect(),
        ),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        use_storage_input_output_16: false,
        ..Default::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.to_string() };
    spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|e| composed.error(&e.to_string()))
}

/// Whether `adapter` takes SPIR-V as it is, in the version that is written here.
pub(super) fn offered(adapter: &wgpu::Adapter) -> bool {
    const VULKAN_1_3: u32 = 1 << 22 | 3 << 12;
    if !adapter.features().contains(wgpu::Features::PASSTHROUGH_SHADERS) {
        return false;
    }
    // SAFETY: the adapter lives as long as it is asked for its version, and is left as it is.
    let version = unsafe {
        adapter.as_hal::<wgpu::hal::api::Vulkan>().map(|vulkan| {
            let instance = vulkan.shared_instance().raw_instance();
            instance.get_physical_device_properties(vulkan.raw_physical_device()).api_version
        })
    };
    version.is_some_and(|version| version >= VULKAN_1_3)
}

/// [Compiles](compile) a kernel and hands it to the device.
pub(super) fn module(
    device: &wgpu::Device,
    name: &str,
    entry: &str,
    composed: &Composed,
) -> Result<wgpu::ShaderModule> {
    let words = compile(composed, entry)?;
    // Only Metal would need the size of workgroups.
    let entries = [wgpu::PassthroughShaderEntryPoint { name: entry.into(), workgroup_size: (0, 0, 0) }];
    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
        label: Some(name),
        entry_points: entries.as_slice().into(),
        spirv: Some(words.into()),
        ..Default::default()
    };
    // SAFETY: naga validated and wrote this module, and what was added are memory operands and semantics. As with all
    // kernels, its bounds are its own, and its bindings are compared with its description by tests.
    Ok(unsafe { device.create_shader_module_passthrough(descriptor) })
}

/// The numbers of SPIR-V's specification that the walk needs.
mod op {
    pub(super) const TYPE_STRUCT: u32 = 30;
    pub(super) const TYPE_POINTER: u32 = 32;
    pub(super) const CONSTANT: u32 = 43;
    pub(super) const FUNCTION: u32 = 54;
    pub(super) const FUNCTION_PARAMETER: u32 = 55;
    pub(super) const VARIABLE: u32 = 59;
    pub(super) const LOAD: u32 = 61;
    pub(super) const STORE: u32 = 62;
    pub(super) const COPY_MEMORY: u32 = 63;
    pub(super) const COPY_MEMORY_SIZED: u32 = 64;
    pub(super) const ACCESS_CHAIN: u32 = 65;
    pub(super) const IN_BOUNDS_ACCESS_CHAIN: u32 = 66;
    pub(super) const DECORATE: u32 = 71;
    pub(super) const CONTROL_BARRIER: u32 = 224;
    pub(super) const MEMORY_BARRIER: u32 = 225;
    pub(super) const FIRST_ATOMIC: u32 = 227;
    pub(super) const LAST_ATOMIC: u32 = 242;
    pub(super) const COOPERATIVE_MATRIX_LOAD: u32 = 4457;
    pub(super) const COOPERATIVE_MATRIX_STORE: u32 = 4458;
}
/// Storage classes.
const WORKGROUP: u32 = 4;
const STORAGE_BUFFER: u32 = 12;
const PRIVATE: u32 = 6;
const FUNCTION: u32 = 7;
const ARRAY_STRIDE: u32 = 6;
const NON_PRIVATE_POINTER: u32 = 0x20;
const NON_WRITABLE: u32 = 24;
const ACQUIRE_RELEASE_WORKGROUP: u32 = 0x8 | 0x100;
const ACQUIRE_RELEASE_BUFFERS: u32 = 0x8 | 0x40;
const MAKE_AVAILABLE_AND_VISIBLE: u32 = 0x2000 | 0x4000;
/// Words before the first instruction, the fourth of them one more than the largest id.
const HEADER: usize = 5;
const BOUND: usize = 3;

/// The instructions of a module: numbers, and words with operands from 1 on.
fn instructions(words: &[u32]) -> Result<Vec<(u32, &[u32])>, String> {
    let mut rest = words.get(HEADER..).ok_or("SPIR-V: the header is cut off")?;
    let mut all = Vec::new();
    while let Some(first) = rest.first() {
        let length = (first >> 16) as usize;
        if length == 0 || length > rest.len() {
            return Err(format!("SPIR-V: an instruction of {length} words where {} are left", rest.len()));
        }
        let (instruction, after) = rest.split_at(length);
        all.push((first & 0xffff, instruction));
        rest = after;
    }
    Ok(all)
}

/// `words` with barriers that make what they are of available and visible, with non-private accesses to workgroup memory
/// and, where there is a barrier of storage, to buffers that are written, and without strides in workgroup memory and
/// variables. It refuses what it does not know how to treat, which no kernel of ours has.
///
/// # Errors
/// What it met: a barrier that is neither one of workgroup memory nor one of storage, an atomic operation, a copy between
/// pointers, a pointer
/// from elsewhere than variables, their parts and parameters.
pub fn spell_out(words: &[u32]) -> Result<Vec<u32>, String> {
    let all = instructions(words)?;
    let mut pointer_types = HashSet::new();
    let mut pointers = HashSet::new();
    // What lies in memory without a layout of its own, but for types that lie in buffers too.
    let mut without_layout = HashSet::new();
    let mut constants = HashMap::new();
    let mut semantics = HashMap::new();
    // Buffers that are written, with their parts, and those that are not.
    let (mut buffers, mut read_only, mut storage_barrier) = (HashSet::new(), HashSet::new(), false);
    let mut bound = words[BOUND];
    let mut in_function = false;
    for &(number, instruction) in &all {
        in_function |= number == op::FUNCTION;
        match number {
            op::TYPE_POINTER if [WORKGROUP, PRIVATE, FUNCTION].contains(&instruction[2]) => {
                without_layout.insert(instruction[3]);
                if instruction[2] == WORKGROUP {
                    pointer_types.insert(instruction[1]);
                }
            }
            op::DECORATE if instruction[2] == NON_WRITABLE => {
                read_only.insert(instruction[1]);
            }
            op::VARIABLE if instruction[3] == STORAGE_BUFFER && !read_only.contains(&instruction[2]) => {
                buffers.insert(instruction[2]);
            }
            op::ACCESS_CHAIN | op::IN_BOUNDS_ACCESS_CHAIN if buffers.contains(&instruction[3]) => {
                buffers.insert(instruction[2]);
            }
            op::CONSTANT => {
                constants.insert(instruction[2], instruction[3]);
            }
            op::VARIABLE | op::FUNCTION_PARAMETER | op::ACCESS_CHAIN | op::IN_BOUNDS_ACCESS_CHAIN
                if pointer_types.contains(&instruction[1]) =>
            {
                pointers.insert(instruction[2]);
            }
            op::CONTROL_BARRIER | op::MEMORY_BARRIER => {
                let id = *instruction.last().unwrap_or(&0);
                let value = constants.get(&id).copied().unwrap_or(0);
                if value != ACQUIRE_RELEASE_WORKGROUP && value != ACQUIRE_RELEASE_BUFFERS {
                    return Err(format!(
                        "SPIR-V: a barrier with the semantics {value:#x}, neither workgroup memory's nor storage's"
                    ));
                }
                storage_barrier |= value == ACQUIRE_RELEASE_BUFFERS;
                semantics.entry(id).or_insert_with(|| {
                    bound += 1;
                    bound - 1
                });
            }
            op::COPY_MEMORY | op::COPY_MEMORY_SIZED | op::FIRST_ATOMIC..=op::LAST_ATOMIC => {
                return Err(format!("SPIR-V: instruction {number} cannot be given memory operands"));
            }
            _ if in_function && instruction.len() > 2 && pointer_types.contains(&instruction[1]) => {
                return Err(format!("SPIR-V: a pointer to workgroup memory from instruction {number}"));
            }
            _ => {}
        }
    }
    if storage_barrier {
        pointers.extend(buffers);
    }
    for (_, members) in all.iter().filter(|(number, _)| *number == op::TYPE_STRUCT) {
        without_layout.retain(|shared| !members[2..].contains(shared));
    }
    let mut out = words[..HEADER].to_vec();
    out[BOUND] = bound;
    for (number, instruction) in all {
        if number == op::DECORATE
            && instruction[2] == ARRAY_STRIDE
            && without_layout.contains(&instruction[1])
        {
            continue;
        }
        let start = out.len();
        out.extend(instruction);
        // Where the pointer stands, and where memory operands begin.
        let (pointer, operands) = match number {
            op::LOAD => (3, 4),
            op::STORE => (1, 3),
            op::COOPERATIVE_MATRIX_LOAD => (3, 6),
            op::COOPERATIVE_MATRIX_STORE => (1, 5),
            op::CONSTANT => {
                // The old one may be an index elsewhere, so there is another one beside it.
                if let Some(&id) = semantics.get(&instruction[2]) {
                    let value = instruction[3] | MAKE_AVAILABLE_AND_VISIBLE;
                    out.extend([instruction[0], instruction[1], id, value]);
                }
                continue;
            }
            op::CONTROL_BARRIER | op::MEMORY_BARRIER => {
                let last = out.len() - 1;
                if number == op::CONTROL_BARRIER {
                    // Memory as far as execution: the workgroup.
                    out[last - 1] = out[last - 2];
                }
                out[last] = semantics[&out[last]];
                continue;
            }
            _ => continue,
        };
        if !pointers.contains(&instruction[pointer]) {
            continue;
        }
        if instruction.len() < operands {
            return Err(format!("SPIR-V: instruction {number} of {} words", instruction.len()));
        }
        if instruction.len() == operands {
            out.push(0);
            out[start] += 1 << 16;
        }
        out[start + operands] |= NON_PRIVATE_POINTER;
    }
    Ok(out)
}
