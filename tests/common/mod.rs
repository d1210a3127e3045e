//! What several test files share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stderr)]

pub mod faulty;
pub mod folder;
pub mod golden;
pub mod hub_server;
pub mod hugging_face;
pub mod kernels;
pub mod links;
pub mod pickle;
pub mod program;
pub mod pytorch;
pub mod ranks;

use std::path::{Path, PathBuf};

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
        Err(error @ Error::NoAdapter { .. }) => {
            lacks(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says aloud what a person's machine lacks. In CI that fails: it is to be had where CI runs.
pub fn lacks(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("SKIPPED: {what}");
}

/// Whether the device stores f16. In CI every adapter does but those of which `WGRAD_TEST_F16=0` says that they do not.
pub fn has_f16(gpu: &Gpu) -> bool {
    let about = gpu.capabilities();
    match std::env::var("WGRAD_TEST_F16").is_ok_and(|value| value == "0") {
        _ if about.f16 => {}
        true => eprintln!("SKIPPED: {} has no f16", about.name),
        false => lacks(&format!("{} has no f16", about.name)),
    }
    about.f16
}

/// The folder of all-MiniLM-L6-v2, which is no part of the repository.
pub fn minilm() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/minilm");
    if !path.exists() {
        lacks("all-MiniLM-L6-v2 is not here; scripts/fetch-minilm fetches it");
        return None;
    }
    Some(path)
}

/// Fills the gradients of all trained parameters with NaN: what a step does not overwrite shows.
pub fn poison_gradients(parameters: &wgrad::nn::Parameters) {
    for (name, _) in parameters.shapes() {
        let (segment, offset, elements) = parameters.locate(&name).unwrap();
        if let Some(gradients) = &parameters.segments()[segment].gradients {
            parameters.gpu().write(gradients, offset as u64 * 4, &vec![f32::NAN; elements]);
        }
    }
}
