//! Optimizers: they read accumulated gradients and change parameters, all on the GPU.
//!
//! Every [`Optimizer`] is three things: control, which decides whether there is a step and how long its gradient may be
//! (`control.rs`); update rules, one file each (`rules/`); and [options](OptimizerOptions) by the parameters' roles.

mod check;
mod control;
mod norm;
mod optimizer;
mod options;
mod rules;
mod totals;

use crate::gpu::{KernelSpec, SharedStruct};

pub use check::{Case, cases};
pub use control::{Report, Submitted};
pub use norm::norm_recording;
pub use optimizer::Optimizer;
pub use options::OptimizerOptions;
pub use rules::{GroupOptions, Rule};
pub use totals::{Proofs, Sums, Totals};

/// All kernels, by the shader they are in, for the shader tests.
pub fn kernels() -> Vec<(&'static str, &'static [KernelSpec])> {
    let rules = Rule::ALL.iter().map(|rule| (rule.name(), rule.kernels()));
    std::iter::once(("control", control::KERNELS)).chain(rules).collect()
}

/// The structs that buffers of these kernels hold, for the shader tests.
pub fn structs() -> Vec<SharedStruct> {
    let rules = Rule::ALL.iter().flat_map(|rule| rule.structs());
    control::STRUCTS.iter().chain(rules).copied().collect()
}
