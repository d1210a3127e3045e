//! `wgrad bench step`, `finetune` and `embed`: whole rounds of work.

use serde::Serialize;
use wgrad::autograd::Graph;
use wgrad::format::thousands;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands, Peaks};
use wgrad::ops::matmul::Layout;
use wgrad::ops::measure;
use wgrad::ops::scale::scale;
use wgrad::tensor::DType;
use wgrad::train::benchmark::{self, Work};
use wgrad::train::{Precision, Workload};

use super::profile::Profile;
use super::{Bench, noop, say};
use crate::cli::print;

#[derive(Serialize)]
pub(super) struct Step {
    precision: Precision,
    ms: f64,
    fastest_ms: f64,
    steps: usize,
    texts_per_second: f64,
    tokens_per_second: f64,
    gflops: f64,
    share: f64,
    peak_bytes: u64,
    first_step_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    submit_ms: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// What is known without a device.
#[derive(Serialize)]
pub(super) struct Recorded {
    precision: Precision,
    #[serde(flatten)]
    profile: Profile,
}

/// Operations of the matrix products in a round.
fn flops(work: Work, workload: &Workload) -> f64 {
    let body = workload.rows() as f64 * workload.model.body_flops(workload.tokens);
    match work {
        Work::Step => workload.flops(),
        Work::Finetune => body,
        // The way back has twice the products.
        Work::Embed => body / 3.0,
    }
}

/// Counts what a round would do on a GPU with these peaks, and runs nothing.
pub(super) async fn record(
    work: Work,
    workload: &Workload,
    (peaks, units): (Peaks, bool),
    tell: bool,
) -> anyhow::Result<Recorded> {
    let options = GpuOptions {
        kind: Some(AdapterKind::Gpu),
        matrix_units: (units && workload.precision == Precision::Mixed).then_some(MatrixOperands::F16),
        unlisted_matrix_units: true,
        // A slow device would be given its work in more pieces.
        speed: Some(peaks.flops.max(peaks.unit_flops)),
        max_binding: Some(u64::MAX),
        ..GpuOptions::default()
    };
    let commands = benchmark::commands(&noop::open(&options).await?, work, workload).await?;
    let recorded = Recorded { precision: workload.precision, profile: Profile::new(&commands, peaks) };
    if tell {
        print::line(recorded.profile.heading())?;
        say(&recorded.profile.rows(), 2)?;
    }
    Ok(recorded)
}

/// Bytes per second of a kernel that reads each of so many bytes and writes as many.
async fn streamed(gpu: &Gpu, bytes: u64, seconds: f64) -> wgrad::Result<f64> {
    let buffer = gpu.buffer("what is streamed", bytes)?;
    let mut graph = Graph::inference(gpu);
    let x = graph.input(&buffer, [bytes as usize / 4], DType::F32)?;
    scale(&mut graph, &x, 2.0)?;
    let recording = graph.finish(gpu, "a stream")?;
    Ok(2.0 * bytes as f64 / measure::seconds(gpu, &recording, &buffer, seconds).await?)
}

/// The most that a device was seen to do: its fastest product, that on its matrix units, and the faster of a copy and of a
/// kernel that goes through memory once.
async fn measured(gpu: &Gpu, peak: f64, seconds: f64) -> wgrad::Result<Peaks> {
    let size = if gpu.capabilities().kind == AdapterKind::Cpu { 1024 } else { 4096 };
    let unit_flops = match gpu.capabilities().matrix_operands {
        Some(MatrixOperands::F16) => {
            measure::matmul_stored(gpu, Layout::Nt, DType::F16, [size; 3], seconds).await?
        }
        _ => peak,
    };
    // More than what most caches hold.
    let bytes = gpu.capabilities().max_binding.min(256 << 20);
    let copied = 1e9 * measure::copy(gpu, bytes, seconds).await?;
    let bytes = copied.max(streamed(gpu, bytes, seconds).await?);
    Ok(Peaks { flops: 1e9 * peak, unit_flops: 1e9 * unit_flops, bytes })
}

pub(super) async fn run(bench: &Bench, work: Work) -> anyhow::Result<Step> {
    let workload = &bench.workload;
    let mut number = 0;
    let speed = benchmark::rounds(&bench.gpu, work, workload, bench.seconds, 1, bench.profile, |seconds| {
        number += 1;
        if bench.tell && seconds > 1.0 {
            print::note(format_args!("round {number} took {seconds:.1} s"));
        }
    })
    .await?;
    let profile = match bench.profile {
        false => None,
        true => {
            let peaks = match bench.given {
                Some(peaks) => peaks,
                None => measured(&bench.gpu, bench.peak, bench.seconds.min(0.5)).await?,
            };
            Some(Profile::new(&speed.profile, peaks))
        }
    };
    let seconds = speed.median();
    let flops = flops(work, workload);
    let gflops = flops / seconds / 1e9;
    let step = Step {
        precision: workload.precision,
        ms: 1e3 * seconds,
        fastest_ms: 1e3 * speed.rounds.iter().copied().fold(f64::INFINITY, f64::min),
        steps: speed.rounds.len(),
        texts_per_second: workload.sequences as f64 / seconds,
        tokens_per_second: workload.rows() as f64 / seconds,
        gflops,
        share: gflops / bench.peak,
        peak_bytes: speed.peak_bytes,
        first_step_s: speed.first,
        submit_ms: speed.submit.map(|seconds| 1e3 * seconds),
        profile,
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let (gflop, peak_mb) = (flops / 1e9, step.peak_bytes as f64 / 1e6);
    let mut rows = vec![
        row("round", format!("{:.1} ms (median of {}, fastest {:.1})", step.ms, step.steps, step.fastest_ms)),
        row("texts", format!("{} per second", thousands(step.texts_per_second as u64))),
        row("tokens", format!("{} per second", thousands(step.tokens_per_second as u64))),
        row(
            "speed",
            format!("{:.1} GFLOP/s ({gflop:.1} a round), {:.2} of the peak", step.gflops, step.share),
        ),
        row("memory", format!("{peak_mb:.1} MB at most")),
        row("first round", format!("{:.2} s with making the model and compiling", step.first_step_s)),
    ];
    rows.extend(step.submit_ms.map(|ms| row("submitted", format!("after {ms:.2} ms"))));
    bench.say(&rows, usize::MAX)?;
    if let Some(profile) = &step.profile {
        bench.say(&[vec![], vec![profile.heading()]], usize::MAX)?;
        bench.say(&profile.rows(), 2)?;
    }
    Ok(step)
}
