//! The sizes of a tensor's dimensions, row-major.

use std::fmt;

/// Sizes from the slowest to the fastest varying dimension.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// All sizes.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The size of the last dimension, 1 for a scalar.
    pub fn width(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// How many rows of [`Shape::width`] there are.
    pub fn rows(&self) -> usize {
        self.0[..self.0.len().saturating_sub(1)].iter().product()
    }
}

impl<const D: usize> From<[usize; D]> for Shape {
    fn from(dims: [usize; D]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
