//! A planned list of commands.

use std::fmt;
use std::sync::{Arc, Mutex};

#[cfg(not(target_arch = "wasm32"))]
use super::buffer::Region;
use super::buffer::{Buffer, Reserved};
use super::context::Gpu;
use super::cost::Cost;
use super::kernel::Kernel;
use super::pace::Pace;
use super::proof::Proof;

/// A texture that operands are copied to.
#[derive(Clone)]
pub(super) struct Operand {
    /// Its position among the texture reads of a dispatch.
    pub(super) index: usize,
    pub(super) f16: bool,
    pub(super) texture: Arc<OperandTexture>,
    pub(super) view: wgpu::TextureView,
}

/// A texture that lives on the device until its last clone is dropped.
pub(super) struct OperandTexture {
    pub(super) raw: wgpu::Texture,
    pub(super) reserved: Reserved,
}

#[cfg(target_arch = "wasm32")]
impl Drop for OperandTexture {
    /// Gives the memory back at once, as [`Buffer`] does.
    fn drop(&mut self) {
        self.raw.destroy();
    }
}

impl Operand {
    pub(super) fn rows(&self) -> u64 {
        u64::from(self.texture.raw.height())
    }
}

/// Bytes of a texel: four elements.
pub(super) fn texel_bytes(f16: bool) -> u64 {
    if f16 { 8 } else { 16 }
}

pub(super) enum Step {
    Dispatch {
        kernel: Arc<Kernel>,
        bind_group: wgpu::BindGroup,
        groups: [u32; 3],
        cost: Cost,
    },
    Clear {
        buffer: wgpu::Buffer,
        offset: u64,
        bytes: u64,
    },
    Copy {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Buffer,
        to_offset: u64,
        bytes: u64,
    },
    ToTexture {
        from: wgpu::Buffer,
        offset: u64,
        bytes: u64,
        texel: u64,
        to: wgpu::Texture,
    },
    /// The proof arrives.
    Deliver,
}

/// A planned list of commands that can run any number of times.
pub struct Recording {
    pub(super) gpu: Gpu,
    pub(super) label: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) proof: Option<Proof>,
    pub(super) pace: Mutex<Pace>,
    /// How long each command should take, in seconds.
    pub(super) expected: Vec<f64>,
    /// What is written outside of transient memory, and after how many commands.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) written: Vec<(Region, usize)>,
    pub(super) memory: Vec<Buffer>,
    pub(super) textures: Vec<Operand>,
    // Held so that they live as long as the commands that use them.
    #[allow(dead_code)]
    pub(super) params: Buffer,
    #[allow(dead_code)]
    pub(super) persistent: Vec<Buffer>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("label", &self.label)
            .field("steps", &self.steps.len())
            .field("proof", &self.proof.is_some())
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// Bytes of transient memory it holds.
    pub fn transient_bytes(&self) -> u64 {
        let textures = self.textures.iter().map(|operand| operand.texture.reserved.bytes);
        self.memory.iter().map(Buffer::bytes).chain(textures).sum()
    }

    /// How many commands one replay encodes.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Fills all transient memory with `word`; with a NaN pattern, whoever reads what nobody wrote shows.
    pub fn poison(&self, word: u32) {
        for buffer in &self.memory {
            self.gpu.write(buffer, 0, &vec![word; buffer.bytes() as usize / 4]);
        }
    }
}
