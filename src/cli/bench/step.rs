//! `wgrad bench step`: whole training steps.

use std::collections::BTreeMap;

use serde::Serialize;
use wgrad::format::thousands;
use wgrad::gpu::Timing;
use wgrad::train::{Precision, benchmark};

use super::Bench;
use crate::cli::print;

#[derive(Serialize)]
pub(super) struct Step {
    precision: Precision,
    ms: f64,
    fastest_ms: f64,
    steps: usize,
    tokens_per_second: f64,
    gflops: f64,
    share: f64,
    peak_bytes: u64,
    first_step_s: f64,
    submit_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profile: Vec<Kernel>,
}

/// The dispatches of a kernel with so many workgroups.
#[derive(Serialize)]
struct Kernel {
    kernel: String,
    groups: [u32; 3],
    count: usize,
    ms: f64,
    gflops: f64,
}

/// Dispatches of one kernel and size together, the slowest first.
fn kernels(profile: &[Timing]) -> Vec<Kernel> {
    let mut sums: BTreeMap<(&str, [u32; 3]), (usize, f64, f64)> = BTreeMap::new();
    for timing in profile {
        let (count, seconds, flops) = sums.entry((&timing.kernel, timing.groups)).or_default();
        *count += 1;
        *seconds += timing.seconds;
        *flops += timing.cost.flops;
    }
    let sum = |((kernel, groups), (count, seconds, flops)): ((&str, _), (_, f64, f64))| Kernel {
        kernel: kernel.to_owned(),
        groups,
        count,
        ms: 1e3 * seconds,
        gflops: flops / seconds / 1e9,
    };
    let mut kernels: Vec<_> = sums.into_iter().map(sum).collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    kernels
}

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Step> {
    let workload = &bench.workload;
    let mut number = 0;
    let speed = benchmark::steps(&bench.gpu, workload, bench.seconds, bench.profile, |seconds| {
        number += 1;
        if bench.tell && seconds > 1.0 {
            print::note(format_args!("step {number} took {seconds:.1} s"));
        }
    })
    .await?;
    let seconds = speed.median();
    let gflops = workload.flops() / seconds / 1e9;
    let step = Step {
        precision: workload.precision,
        ms: 1e3 * seconds,
        fastest_ms: 1e3 * speed.steps.iter().copied().fold(f64::INFINITY, f64::min),
        steps: speed.steps.len(),
        tokens_per_second: workload.rows() as f64 / seconds,
        gflops,
        share: gflops / bench.peak,
        peak_bytes: speed.peak_bytes,
        first_step_s: speed.first_step,
        submit_ms: 1e3 * speed.submit,
        profile: kernels(&speed.profile),
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let (gflop, peak_mb) = (workload.flops() / 1e9, step.peak_bytes as f64 / 1e6);
    bench.say(
        &[
            row(
                "step",
                format!("{:.1} ms (median of {}, fastest {:.1})", step.ms, step.steps, step.fastest_ms),
            ),
            row("tokens", format!("{} per second", thousands(step.tokens_per_second as u64))),
            row(
                "speed",
                format!("{:.1} GFLOP/s ({gflop:.1} a step), {:.2} of the peak", step.gflops, step.share),
            ),
            row("memory", format!("{peak_mb:.1} MB at most")),
            row("first step", format!("{:.2} s with making the model and compiling", step.first_step_s)),
            row("submitted", format!("after {:.2} ms", step.submit_ms)),
        ],
        usize::MAX,
    )?;
    if !step.profile.is_empty() {
        let heading = ["kernel", "workgroups", "count", "ms", "GFLOP/s"];
        let mut table = vec![vec![], heading.map(String::from).to_vec()];
        table.extend(step.profile.iter().map(|Kernel { kernel, groups: [x, y, z], count, ms, gflops }| {
            let size = format!("{x} x {y} x {z}");
            vec![kernel.clone(), size, count.to_string(), format!("{ms:.3}"), format!("{gflops:.1}")]
        }));
        bench.say(&table, 1)?;
    }
    Ok(step)
}
