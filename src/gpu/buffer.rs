//! Memory on a device.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A buffer that lives on the device until its last clone is dropped.
#[derive(Clone)]
pub struct Buffer(pub(super) Arc<Allocation>);

pub(super) struct Allocation {
    pub(super) raw: wgpu::Buffer,
    pub(super) _reserved: Reserved,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("bytes", &self.0.raw.size()).finish_non_exhaustive()
    }
}

#[cfg(target_arch = "wasm32")]
impl Drop for Allocation {
    /// Gives the memory back at once: a browser would keep it until its garbage collector comes by, which knows nothing
    /// of how much it is. What was submitted before still runs.
    fn drop(&mut self) {
        self.raw.destroy();
    }
}

/// Bytes that count as allocated while this lives.
pub(super) struct Reserved {
    pub(super) bytes: u64,
    pub(super) allocated: Arc<AtomicU64>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.allocated.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Buffer {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.raw.size()
    }
}

/// A range of a [`Buffer`], in bytes; its offset is a multiple of 256.
#[derive(Debug, Clone)]
pub struct Region {
    /// The buffer.
    pub buffer: Buffer,
    /// Where the range begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl From<&Buffer> for Region {
    fn from(buffer: &Buffer) -> Self {
        Region { buffer: buffer.clone(), offset: 0, bytes: buffer.bytes() }
    }
}
