//! How commands open a device.

use wgrad::Result;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::ops::measure::settle_speed;

use super::launcher;

/// The options of a device on the adapter whose name has `adapter` in it, the strongest by default: whatever was trained
/// there can be run there, so every command asks for the largest bindings that the adapter has. Of several that are alike
/// each process of a machine that MPI started takes another.
pub fn options(adapter: Option<&str>) -> GpuOptions {
    GpuOptions {
        adapter: adapter.map(str::to_owned).or_else(|| std::env::var("WGRAD_ADAPTER").ok()),
        number: launcher::local_rank(),
        max_binding: Some(u64::MAX),
        ..GpuOptions::default()
    }
}

/// Opens a device and measures its speed, by which everything that is recorded on it is cut.
///
/// # Errors
/// As [`Gpu::open`] and [`settle_speed`].
pub async fn open(options: &GpuOptions) -> Result<Gpu> {
    let gpu = Gpu::open(options).await?;
    settle_speed(&gpu).await?;
    Ok(gpu)
}
