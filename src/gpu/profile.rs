//! How long each dispatch takes, by the device's own clock.
//!
//! While a profile is taken, every dispatch gets a pass of its own between two timestamps, so that neighbours no longer
//! overlap: the parts may add up to more than the whole takes without a profile.

use super::buffer::Buffer;
use super::cost::Cost;

/// What one dispatch took.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// File and entry point of its shader, as `matmul_tiled:nt`.
    pub kernel: String,
    /// Its workgroups.
    pub groups: [u32; 3],
    /// The operations and bytes that its operation counted.
    pub cost: Cost,
    /// How long it ran.
    pub seconds: f64,
}

/// Timed dispatches of submissions, and where their timestamps arrive.
#[derive(Default)]
pub(super) struct Profile(pub(super) Vec<(Vec<Timing>, Buffer)>);
