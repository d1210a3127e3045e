//! Optimizers: they read accumulated gradients and change parameters, all on the GPU.

mod adamw;
mod totals;

pub use adamw::{AdamW, AdamWOptions, KERNELS, Report};
pub use totals::{Sums, Tickets, Totals};
