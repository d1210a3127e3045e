//! The device: opening it, compiling shaders, recording commands, planning memory, reading back.
//!
//! This floor knows wgpu and nothing of tensors or machine learning.

mod buffer;
mod capabilities;
mod choices;
mod compile;
mod context;
mod cost;
#[cfg(not(target_arch = "wasm32"))]
mod early;
mod finish;
mod kernel;
mod lock;
mod options;
mod pace;
mod plan;
mod profile;
mod proof;
mod readback;
mod recorder;
mod recording;
mod replay;
pub mod shader;
mod speed;
#[doc(hidden)]
#[cfg_attr(any(target_arch = "wasm32", target_vendor = "apple"), path = "no_spirv.rs")]
pub mod spirv;
mod split;
mod submission;
mod submit;
mod target;
mod timer;

pub use buffer::{Buffer, Region};
pub use capabilities::Capabilities;
pub(crate) use capabilities::{UNITS_BUFFERS, UNITS_MEMORY};
pub use choices::Choices;
pub use context::Gpu;
pub use cost::{Cost, Dispatched, Peaks};
#[cfg(not(target_arch = "wasm32"))]
pub use early::Part;
pub use kernel::{Field, Kernel, KernelSpec, ParamsLayout, SharedStruct, TEXELS, params, shared};
pub use options::{AdapterKind, GpuOptions, MatrixOperands};
pub use profile::Timing;
pub use readback::ReadBack;
pub use recorder::{BufferId, Recorder, View};
pub use recording::Recording;
pub(crate) use shader::not_in_pages;
pub use shader::{Constant, F16, OUT_F16, Source, TILE, shader};
#[doc(hidden)]
pub use shader::{bare_length, without_comments};

pub use speed::LONGEST_DISPATCH;
pub(crate) use speed::OPERATIONS_PER_BYTE;
pub(crate) use split::split;
pub use submission::LONGEST_SUBMISSION;
pub use target::Target;

/// Workgroups for `items` invocations of `workgroup` each, folded into two dimensions where one would
/// exceed WebGPU's 65535. Shaders undo the fold with `lib/grid`.
pub fn grid(items: usize, workgroup: u32) -> [u32; 3] {
    const MAX: usize = recorder::MAX_GROUPS as usize;
    let groups = items.div_ceil(workgroup as usize).max(1);
    if groups <= MAX {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(MAX);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn grid_covers_all_items_within_the_limit() {
        for items in [0, 1, 63, 64, 65, 65535 * 64, 65535 * 64 + 1, 1 << 30] {
            let [x, y, z] = grid(items, 64);
            assert!(x <= 65535 && y <= 65535 && z == 1 && x >= 1);
            assert!(x as usize * y as usize * 64 >= items);
        }
    }
}
