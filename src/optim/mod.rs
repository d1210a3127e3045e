//! Optimizers: they read accumulated gradients and change parameters, all on the GPU.

mod adamw;

pub use adamw::{AdamW, AdamWOptions, KERNELS, Report, Totals};
