//! `wgrad bench replay`: the CPU's share of a step.

use std::time::Instant;

use serde::Serialize;
use wgrad::gpu::{AdapterKind, GpuOptions};
use wgrad::train::statistics::median;
use wgrad::train::{Trainer, Workload};

use super::{noop, say};

#[derive(Serialize)]
pub(super) struct Replay {
    kinds: Vec<Kind>,
}

#[derive(Serialize)]
struct Kind {
    kind: AdapterKind,
    ms: f64,
    fastest_ms: f64,
    steps: usize,
}

/// Steps between two looks at what is finished, as a step's report is one.
const ROUNDS: usize = 200;

pub(super) async fn run(workload: &Workload, tell: bool) -> anyhow::Result<Replay> {
    let mut kinds = Vec::new();
    let mut table = vec![["kernels for", "ms", "fastest", "steps"].map(String::from).to_vec()];
    for (kind, name) in [(AdapterKind::Gpu, "GPUs"), (AdapterKind::Cpu, "CPUs")] {
        let gpu = noop::open(&GpuOptions { kind: Some(kind), ..GpuOptions::default() }).await?;
        let batches = [workload.batch()];
        let mut trainer = Trainer::pretraining(&gpu, workload.model.clone(), workload.options())?;
        let mut taken = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            let clock = Instant::now();
            trainer.submit(&batches, 1e-4)?;
            // The first one fills pools.
            if round > 0 {
                taken.push(1e3 * clock.elapsed().as_secs_f64());
            }
            gpu.wait("a step of nothing")?;
        }
        let ms = median(&taken).unwrap_or(f64::NAN);
        let (fastest_ms, steps) = (taken.iter().copied().fold(f64::INFINITY, f64::min), taken.len());
        table.push(vec![name.into(), format!("{ms:.2}"), format!("{fastest_ms:.2}"), steps.to_string()]);
        kinds.push(Kind { kind, ms, fastest_ms, steps });
    }
    if tell {
        say(&table, 1)?;
    }
    Ok(Replay { kinds })
}
