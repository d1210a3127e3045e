//! Named parameters.

mod parameters;

pub use parameters::{Declaration, Parameters};
