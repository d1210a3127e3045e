//! How fast a device is taken to be, and how much one dispatch may hold for that.
//!
//! Only how work is cut into dispatches and submissions follows from it, never what is computed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::options::AdapterKind;

/// No dispatch should take longer, in seconds: a desktop shares its device with what runs, and some drivers end it.
pub const LONGEST_DISPATCH: f64 = 0.1;

/// Dispatches are sized for this part of it, as not all products are as fast as the one that was measured.
const MARGIN: f64 = 0.5;

/// Operations that go by while a byte is read or written: few for a CPU, and more for most GPUs.
pub(crate) const OPERATIONS_PER_BYTE: f64 = 16.0;

/// Operations per second of matrix products, and whether somebody knows them.
pub(super) struct Speed {
    /// The bits of an f64; 0 until it is known.
    known: AtomicU64,
    assumed: f64,
}

impl Speed {
    /// The given speed, or one below what adapters of the kind reach: dispatches are then rather too short than too long.
    pub(super) fn new(given: Option<f64>, kind: AdapterKind) -> Self {
        let assumed = match kind {
            AdapterKind::Cpu => 5e9,
            AdapterKind::Gpu => 100e9,
        };
        Speed { known: AtomicU64::new(given.map_or(0, f64::to_bits)), assumed }
    }

    /// Operations per second.
    pub(super) fn get(&self) -> f64 {
        if self.is_known() { f64::from_bits(self.known.load(Ordering::Relaxed)) } else { self.assumed }
    }

    /// Whether it was given or measured rather than assumed.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed) != 0
    }

    /// Replaces the speed.
    pub(super) fn set(&self, operations: f64) {
        let operations = if operations.is_finite() { operations.max(1e6) } else { 1e6 };
        self.known.store(operations.to_bits(), Ordering::Relaxed);
    }
}

/// The most operations that one dispatch should hold on a device of this speed.
pub(super) fn most_operations(speed: f64) -> f64 {
    MARGIN * LONGEST_DISPATCH * speed
}
