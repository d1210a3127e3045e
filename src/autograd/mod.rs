//! Recording operations with or without a tape, and replaying the tape in reverse.

mod graph;

pub use graph::Graph;

#[cfg(test)]
mod tests;
