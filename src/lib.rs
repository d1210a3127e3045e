//! GPU compute on wgpu that trains and runs BERT on any GPU.

pub mod bert;
pub mod checkpoint;
pub mod error;
pub mod gpu;

pub use error::{Error, Result};
