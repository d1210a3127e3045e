//! What several test files share.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

pub mod folder;
pub mod golden;
pub mod hugging_face;

use wgrad::Error;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};

/// A device, or a visible skip where a person has no adapter. In CI a missing adapter fails.
pub fn gpu() -> Option<Gpu> {
    open(GpuOptions::default())
}

/// A device with the kernels of `kind`, whatever the adapter is.
pub fn gpu_as(kind: AdapterKind) -> Option<Gpu> {
    open(GpuOptions { kind: Some(kind), ..Default::default() })
}

/// A device opened with `options`, with its matrix units where the environment has `WGRAD_UNITS`.
pub fn open(options: GpuOptions) -> Option<Gpu> {
    let matrix_units = options.matrix_units || std::env::var_os("WGRAD_UNITS").is_some();
    let options = GpuOptions { matrix_units, ..options };
    match pollster::block_on(Gpu::open(&options)) {
        Ok(gpu) => Some(gpu),
        Err(error @ Error::NoAdapter { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
