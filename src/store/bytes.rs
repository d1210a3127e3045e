//! The bytes of a file, wherever it lies.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes that are mapped from a disk or held in memory.
#[derive(Debug)]
pub struct Bytes(Source);

#[derive(Debug)]
enum Source {
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::Mmap),
    Shared(Arc<Vec<u8>>),
}

#[cfg(not(target_arch = "wasm32"))]
impl From<memmap2::Mmap> for Bytes {
    fn from(map: memmap2::Mmap) -> Self {
        Bytes(Source::Mapped(map))
    }
}

impl From<Arc<Vec<u8>>> for Bytes {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Bytes(Source::Shared(bytes))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Arc::new(bytes).into()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            #[cfg(not(target_arch = "wasm32"))]
            Source::Mapped(map) => map,
            Source::Shared(bytes) => bytes,
        }
    }
}
