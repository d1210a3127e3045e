//! How activations are stored, as an option that several commands share.

use clap::ValueEnum;
use wgrad::gpu::{Capabilities, Gpu, GpuOptions};
use wgrad::tensor::DType;
use wgrad::train::Precision;

use super::{device, print, units};

/// On what a command computes.
#[derive(clap::Args)]
pub struct ComputeArgs {
    /// Multiply matrices on the GPU's matrix units (tensor cores, simdgroup matrices): those of f16, and on Apple's GPUs
    /// those of f32. auto: where they have passed a test of some seconds, made once for an adapter, its driver and the type.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_value_t = units::Choice::Auto, default_missing_value = "on")]
    matrix_units: units::Choice,
    /// Part of the name of the GPU to use; the strongest by default. WGRAD_ADAPTER says it for commands without this, so that
    /// each rank may have its own.
    #[arg(long, value_name = "NAME")]
    pub adapter: Option<String>,
}

impl ComputeArgs {
    /// Opens the device, and says how activations are stored there.
    pub async fn open(&self, precision: Choice) -> anyhow::Result<(Gpu, DType)> {
        let precision = precision.into();
        let gpu = device::open(&self.options(precision, None).await?).await?;
        let storage = decide(precision, gpu.capabilities()).storage();
        Ok((gpu, storage))
    }

    /// How to open the device of a command that computes in `precision` and may take `memory` bytes there.
    pub async fn options(&self, precision: Precision, memory: Option<u64>) -> anyhow::Result<GpuOptions> {
        let options = GpuOptions { memory, ..device::options(self.adapter.as_deref()) };
        units::decide(self.matrix_units, precision, &options).await
    }
}

/// The values of `--precision`.
#[derive(Debug, Clone, Copy, ValueEnum)]
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
    if let Some(said) = missing(asked, adapter) {
        print::note(format_args!("warning: {said}; f32 is used"));
    }
    asked.on(adapter)
}

/// Why f16 is not used, where that is not what was asked for or can be changed.
fn missing(asked: Precision, adapter: &Capabilities) -> Option<String> {
    if asked == Precision::F32 || adapter.f16 {
        return None;
    }
    let name = &adapter.name;
    if adapter.is_without_dxc() {
        return Some(format!(
            "dxcompiler.dll (Microsoft's DirectX Shader Compiler, 1.8.2502 or newer) was found neither beside the program \
             nor in PATH, and the compiler that Windows has instead knows no f16 on {name}: put it there"
        ));
    }
    (asked == Precision::Mixed).then(|| format!("{name} has no f16 in shaders"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On Windows, which no test runs on.
    #[test]
    fn without_dxc_f32_is_used_and_it_is_said_why() {
        let windows =
            Capabilities { name: "a GPU".into(), backend: "dx12".into(), ..Capabilities::default() };
        for asked in [Precision::Mixed, Precision::Auto] {
            assert!(missing(asked, &windows).unwrap().contains("dxcompiler.dll"));
            assert_eq!(asked.on(&windows), Precision::F32);
        }
        assert_eq!(missing(Precision::F32, &windows), None);
        // With the compiler, a GPU may have no f16 all the same.
        let with_dxc = Capabilities { subgroups: Some((32, 32)), ..windows.clone() };
        assert_eq!(missing(Precision::Auto, &with_dxc), None);
        assert_eq!(missing(Precision::Mixed, &with_dxc).unwrap(), "a GPU has no f16 in shaders");
        let vulkan = Capabilities { backend: "vulkan".into(), ..windows.clone() };
        assert_eq!(missing(Precision::Mixed, &vulkan).unwrap(), "a GPU has no f16 in shaders");
        assert_eq!(missing(Precision::Mixed, &Capabilities { f16: true, ..windows }), None);
    }
}
