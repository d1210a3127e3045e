//! GPU compute on wgpu that trains and runs BERT on any GPU.

pub mod autograd;
pub mod bert;
pub mod checkpoint;
pub mod error;
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
