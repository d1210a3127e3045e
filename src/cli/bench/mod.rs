//! `wgrad bench`

mod attention;
mod gemm;
mod noop;
mod profile;
mod replay;
mod step;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use wgrad::gpu::{Capabilities, Gpu, GpuOptions, Peaks};
use wgrad::ops::measure;
use wgrad::train::benchmark::Work;
use wgrad::train::{Precision, Workload};

use super::precision::{self, Choice};
use super::{device, print, units};

const HELP: &str = "\
What is measured:
  gemm       the matrix products of the workload's linear layers: forward (nt),
             gradients of inputs (nn) and of weights (tn); or square ones (--size)
  attention  one layer's attention in both forms, forward alone and with its
             gradients, at the workload's length and at 512 tokens
  step       whole training steps
  finetune   whole steps of finetuning on two classes, with dropout of 0.1
  embed      vectors of the workload's texts: the mean over the tokens
  replay     the CPU's part of a step, encoding and submitting, on a device that
             computes nothing

Workloads:
  tiny       4 layers, width 256, 4 heads, vocabulary 8192, 16 x 128 tokens of
             which 293 are guessed, AdamW
  base       12 layers, width 768, 12 heads, vocabulary 32768, 32 x 128 tokens
             of which 608 are guessed, AdamW: the preset notebook

`share` is of the adapter's peak: its fastest large square matrix product in f32,
which is measured first; f16 may go beyond 1. FLOPs are those of matrix products.

With --profile a round is taken apart by kernel and size: how many dispatches, their
operations, the bytes that they have to read and write at least, and the least time that
the adapter would need: its fastest product in f32 and on matrix units and its fastest
pass through memory are measured for that, or given by --as. Where the GPU has timestamps each dispatch is
timed, and those come first that lose most; one at a time they may add up to more than
the round takes. With --as and without --profile nothing is run or opened: the round is
recorded for a GPU of these figures (operations per second in f32, on matrix units, and
bytes per second), in f16 and on the units with --precision mixed.

JSON: {wgrad, bench, workload, sequences, device, driver, peak_gflops, ...}, for replay
and for --as without --profile without device, driver and peak
  gemm       precision, shapes: [{layout, m, n, k, ms, gflops, share}],
             geometric_mean: {nt, nn, tn, all} in GFLOP/s
  attention  precision, shapes: [{form, chosen, sequences, tokens, heads, head_size, pass, ms, gflops,
             share}], where pass is forward or both
  step, finetune, embed
             precision (the one used), ms (median), fastest_ms, steps, texts_per_second,
             tokens_per_second, gflops, share, peak_bytes, first_step_s (making
             the model, compiling, one round), submit_ms (until a step is handed to the driver; a driver that
             computes meanwhile, as lavapipe does, makes it longer; not for embed)
             With --profile or --as also
             peaks: {gflops, unit_gflops, gbps}
             profile: [{kernel, groups (zeros for clear and copy), count, flops, bytes,
             units (whether on matrix units), limit (compute or memory), roofline_ms (the
             least time), ms, gflops, share (of the least time), lost_ms}], of all
             dispatches of a kernel and size together; the last four where they were timed
             totals: {dispatches, transfers (clears and copies), flops, bytes,
             roofline_ms, ms (where timed)}
  replay     kinds: [{kind, ms (median), fastest_ms, steps}]

Examples:
  wgrad bench gemm --workload tiny
  wgrad bench gemm --size 4096 --precision mixed --matrix-units
  wgrad bench step --workload base --adapter nvidia --seconds 30 --json
  wgrad bench step --precision mixed --profile
  wgrad bench step --workload base --precision mixed --as 15e12,30e12,448e9";

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
    /// How long each figure is measured; one round at least. 0.5, or 10 for step, finetune and embed, by default.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
    /// Sequences of a step instead of the workload's; the guessed tokens grow alike.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    sequences: Option<u16>,
    /// Layers whose inner results a step computes twice, to save memory.
    #[arg(long, value_name = "N", default_value_t = 0)]
    recompute: usize,
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
    /// For step, finetune and embed: list the kernels of one more round, each beside the least time it could take, and time
    /// them where the GPU has timestamps.
    #[arg(long)]
    profile: bool,
    /// For step, finetune and embed: hold kernels against these figures per second: operations in f32, operations on matrix
    /// units, bytes. Without --profile nothing is run.
    #[arg(long = "as", value_name = "F32,UNITS,BYTES", value_parser = profile::peaks)]
    peaks: Option<Peaks>,
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
    Finetune,
    Embed,
    Replay,
}

impl What {
    /// What is done in rounds.
    fn work(self) -> Option<Work> {
        match self {
            What::Step => Some(Work::Step),
            What::Finetune => Some(Work::Finetune),
            What::Embed => Some(Work::Embed),
            What::Gemm | What::Attention | What::Replay => None,
        }
    }
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
    /// Whether a round is taken apart.
    profile: bool,
    /// What its kernels are held against instead of what is measured.
    given: Option<Peaks>,
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
    workload.recompute = args.recompute;
    let version = env!("CARGO_PKG_VERSION");
    let (bench, sequences) = (args.what, workload.sequences);
    let head = |adapter| Head { wgrad: version, bench, workload: args.workload, sequences, adapter };
    let work = args.what.work();
    if work.is_none() && (args.profile || args.peaks.is_some()) {
        anyhow::bail!("--profile and --as are for step, finetune and embed");
    }
    if let (Some(work), Some(peaks), false) = (work, args.peaks, args.profile) {
        // Whoever asks for what suits the GPU gets what a GPU of these figures has.
        workload.precision = match args.precision {
            Choice::F32 => Precision::F32,
            Choice::Mixed | Choice::Auto => Precision::Mixed,
        };
        let units = args.matrix_units != units::Choice::Off;
        return report(args, head(None), step::record(work, &workload, (peaks, units), !args.json).await?);
    }
    if args.what == What::Replay {
        return report(args, head(None), replay::run(&workload, !args.json).await?);
    }
    let options = GpuOptions { timestamps: args.profile, ..device::options(args.adapter.as_deref()) };
    let options = units::decide(args.matrix_units, args.precision.into(), &options).await?;
    let seconds = args.seconds.unwrap_or(if work.is_some() { 10.0 } else { 0.5 });
    // A device of its own, so that nothing of it counts among the bytes of the measurement.
    let peak = measure::matmul_peak(&Gpu::open(&options).await?, seconds.min(0.5)).await?;
    let gpu = device::open(&options).await?;
    workload.precision = precision::decide(args.precision.into(), gpu.capabilities());
    let Capabilities { name: device, driver, .. } = gpu.capabilities().clone();
    let bench =
        Bench { gpu, workload, seconds, peak, tell: !args.json, profile: args.profile, given: args.peaks };
    let rows = [
        vec!["adapter".into(), format!("{device} ({driver})")],
        vec!["peak".into(), format!("{peak:.1} GFLOP/s")],
        vec![],
    ];
    bench.say(&rows, usize::MAX)?;
    let head = head(Some(Adapter { device, driver, peak_gflops: peak }));
    match (args.what, work) {
        (_, Some(work)) => report(args, head, step::run(&bench, work).await?),
        (What::Attention, _) => report(args, head, attention::run(&bench).await?),
        _ => report(args, head, gemm::run(&bench, args.size).await?),
    }
}

/// Prints the report for programs; people have read theirs.
fn report(args: &Args, head: Head, body: impl Serialize) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    print::line(serde_json::to_string(&Report { head, body }).context("the report as JSON")?)
}
