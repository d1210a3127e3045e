//! `wgrad bench`

mod attention;
mod gemm;
mod replay;
mod step;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use wgrad::gpu::{Capabilities, Gpu, GpuOptions};
use wgrad::ops::measure;
use wgrad::train::Workload;

use super::precision::{self, Choice};
use super::{device, print, units};

const HELP: &str = "\
What is measured:
  gemm       the matrix products of the workload's linear layers: forward (nt),
             gradients of inputs (nn) and of weights (tn); or square ones (--size)
  attention  one layer's attention in both forms, forward alone and with its
             gradients, at the workload's length and at 512 tokens
  step       whole training steps
  replay     the CPU's part of a step, encoding and submitting, on a device that
             computes nothing

Workloads:
  tiny       4 layers, width 256, 4 heads, vocabulary 8192, 16 x 128 tokens of
             which 293 are guessed, AdamW
  base       12 layers, width 768, 12 heads, vocabulary 32768, 32 x 128 tokens
             of which 608 are guessed, AdamW: the preset notebook

`share` is of the adapter's peak: its fastest large square matrix product in f32,
which is measured first; f16 may go beyond 1. FLOPs are those of matrix products.

JSON: {wgrad, bench, workload, sequences, device, driver, peak_gflops, ...}, for replay
without device, driver and peak
  gemm       precision, shapes: [{layout, m, n, k, ms, gflops, share}],
             geometric_mean: {nt, nn, tn, all} in GFLOP/s
  attention  shapes: [{form, chosen, sequences, tokens, heads, head_size, pass, ms, gflops,
             share}], where pass is forward or both
  step       precision (the one used), ms (median), fastest_ms, steps,
             tokens_per_second, gflops, share, peak_bytes, first_step_s (making
             the model, compiling, one step), submit_ms (until a step is handed to the driver; a driver that
             computes meanwhile, as lavapipe does, makes it longer), profile (with
             --profile): [{kernel, groups, count, ms, gflops}], the slowest first: the
             time of all dispatches of a kernel with so many workgroups in a step, and
             the speed of what they count as operations
  replay     kinds: [{kind, ms (median), fastest_ms, steps}]

Examples:
  wgrad bench gemm --workload tiny
  wgrad bench gemm --size 4096 --precision mixed --matrix-units
  wgrad bench step --workload base --adapter nvidia --seconds 30 --json
  wgrad bench step --precision mixed --profile";

/// Measure how fast the GPU is at what training is made of.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// The sizes.
    #[arg(long, value_enum, default_value_t = Sizes::Tiny)]
    workload: Sizes,
    /// How long each figure is measured; one round at least. 0.5, or 10 for step, by default.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
    /// Sequences of a step instead of the workload's; the guessed tokens grow alike.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    sequences: Option<u16>,
    /// For gemm: products of N x N matrices instead of the workload's; a multiple of 4.
    #[arg(long, value_name = "N", value_parser = multiple_of_4)]
    size: Option<usize>,
    /// How a step stores activations, and gemm its matrices.
    #[arg(long, value_enum, default_value_t = Choice::F32)]
    precision: Choice,
    /// Multiply matrices on the GPU's matrix units (tensor cores, simdgroup matrices): those of f16, and on Apple's GPUs
    /// those of f32. auto: where they have passed a test of some seconds, made once for an adapter, its driver and the type.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_value_t = units::Choice::Auto, default_missing_value = "on")]
    matrix_units: units::Choice,
    /// For step: time each kernel of one more step, where the GPU has timestamps.
    #[arg(long)]
    profile: bool,
    /// Part of the name of the GPU to measure; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Gemm,
    Attention,
    Step,
    Replay,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Sizes {
    Tiny,
    Base,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..1e6).contains(seconds));
    seconds.ok_or_else(|| "expected a number of seconds".to_owned())
}

fn multiple_of_4(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size: &usize| (4..1 << 20).contains(size) && size.is_multiple_of(4));
    size.ok_or_else(|| "expected a multiple of 4".to_owned())
}

/// What every report begins with.
#[derive(Serialize)]
struct Head {
    wgrad: &'static str,
    bench: What,
    workload: Sizes,
    /// B.
    sequences: usize,
    #[serde(flatten)]
    adapter: Option<Adapter>,
}

#[derive(Serialize)]
struct Adapter {
    device: String,
    driver: String,
    peak_gflops: f64,
}

/// A report with its head.
#[derive(Serialize)]
struct Report<T> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    body: T,
}

/// One measurement's surroundings.
struct Bench {
    gpu: Gpu,
    workload: Workload,
    seconds: f64,
    /// GFLOP/s.
    peak: f64,
    /// Whether people read the output.
    tell: bool,
    /// Whether a step is timed kernel by kernel.
    profile: bool,
}

impl Bench {
    fn say(&self, rows: &[Vec<String>], right: usize) -> anyhow::Result<()> {
        if self.tell { say(rows, right) } else { Ok(()) }
    }
}

/// Prints rows for people, the columns from `right` on flush right.
fn say(rows: &[Vec<String>], right: usize) -> anyhow::Result<()> {
    print::table(rows, right).into_iter().try_for_each(print::line)
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    pollster::block_on(benchmark(args))
}

async fn benchmark(args: &Args) -> anyhow::Result<()> {
    let mut workload = Workload::named(match args.workload {
        Sizes::Tiny => "tiny",
        Sizes::Base => "base",
    })?;
    if let Some(sequences) = args.sequences {
        workload = workload.with_sequences(sequences.into());
    }
    let version = env!("CARGO_PKG_VERSION");
    let (bench, sequences) = (args.what, workload.sequences);
    let head = |adapter| Head { wgrad: version, bench, workload: args.workload, sequences, adapter };
    if args.what == What::Replay {
        return report(args, head(None), replay::run(&workload, !args.json).await?);
    }
    let options = GpuOptions { timestamps: args.profile, ..device::options(args.adapter.as_deref()) };
    let options = units::decide(args.matrix_units, args.precision.into(), &options).await?;
    let seconds = args.seconds.unwrap_or(if args.what == What::Step { 10.0 } else { 0.5 });
    // A device of its own, so that nothing of it counts among the bytes of the measurement.
    let peak = measure::matmul_peak(&Gpu::open(&options).await?, seconds.min(0.5)).await?;
    let gpu = device::open(&options).await?;
    workload.precision = precision::decide(args.precision.into(), gpu.capabilities());
    let Capabilities { name: device, driver, .. } = gpu.capabilities().clone();
    let bench = Bench { gpu, workload, seconds, peak, tell: !args.json, profile: args.profile };
    let rows = [
        vec!["adapter".into(), format!("{device} ({driver})")],
        vec!["peak".into(), format!("{peak:.1} GFLOP/s")],
        vec![],
    ];
    bench.say(&rows, usize::MAX)?;
    let head = head(Some(Adapter { device, driver, peak_gflops: peak }));
    match args.what {
        What::Gemm => report(args, head, gemm::run(&bench, args.size).await?),
        What::Attention => report(args, head, attention::run(&bench).await?),
        _ => report(args, head, step::run(&bench).await?),
    }
}

/// Prints the report for programs; people have read theirs.
fn report(args: &Args, head: Head, body: impl Serialize) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    print::line(serde_json::to_string(&Report { head, body }).context("the report as JSON")?)
}
