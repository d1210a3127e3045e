//! How a device is opened.

use serde::{Deserialize, Serialize};

use super::choices::Choices;
use crate::{Error, Result};

/// The kinds of adapter that kernels are tuned for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub enum AdapterKind {
    /// Any GPU: workgroup memory and register tiles.
    #[default]
    #[serde(rename = "plain")]
    Gpu,
    /// A CPU that poses as a GPU (lavapipe, SwiftShader, WARP): no workgroup memory to gain from, wide
    /// register tiles, few invocations.
    #[serde(rename = "software")]
    Cpu,
}

impl std::str::FromStr for AdapterKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "software" => Ok(AdapterKind::Cpu),
            "plain" => Ok(AdapterKind::Gpu),
            _ => Err(Error::config("kind", "`plain` or `software`", name)),
        }
    }
}

/// What matrix units multiply; their sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixOperands {
    /// f16, which all units take.
    F16,
    /// f32, which Apple's take too.
    F32,
}

impl std::fmt::Display for MatrixOperands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MatrixOperands::F16 => "f16",
            MatrixOperands::F32 => "f32",
        })
    }
}

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, case ignored; none takes the strongest.
    pub adapter: Option<String>,
    /// Which one of several adapters that are alike, counted from 0 and beyond their number around: each process that trains on a
    /// machine with several GPUs takes its own.
    pub number: usize,
    /// Bytes that buffers may take in all; none leaves it to the driver.
    pub memory: Option<u64>,
    /// Tune kernels for this kind rather than for the adapter's own: tests run every row of the tables
    /// on whatever adapter is at hand.
    pub kind: Option<AdapterKind>,
    /// Multiply matrices of this type on the adapter's matrix units, where [`Capabilities::tile_of`](super::Capabilities::tile_of) it is some. wgpu calls
    /// that experimental.
    pub matrix_units: Option<MatrixOperands>,
    /// How long a submission may take, in seconds; none for 0.25. Only how commands are handed to the driver follows
    /// from it, never a result.
    pub longest_submission: Option<f64>,
    /// Leave f16 in shaders unused where the adapter has it.
    pub without_f16: bool,
    /// Bytes that one binding may take at most, as far as the adapter has them; none for WebGPU's 128 MiB, which every
    /// adapter has. Buffers may be as large, and 256 MiB anyhow.
    pub max_binding: Option<u64>,
    /// Operations per second that large matrix products reach, as [`Gpu::set_speed`](super::Gpu::set_speed); none until it is measured. Only
    /// how work is cut follows from it, never a result.
    pub speed: Option<f64>,
    /// Which forms of kernels to take, where measuring has shown which are faster on this device.
    pub choices: Choices,
    /// Let dispatches be timed ([`Gpu::start_profile`](super::Gpu::start_profile)) where the adapter has a clock for that.
    pub timestamps: bool,
    /// Count tiles of f32 as listed where the adapter is a CPU that lists others: lavapipe multiplies them all the same, and
    /// is all that there is to run such kernels on. Count tiles of f16 as listed on wgpu's `noop` adapter, which computes
    /// nothing. For tests, and for counting what a step would do.
    #[doc(hidden)]
    pub unlisted_matrix_units: bool,
    /// Convert to f16 as a driver does whose conversion saturates. For tests.
    #[doc(hidden)]
    pub saturate_f16: bool,
}
