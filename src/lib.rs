//! GPU compute on wgpu that trains and runs BERT on any GPU.

pub mod data;
pub mod error;
pub mod text;

mod hash;

pub use error::{Error, Result};
