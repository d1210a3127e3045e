//! `wgrad doctor`

use anyhow::{Context, bail};
use serde::Serialize;
use wgrad::gpu::{AdapterKind, Capabilities, Gpu, GpuOptions};
use wgrad::ops::matmul::Layout;
use wgrad::ops::{self, measure};
use wgrad::tensor::DType;

use super::print;

const HELP: &str = "\
Exit code: 0 when every kernel of the adapter is right, 1 when one is not,
3 when there is no adapter.

JSON: {wgrad, adapters: [ADAPTER], chosen, device: ADAPTER, kernels: [KERNEL],
       matmul: [SPEED], copy_gbps, ok}
  ADAPTER: {name, backend, driver, device_type, kind, f16, subgroups,
       cooperative_matrices, max_binding, max_buffer, max_storage_buffers,
       max_workgroup_memory, max_invocations}
  KERNEL: {operation, kind, storage, own, cases, passed, result: {error, bound},
       gradient: {error, bound}, failures}
  SPEED: {layout, m, n, k, gflops}
  chosen     an index into adapters; device has the limits it was opened with
  storage    how activations are stored: f32 or f16
  own        whether the adapter uses this kind of kernel
  error      the one nearest to its bound, or farthest beyond it
  layout     the operand stored transposed: the second (nt), none, the first (tn)
  copy_gbps  counts the bytes read and those written

Examples:
  wgrad doctor
  wgrad doctor --adapter nvidia --json";

/// Check the GPU: what it offers, whether every kernel computes right, how fast it is.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Part of the name of the GPU to check; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    wgrad: &'static str,
    adapters: Vec<Capabilities>,
    chosen: Option<usize>,
    device: Capabilities,
    kernels: Vec<Checked>,
    matmul: Vec<Speed>,
    copy_gbps: f64,
    ok: bool,
}

/// How one operation's kernels of one kind came out.
#[derive(Serialize)]
struct Checked {
    operation: &'static str,
    kind: AdapterKind,
    storage: DType,
    own: bool,
    cases: usize,
    passed: usize,
    result: Worst,
    gradient: Worst,
    failures: Vec<String>,
}

/// The error nearest to its bound, or farthest beyond it.
#[derive(Serialize, Clone, Copy)]
struct Worst {
    error: f64,
    bound: f64,
}

impl Worst {
    const NONE: Worst = Worst { error: 0.0, bound: 0.0 };

    /// The worse of the two; NaN is the worst of all.
    fn and(self, (error, bound): (f64, f64)) -> Worst {
        let better = self.bound > 0.0 && error.is_finite() && error / bound <= self.error / self.bound;
        if better || self.error.is_nan() { self } else { Worst { error, bound } }
    }
}

#[derive(Serialize)]
struct Speed {
    layout: Layout,
    m: usize,
    n: usize,
    k: usize,
    gflops: f64,
}

/// Gradients are compared at this many elements of each input.
const SAMPLES: usize = 64;

/// Each speed is measured for about this long.
const SECONDS: f64 = 0.3;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = GpuOptions { adapter: args.adapter.clone(), ..GpuOptions::default() };
    let report = pollster::block_on(examine(&options, !args.json))?;
    if args.json {
        print::line(serde_json::to_string(&report).context("the report as JSON")?)?;
    }
    let wrong: Vec<_> =
        report.kernels.iter().filter(|k| k.own && k.passed < k.cases).map(|k| k.operation).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} computes these operations wrongly: {}", report.device.name, wrong.join(", "));
}

/// Examines the adapter; with `tell`, prints each part when it is known.
async fn examine(options: &GpuOptions, tell: bool) -> anyhow::Result<Report> {
    let say = |rows: &[Vec<String>], right| -> anyhow::Result<()> {
        for line in print::table(rows, right).into_iter().filter(|_| tell) {
            print::line(line)?;
        }
        Ok(())
    };
    let adapters = Gpu::adapters().await;
    let chosen = adapters.iter().position(|a| options.adapter.as_ref().is_none_or(|name| a.is_called(name)));
    let gpu = Gpu::open(options).await?;
    let device = gpu.capabilities().clone();
    say(&adapter_rows(&adapters, chosen), usize::MAX)?;

    let heading = ["kernels", "for", "storage", "cases", "result", "bound", "gradient", "bound", ""];
    let mut rows = vec![vec![], heading.map(String::from).to_vec()];
    let mut kernels = Vec::new();
    let other = match device.kind {
        AdapterKind::Software => AdapterKind::Plain,
        AdapterKind::Plain => AdapterKind::Software,
    };
    for (kind, own) in [(device.kind, true), (other, false)] {
        let gpu = match own {
            true => gpu.clone(),
            false => Gpu::open(&GpuOptions { kind: Some(kind), ..options.clone() }).await?,
        };
        let halves = gpu.capabilities().f16.then_some(DType::F16);
        for storage in [DType::F32].into_iter().chain(halves) {
            for operation in ops::all() {
                let checked = check(&gpu, &operation, storage, kind, own).await?;
                rows.push(kernel_row(&checked));
                kernels.push(checked);
            }
        }
    }
    say(&rows, 3)?;
    for (kernel, failure) in kernels.iter().flat_map(|k| k.failures.iter().map(move |f| (k, f))) {
        say(&[vec![], vec![format!("{} ({}): {failure}", kernel.operation, word(kernel.kind))]], usize::MAX)?;
    }

    // The larger one keeps a fast GPU busy, and does not keep a CPU busy for minutes.
    let sizes = match device.kind {
        AdapterKind::Software => [256, 1024],
        AdapterKind::Plain => [1024, 4096],
    };
    let mut matmul = Vec::new();
    let mut rows = vec![vec![], vec!["speed".to_string(), String::new()]];
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        for size in sizes {
            let gflops = measure::matmul(&gpu, layout, [size; 3], SECONDS).await?;
            rows.push(vec![
                format!("matmul {} {size}", word(layout)),
                format!("{gflops:.1}"),
                "GFLOP/s".into(),
            ]);
            matmul.push(Speed { layout, m: size, n: size, k: size, gflops });
        }
    }
    let copy_gbps = measure::copy(&gpu, 64 << 20, SECONDS).await?;
    rows.push(vec!["copy".into(), format!("{copy_gbps:.1}"), "GB/s".into()]);
    say(&rows, 1)?;
    let ok = kernels.iter().all(|k| !k.own || k.passed == k.cases);
    Ok(Report { wgrad: env!("CARGO_PKG_VERSION"), adapters, chosen, device, kernels, matmul, copy_gbps, ok })
}

async fn check(
    gpu: &Gpu,
    operation: &ops::Operation,
    storage: DType,
    kind: AdapterKind,
    own: bool,
) -> anyhow::Result<Checked> {
    let mut checked = Checked {
        operation: operation.name,
        kind,
        storage,
        own,
        cases: 0,
        passed: 0,
        result: Worst::NONE,
        gradient: Worst::NONE,
        failures: Vec::new(),
    };
    for case in (operation.cases)() {
        checked.cases += 1;
        match case.run(gpu, storage, SAMPLES).await {
            Ok(outcome) => {
                checked.result = checked.result.and(outcome.forward);
                for (_, error, bound) in &outcome.gradients {
                    checked.gradient = checked.gradient.and((*error, *bound));
                }
                if outcome.passed() {
                    checked.passed += 1;
                } else {
                    let off = |(what, error, bound): (&str, f64, f64)| {
                        // NaN is not within its bound either.
                        let within = error <= bound;
                        (!within).then(|| format!("{what} off by {error:.1e}, bound {bound:.0e}"))
                    };
                    let mut parts = vec![off(("result", outcome.forward.0, outcome.forward.1))];
                    parts.extend(outcome.gradients.iter().map(|&(x, e, b)| off((&format!("d_{x}"), e, b))));
                    let parts: Vec<_> = parts.into_iter().flatten().collect();
                    checked.failures.push(format!("{}: {}", outcome.name, parts.join("; ")));
                }
            }
            Err(error @ wgrad::Error::DeviceLost { .. }) => return Err(error.into()),
            Err(error) => checked.failures.push(error.to_string()),
        }
    }
    Ok(checked)
}

/// The word a value has in the JSON.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn kernel_row(checked: &Checked) -> Vec<String> {
    let verdict = match (checked.passed == checked.cases, checked.own) {
        (true, _) => "right",
        (false, true) => "WRONG",
        (false, false) => "wrong, not used here",
    };
    let number = |x: f64| format!("{x:.0e}");
    vec![
        checked.operation.to_string(),
        word(checked.kind),
        word(checked.storage),
        format!("{}/{}", checked.passed, checked.cases),
        format!("{:.1e}", checked.result.error),
        number(checked.result.bound),
        format!("{:.1e}", checked.gradient.error),
        number(checked.gradient.bound),
        verdict.to_string(),
    ]
}

/// One column per adapter.
fn adapter_rows(adapters: &[Capabilities], chosen: Option<usize>) -> Vec<Vec<String>> {
    type Property = (&'static str, fn(&Capabilities) -> String);
    let properties: [Property; 12] = [
        ("type", |a| a.device_type.clone()),
        ("backend", |a| a.backend.clone()),
        ("driver", |a| a.driver.clone()),
        ("kernels for", |a| word(a.kind)),
        ("f16", |a| yes(a.f16)),
        ("subgroups", |a| match a.subgroups {
            None => "no".into(),
            Some((least, most)) if least == most => format!("of {least}"),
            Some((least, most)) => format!("of {least} to {most}"),
        }),
        ("matrix units", |a| match a.cooperative_matrices.as_slice() {
            [] => "no".into(),
            shapes => shapes.join(", "),
        }),
        ("largest binding", |a| bytes(a.max_binding)),
        ("largest buffer", |a| bytes(a.max_buffer)),
        ("storage buffers", |a| a.max_storage_buffers.to_string()),
        ("workgroup memory", |a| bytes(a.max_workgroup_memory.into())),
        ("invocations", |a| a.max_invocations.to_string()),
    ];
    let mut rows = vec![vec!["adapter".to_string()]];
    rows[0].extend(adapters.iter().map(|a| a.name.clone()));
    for (name, property) in properties {
        let mut row = vec![name.to_string()];
        row.extend(adapters.iter().map(property));
        rows.push(row);
    }
    let mut used = vec!["used".to_string()];
    used.extend((0..adapters.len()).map(|index| yes(chosen == Some(index))));
    rows.push(used);
    rows
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_string()
}

/// `134217728` as `128 MiB`.
fn bytes(count: u64) -> String {
    let (mut size, mut unit) = (count as f64, 0);
    while size >= 1024.0 && unit < 4 {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(size.fract() > 0.0);
    format!("{size:.digits$} {}", ["B", "KiB", "MiB", "GiB", "TiB"][unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_error_is_the_nearest_to_its_bound() {
        let worst = Worst::NONE.and((1e-6, 1e-5)).and((2e-6, 1e-4)).and((1e-7, 1e-5));
        assert_eq!((worst.error, worst.bound), (1e-6, 1e-5));
        assert!(worst.and((f64::NAN, 1.0)).and((1.0, 1e-9)).error.is_nan());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(128 << 20), "128 MiB");
        assert_eq!(bytes(0x7fff_ffff), "2.0 GiB");
        assert_eq!(bytes(12), "12 B");
    }
}
