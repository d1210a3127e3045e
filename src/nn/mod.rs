//! Named parameters.

mod parameters;

pub(crate) use parameters::ALIGNMENT;
pub use parameters::{Declaration, Parameters};
