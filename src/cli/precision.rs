//! How activations are stored, as an option that several commands share.

use clap::ValueEnum;
use wgrad::gpu::Capabilities;
use wgrad::train::Precision;

use super::print;

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
