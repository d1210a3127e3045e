//! Which commands run, what they cost, and how long each dispatch takes, by the device's own clock where it has one.
//!
//! While a profile is taken, every dispatch gets a pass of its own between two timestamps, so that neighbours no longer
//! overlap: the parts may add up to more than the whole takes without a profile.

use super::buffer::Buffer;
use super::cost::Cost;

/// What one command was, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// File and entry point of its shader, as `matmul_tiled:nt`; `clear` and `copy` have none.
    pub kernel: String,
    /// Its workgroups; zeros where it is no dispatch.
    pub groups: [u32; 3],
    /// The operations and bytes that its operation counted.
    pub cost: Cost,
    /// How long it ran; none where nobody timed it.
    pub seconds: Option<f64>,
}

/// The commands of submissions, and where the timestamps of their dispatches arrive.
pub(super) struct Profile {
    /// Whether there are timestamps.
    pub(super) timed: bool,
    pub(super) submissions: Vec<(Vec<Timing>, Option<Buffer>)>,
}
