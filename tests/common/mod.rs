//! What several test files share.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

pub mod folder;
pub mod golden;
pub mod hugging_face;
pub mod kernels;
pub mod program;

use wgrad::Error;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands};

/// A device, or a visible skip where a person has no adapter. In CI a missing adapter fails.
pub fn gpu() -> Option<Gpu> {
    open(GpuOptions::default())
}

/// A device with the kernels of `kind`, whatever the adapter is, and with its matrix units for f16 where the environment
/// has `WGRAD_TEST_UNITS`.
pub fn gpu_as(kind: AdapterKind) -> Option<Gpu> {
    let matrix_units = std::env::var_os("WGRAD_TEST_UNITS").map(|_| MatrixOperands::F16);
    open(GpuOptions { kind: Some(kind), matrix_units, ..Default::default() })
}

/// A device opened with `options`.
pub fn open(options: GpuOptions) -> Option<Gpu> {
    match pollster::block_on(Gpu::open(&options)) {
        Ok(gpu) => Some(gpu),
        Err(error @ Error::NoAdapter { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
