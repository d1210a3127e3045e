//! What commands cost: profiles count it, and the time that each should take follows from it.

use super::speed::OPERATIONS_PER_BYTE;

/// What a command costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Floating-point operations; 0 where nobody counted them.
    pub flops: f64,
    /// Bytes that are read and written.
    pub bytes: f64,
    /// Whether its products are computed by matrix units.
    pub units: bool,
    /// Whether the operation said what it reads and writes; else each binding was counted once.
    pub stated: bool,
    /// The operations of a large matrix product that take as long, where that is not the time of the bytes.
    takes: Option<f64>,
}

impl Cost {
    /// What takes the time of reading and writing so many bytes.
    pub(super) fn of_bytes(bytes: f64) -> Self {
        Cost { flops: 0.0, bytes, units: false, stated: false, takes: None }
    }

    /// The same of a command that touches what its views say and nothing else.
    pub(super) fn of_transfer(bytes: f64) -> Self {
        Cost { stated: true, ..Cost::of_bytes(bytes) }
    }

    /// The operations of a large matrix product that take as long.
    pub(super) fn operations(&self) -> f64 {
        self.takes.unwrap_or(self.bytes * OPERATIONS_PER_BYTE)
    }
}

/// The most that a device can do: its own limits, or what was measured of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Floating-point operations per second.
    pub flops: f64,
    /// The same on matrix units.
    pub unit_flops: f64,
    /// Bytes per second to and from memory.
    pub bytes: f64,
}

impl Peaks {
    /// How many seconds something of this cost takes at least: those of its operations or of its bytes, whichever are more
    /// (the roofline of Williams, Waterman & Patterson 2009). Nothing is taken to stay in a cache between two dispatches.
    pub fn seconds(&self, cost: &Cost) -> f64 {
        let flops = if cost.units { self.unit_flops } else { self.flops };
        (cost.flops / flops).max(cost.bytes / self.bytes)
    }

    /// Whether it is the operations that limit something of this cost.
    pub fn computes(&self, cost: &Cost) -> bool {
        self.seconds(cost) > cost.bytes / self.bytes
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

    /// Counts the bytes that it has to read and to write: each once, however often it does so.
    pub fn bytes(self, bytes: f64) -> Self {
        (self.0.bytes, self.0.stated) = (bytes, true);
        self
    }

    /// Says that it reads or writes each of its bindings whole, and nothing both ways. That is what counts where nobody says
    /// anything.
    pub fn once(self) -> Self {
        self.once_and(0.0)
    }

    /// Says that it reads or writes each of its bindings whole, and so many bytes of them both ways.
    pub fn once_and(self, bytes: f64) -> Self {
        let bindings = self.0.bytes;
        self.bytes(bindings + bytes)
    }

    /// Says that it takes as long as so many operations of a large matrix product. Without this, its time is taken to be
    /// that of its bytes.
    pub fn takes(self, operations: f64) -> Self {
        self.0.takes = Some(operations);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roofline_is_that_of_operations_or_of_bytes() {
        let peaks = Peaks { flops: 10.0, unit_flops: 40.0, bytes: 2.0 };
        let cost = |flops, units| Cost { flops, units, ..Cost::of_bytes(6.0) };
        assert_eq!((peaks.seconds(&cost(20.0, false)), peaks.computes(&cost(20.0, false))), (3.0, false));
        assert_eq!((peaks.seconds(&cost(80.0, false)), peaks.computes(&cost(80.0, false))), (8.0, true));
        assert_eq!((peaks.seconds(&cost(80.0, true)), peaks.computes(&cost(80.0, true))), (3.0, false));
        assert_eq!((peaks.seconds(&cost(160.0, true)), peaks.computes(&cost(160.0, true))), (4.0, true));
    }

    #[test]
    fn bytes_are_stated_or_those_of_the_bindings() {
        let mut cost = Cost::of_bytes(6.0);
        Dispatched(&mut cost).flops(1.0);
        assert_eq!((cost.bytes, cost.stated), (6.0, false));
        Dispatched(&mut cost).once_and(4.0);
        assert_eq!((cost.bytes, cost.stated), (10.0, true));
        Dispatched(&mut cost).bytes(3.0);
        assert_eq!((cost.bytes, cost.stated), (3.0, true));
    }
}
