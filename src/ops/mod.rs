//! Operations: one file each here, and a shader of the same stem where it has kernels.
//!
//! An operation checks shapes, appends its forward dispatches and leaves its backward on the tape. Beside it
//! stand the [`Case`]s that compare it with an f64 reference on the CPU: the tests and `wgrad doctor` run
//! them.

pub mod check;
pub mod choices;
pub mod elementwise;
pub mod measure;
mod pieces;
pub mod probe;
mod rows;
mod units;

pub use check::Case;

use crate::gpu::KernelSpec;

/// What the tests and `wgrad doctor` know of an operation.
#[derive(Debug)]
pub struct Operation {
    /// Its name: the stem of its files.
    pub name: &'static str,
    /// Its kernels.
    pub kernels: &'static [KernelSpec],
    /// Comparisons with the reference.
    pub cases: fn() -> Vec<Case>,
}

/// Declares the modules and collects them for [`all`].
macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
        $($(#[doc = $doc])* pub mod $name;)+

        /// Every operation.
        pub fn all() -> Vec<Operation> {
            vec![$(Operation {
                name: stringify!($name),
                kernels: $name::KERNELS,
                cases: $name::cases,
            }),+]
        }
    };
}

operations! {
    activation,
    add,
    attention,
    binary_cross_entropy,
    concat_rows,
    cross_entropy,
    dropout,
    embedding,
    gated,
    gather_rows,
    gelu,
    layer_norm,
    linear_cross_entropy,
    matmul,
    normalize,
    pool_rows,
    position_bias,
    reduce,
    rotary,
    scale,
    squared_error,
    tanh,
}
