//! In place of `spirv.rs` where there is no Vulkan: no driver takes SPIR-V as it is.

use super::shader::Composed;
use crate::{Error, Result};

/// As in `spirv.rs`: nothing here changes a kernel.
pub const SOURCE: &str = "";

pub(super) fn offered(_: &wgpu::Adapter) -> bool {
    false
}

/// Never called, because nothing is [`offered`].
pub(super) fn module(_: &wgpu::Device, name: &str, _: &str, _: &Composed) -> Result<wgpu::ShaderModule> {
    Err(Error::Gpu {
        operation: name.into(),
        message: "expected Vulkan, found a backend without SPIR-V".into(),
    })
}
