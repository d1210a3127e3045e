//! What commands cost: profiles count it, and the time that each should take follows from it.

use super::speed::OPERATIONS_PER_BYTE;

/// What a command costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Floating-point operations; 0 where nobody counted them.
    pub flops: f64,
    /// Bytes that are read and written.
    pub bytes: f64,
    /// The operations of a large matrix product that take as long, where that is not the time of the bytes.
    takes: Option<f64>,
}

impl Cost {
    /// What takes the time of reading and writing so many bytes.
    pub(super) fn of_bytes(bytes: f64) -> Self {
        Cost { flops: 0.0, bytes, takes: None }
    }

    /// The operations of a large matrix product that take as long.
    pub(super) fn operations(&self) -> f64 {
        self.takes.unwrap_or(self.bytes * OPERATIONS_PER_BYTE)
    }
}

/// The newest dispatch of a recording, to say what it costs.
#[derive(Debug)]
pub struct Dispatched<'a>(pub(super) &'a mut Cost);

impl Dispatched<'_> {
    /// Counts its floating-point operations. A function such as an exponential is one.
    pub fn flops(self, flops: f64) -> Self {
        self.0.flops = flops;
        self
    }

    /// Counts the bytes that it reads and writes. Without this, each of its bindings counts once.
    pub fn bytes(self, bytes: f64) -> Self {
        self.0.bytes = bytes;
        self
    }

    /// Says that it takes as long as so many operations of a large matrix product. Without this, its time is taken to be
    /// that of its bytes.
    pub fn takes(self, operations: f64) -> Self {
        self.0.takes = Some(operations);
        self
    }
}
