//! What a recording is made for.

use super::capabilities::Capabilities;
use super::context::Gpu;
use super::speed::{Speed, most_operations};

/// The limits and the speed that a recording is made for: all that recording needs to know of a device, so that it can be
/// done, looked at and planned where there is none.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// What the device offers.
    pub capabilities: Capabilities,
    /// How many operations per second large matrix products are taken to reach there.
    pub speed: f64,
}

impl Target {
    /// The most operations that one dispatch should hold.
    pub fn most_operations(&self) -> f64 {
        most_operations(self.speed)
    }
}

impl From<&Gpu> for Target {
    fn from(gpu: &Gpu) -> Self {
        Target { capabilities: gpu.capabilities().clone(), speed: gpu.speed() }
    }
}

impl From<Capabilities> for Target {
    /// A device of this kind whose speed nobody has measured.
    fn from(capabilities: Capabilities) -> Self {
        Target { speed: Speed::new(None, capabilities.kind).get(), capabilities }
    }
}
