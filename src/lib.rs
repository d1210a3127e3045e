//! GPU compute on wgpu that trains and runs BERT on any GPU.

pub mod autograd;
pub mod bert;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod shape;
pub mod tensor;
pub mod text;
pub mod train;
pub mod viz;

mod hash;

pub use error::{Error, Result};
