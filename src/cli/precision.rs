//! How activations are stored, as an option that several commands share.

use clap::ValueEnum;
use wgrad::gpu::{Capabilities, Gpu};
use wgrad::tensor::DType;
use wgrad::train::Precision;

use super::{device, print, units};

/// On what a command that runs a model computes.
#[derive(clap::Args)]
pub struct ComputeArgs {
    /// Multiply matrices of f16 on the GPU's matrix units (tensor cores, simdgroup matrices). auto: where they have passed
    /// a test of some seconds, made once for an adapter and its driver.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_value_t = units::Choice::Auto, default_missing_value = "on")]
    matrix_units: units::Choice,
    /// Part of the name of the GPU to use; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

impl ComputeArgs {
    /// Opens the device, and says how activations are stored there.
    pub async fn open(&self, precision: Choice) -> anyhow::Result<(Gpu, DType)> {
        let precision = precision.into();
        let options = device::options(self.adapter.as_deref());
        let gpu = device::open(&units::decide(self.matrix_units, precision, &options).await?).await?;
        let storage = decide(precision, gpu.capabilities()).storage();
        Ok((gpu, storage))
    }
}

/// The values of `--precision`.
#[derive(Clone, Copy, ValueEnum)]
pub enum Choice {
    /// f32.
    F32,
    /// f16; sums and weights that are trained stay f32.
    Mixed,
    /// Mixed on GPUs that have f16, f32 elsewhere.
    Auto,
}

impl Choice {
    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Choice::F32 => "f32",
            Choice::Mixed => "mixed",
            Choice::Auto => "auto",
        }
    }
}

impl From<Choice> for Precision {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::F32 => Precision::F32,
            Choice::Mixed => Precision::Mixed,
            Choice::Auto => Precision::Auto,
        }
    }
}

/// What is used on `adapter`; says so where that is not what was asked for.
pub fn decide(asked: Precision, adapter: &Capabilities) -> Precision {
    let used = asked.on(adapter);
    if (asked, used) == (Precision::Mixed, Precision::F32) {
        print::note(format_args!("warning: {} has no f16 in shaders; f32 is used", adapter.name));
    }
    used
}
