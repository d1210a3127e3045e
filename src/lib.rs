//! GPU compute on wgpu that trains and runs BERT on any GPU.

// The made-up language and its oracle run on every core, which a page cannot.
#[cfg(not(target_arch = "wasm32"))]
pub mod data;
pub mod error;
pub mod train;
pub mod viz;

pub use error::{Error, Result};
