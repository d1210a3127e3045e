//! Optimizers: they read accumulated gradients and change parameters, all on the GPU.

mod adamw;
mod check;
mod totals;

pub use adamw::{AdamW, AdamWOptions, KERNELS, Report, norm_recording};
pub use check::{Case, cases};
pub use totals::{Sums, Tickets, Totals};
