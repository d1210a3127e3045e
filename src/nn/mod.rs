//! Named parameters.

mod parameters;
mod role;

pub(crate) use parameters::ALIGNMENT;
pub use parameters::{Declaration, Parameters};
pub use role::{Division, Role};
