//! `wgrad doctor --tune`: which forms of kernels this device is faster with.

use serde::Serialize;
use wgrad::gpu::{Choices, Gpu, GpuOptions};
use wgrad::tensor::DType;
use wgrad::train::tune::{Trial, tune, workload};
use wgrad::train::{Precision, Workload};

use super::super::{device, print, tuned, units};
use super::word;

/// Steps with each form are measured for about so long, and so many at least, twice.
const SECONDS: f64 = 1.0;
const STEPS: usize = 3;

/// What was found for one type of activations.
#[derive(Serialize)]
pub struct Found {
    storage: DType,
    choices: Choices,
    trials: Vec<Measured>,
}

/// Steps with one form.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    form: &'static str,
    tokens: usize,
    ms: [f64; 2],
    taken: bool,
}

impl From<&Trial> for Measured {
    fn from(trial: &Trial) -> Self {
        Measured {
            name: trial.choice.name,
            form: trial.form,
            tokens: trial.tokens,
            ms: trial.seconds.map(|seconds| 1e3 * seconds),
            taken: trial.taken,
        }
    }
}

/// The preset whose shapes are measured where none is named.
fn default_preset(gpu: &Gpu) -> &'static str {
    match gpu.capabilities().kind {
        wgrad::gpu::AdapterKind::Gpu => "notebook",
        wgrad::gpu::AdapterKind::Cpu => "micro",
    }
}

/// Measures steps of a preset in f32, and mixed where the device has f16, and keeps what is chosen, unless it was measured in a
/// hurry (`quick`). For people, `tell` each choice when it is made.
pub async fn run(
    gpu: &Gpu,
    options: &GpuOptions,
    preset: Option<&str>,
    quick: bool,
    tell: bool,
) -> anyhow::Result<Vec<Found>> {
    let preset = preset.unwrap_or_else(|| default_preset(gpu));
    let shapes = workload(preset, gpu.capabilities().kind)?;
    let effort = if quick { (0.0, 1) } else { (SECONDS, STEPS) };
    let mut all = Vec::new();
    if tell {
        print::line("")?;
        print::line(format_args!("steps of {preset}, {} rows", shapes.rows()))?;
    }
    let mixed = (Precision::Mixed.on(gpu.capabilities()) == Precision::Mixed).then_some(Precision::Mixed);
    for precision in [Precision::F32].into_iter().chain(mixed) {
        let storage = precision.storage();
        let options = GpuOptions { max_binding: Some(u64::MAX), ..options.clone() };
        let options = units::decide(units::Choice::Auto, precision, &options).await?;
        let open = async |choices: &Choices| {
            device::open(&GpuOptions { choices: choices.clone(), ..options.clone() }).await
        };
        let workload = Workload { precision, ..shapes.clone() };
        let found = tune(open, &workload, effort, |trials| {
            let line = say(storage, trials);
            if tell {
                // What cannot be written is told by what follows.
                let _ = print::line(line);
            }
        })
        .await?;
        if !quick {
            tuned::keep(&Gpu::chosen(&options).await?, precision, &found.choices);
        }
        let trials = found.trials.iter().map(Measured::from).collect();
        all.push(Found { storage, choices: found.choices, trials });
    }
    Ok(all)
}

/// `f32, attention to fewer than 256 tokens (128 tokens): unfused 12.1 and 12.3 ms, fused 9.8 and 9.7 ms: fused`.
fn say(storage: DType, trials: &[Trial; 2]) -> String {
    let time = |trial: &Trial| {
        let [first, second] = trial.seconds.map(|seconds| 1e3 * seconds);
        format!("{} {first:.1} and {second:.1} ms", trial.form)
    };
    let taken = trials.iter().find(|trial| trial.taken).map_or("", |trial| trial.form);
    let [first, second] = [time(&trials[0]), time(&trials[1])];
    let [choice, tokens] = [trials[0].choice.what.to_owned(), trials[0].tokens.to_string()];
    format!("{}, {choice} ({tokens} tokens): {first}, {second}: {taken}", word(storage))
}
