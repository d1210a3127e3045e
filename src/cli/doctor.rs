//! `wgrad doctor`

use anyhow::{Context, bail};
use indicatif::BinaryBytes;
use serde::Serialize;
use wgrad::gpu::{AdapterKind, Capabilities, Gpu, GpuOptions, MatrixOperands};
use wgrad::models::Config;
use wgrad::ops::matmul::Layout;
use wgrad::ops::{measure, probe};
use wgrad::train;
use wgrad::train::stress::{Sizes, Stressed};

mod kernels;
mod tune;

use self::kernels::Checked;
use super::print;
use super::units::failure;

const HELP: &str = "\
Exit code: 0 when every kernel of the adapter is right, 1 when one is not,
3 when there is no adapter.

JSON: {wgrad, adapters: [ADAPTER], chosen, device: ADAPTER,
       conversions: [{value, bits}], kernels: [KERNEL],
       stress: [STRESSED] (with --stress), tuned: [TUNED] (with --tune),
       matmul: [SPEED], copy_gbps, ok}
  ADAPTER: {name, backend, driver, device_type, kind, f16, subgroups,
       cooperative_matrices, matrix_operands, matrix_tile, matrix_subgroup,
       vulkan_memory_model, max_binding, max_buffer, max_storage_buffers,
       max_workgroup_memory, max_invocations}
  KERNEL: {operation, kind, storage, matrix_units, own, cases, passed,
       result: {error, bound},
       gradient: {error, bound}, failures}
  STRESSED: {work, storage, matrix_units, replays, different, error}
  TUNED: {storage, choices, trials: [{name, form, tokens, ms: [MS, MS], taken}]}
  SPEED: {layout, m, n, k, gflops}
  chosen     an index into adapters; device has the limits it was opened with
  storage    how activations are stored: f32 or f16
  own        whether the adapter uses this kind of kernel
  error      the one nearest to its bound, or farthest beyond it; bound is 0
             where nothing was compared: optimizers, as adamw, have no gradient
  different  replays whose bits are not those of the first one; error, of products
             on matrix units, is the normalized mean squared one to plain kernels
  choices, taken  of kernel variants (autotuning): the forms that later runs
             take; a run keeps its own in its recipe, and `pretrain --set
             kernels=...` and `finetune --kernels ...` overrule them
  ms         the median of a step of the preset, measured twice
  conversions  what the device makes of f32 values beyond f16, as the 16 bits
  layout     the operand stored transposed: the second (nt), none, the first (tn)
  copy_gbps  counts the bytes read and those written

Examples:
  wgrad doctor
  wgrad doctor --adapter nvidia --json
  wgrad doctor --stress --json > doctor.json    # for a report of a defect
  wgrad doctor --tune --preset notebook
  wgrad doctor --all-kernels";

/// Check the GPU: what it offers, whether every kernel computes right, how fast it is.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Part of the name of the GPU to check; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Check the kernels for the other kind of adapter too; a GPU may take minutes to compile those for CPUs.
    #[arg(long)]
    all_kernels: bool,
    /// Look for races too: repeat large work and compare the bits.
    #[arg(long)]
    stress: bool,
    /// Measure which forms of kernels this GPU trains faster with, and keep that for later runs.
    #[arg(long)]
    tune: bool,
    /// The preset whose shapes --tune measures: notebook, or micro on an adapter that is a CPU.
    #[arg(long, value_name = "NAME", requires = "tune")]
    preset: Option<String>,
    /// Measure no speeds, and --tune with a step of each form, which is not kept.
    #[arg(long)]
    quick: bool,
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
    /// What the device converts to f16, as numbers or words.
    conversions: Vec<Conversion>,
    kernels: Vec<Checked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stress: Option<Vec<Stressed>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tuned: Option<Vec<tune::Found>>,
    matmul: Vec<Speed>,
    copy_gbps: Option<f64>,
    ok: bool,
}

/// What becomes of an f32 as f16.
#[derive(Serialize)]
struct Conversion {
    value: f32,
    bits: u16,
}

impl Conversion {
    /// `70000 to inf`.
    fn say(&self) -> String {
        let found = half::f16::from_bits(self.bits);
        if found.is_infinite() {
            format!("{} to infinity", self.value)
        } else {
            format!("{} to {found}", self.value)
        }
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

/// Each speed is measured for about this long.
const SECONDS: f64 = 0.3;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let options = GpuOptions { adapter: args.adapter.clone(), ..GpuOptions::default() };
    if let Some(preset) = &args.preset {
        Config::preset(preset)?;
    }
    let report = pollster::block_on(examine(&options, args))?;
    if args.json {
        print::line(serde_json::to_string(&report).context("the report as JSON")?)?;
    }
    if let Some(one) = report.stress.iter().flatten().find(|one| !one.matrix_units && !one.passed()) {
        bail!("{} computes other bits each time: {}", report.device.name, failure(one));
    }
    let wrong: Vec<_> =
        report.kernels.iter().filter(|k| k.own && k.passed < k.cases).map(|k| k.operation).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} computes these operations wrongly: {}", report.device.name, wrong.join(", "));
}

/// Examines the adapter; for people, prints each part when it is known.
async fn examine(options: &GpuOptions, args: &Args) -> anyhow::Result<Report> {
    let tell = !args.json;
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

    let found = probe::conversions(&gpu).await?;
    let conversions: Vec<_> = (probe::VALUES.iter().zip(found))
        .map(|(&value, found)| Conversion { value, bits: found.to_bits() })
        .collect();
    if !conversions.is_empty() {
        let said: Vec<_> = conversions.iter().map(Conversion::say).collect();
        say(&[vec![], vec![format!("f16 of its own accord: {}", said.join(", "))]], usize::MAX)?;
    }
    let kernels = kernels::check(&gpu, options, args.all_kernels).await?;
    say(&kernels::rows(&kernels), 3)?;
    for (kernel, failure) in kernels.iter().flat_map(|k| k.failures.iter().map(move |f| (k, f))) {
        say(&[vec![], vec![format!("{} ({}): {failure}", kernel.operation, word(kernel.kind))]], usize::MAX)?;
    }

    let stress = if args.stress { Some(stress(&gpu, options, tell).await?) } else { None };
    let tuned = match args.tune {
        true => match tune::run(&gpu, options, args.preset.as_deref(), args.quick, tell).await {
            Ok(tuned) => Some(tuned),
            // What else is known belongs into the report.
            Err(error) => {
                print::note(format_args!("warning: the forms of kernels were not measured: {error}"));
                None
            }
        },
        false => None,
    };
    let (matmul, copy_gbps) = if args.quick { (Vec::new(), None) } else { speeds(&gpu, &say).await? };
    // Units that fail are not used.
    let same = stress.iter().flatten().all(|one| one.matrix_units || one.passed());
    let ok = same && kernels.iter().all(|k| !k.own || k.passed == k.cases);
    let wgrad = env!("CARGO_PKG_VERSION");
    Ok(Report { wgrad, adapters, chosen, device, conversions, kernels, stress, tuned, matmul, copy_gbps, ok })
}

/// Repeats large work on the adapter's own kernels, and products on its matrix units.
async fn stress(gpu: &Gpu, options: &GpuOptions, tell: bool) -> anyhow::Result<Vec<Stressed>> {
    let sizes = Sizes::of(gpu.capabilities().kind);
    let row = |one: &Stressed| {
        let kind = if one.matrix_units { "matrix units" } else { "plain kernels" };
        let verdict =
            if one.passed() { "the same bits".to_string() } else { format!("WRONG: {}", failure(one)) };
        let text = format!("{}, {}, {kind}, {} times: {verdict}", one.work, word(one.storage), one.replays);
        // What cannot be written will be told by the table that follows.
        let _ = print::line(text);
    };
    if tell {
        print::line("")?;
    }
    let mut all = train::stress::stress(gpu, sizes, |one| {
        if tell {
            row(one)
        }
    })
    .await?;
    for operands in [MatrixOperands::F16, MatrixOperands::F32] {
        let options = GpuOptions { matrix_units: Some(operands), ..options.clone() };
        if Gpu::chosen(&options).await?.matrix_tile.is_none() {
            continue;
        }
        let stressed = async {
            let with_units = Gpu::open(&options).await?;
            let mut all = train::stress::stress_units(&with_units, gpu, sizes).await?;
            all.iter().filter(|_| tell).for_each(row);
            all.extend(
                train::stress::stress(&with_units, sizes, |one| {
                    if tell {
                        row(one)
                    }
                })
                .await?,
            );
            Ok::<_, wgrad::Error>(all)
        };
        match stressed.await {
            Ok(stressed) => all.extend(stressed),
            // Units that fail are not used, and what else is known belongs into the report.
            Err(error) => {
                let work = format!("matrix units: {error}");
                let failed = Stressed {
                    work,
                    storage: operands.into(),
                    matrix_units: true,
                    replays: 0,
                    different: 0,
                    error: Some(f64::INFINITY),
                };
                if tell {
                    row(&failed);
                }
                all.push(failed);
            }
        }
    }
    Ok(all)
}

/// Speeds of products and of copying in GB/s.
async fn speeds(
    gpu: &Gpu,
    say: &impl Fn(&[Vec<String>], usize) -> anyhow::Result<()>,
) -> anyhow::Result<(Vec<Speed>, Option<f64>)> {
    measure::settle_speed(gpu).await?;
    // The larger one keeps a fast GPU busy, and does not keep a CPU busy for minutes.
    let sizes = match gpu.capabilities().kind {
        AdapterKind::Cpu => [256, 1024],
        AdapterKind::Gpu => [1024, 4096],
    };
    let mut matmul = Vec::new();
    let mut rows = vec![vec![], vec!["speed".to_string(), String::new()]];
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        for size in sizes {
            let gflops = measure::matmul(gpu, layout, [size; 3], SECONDS).await?;
            rows.push(vec![
                format!("matmul {} {size}", word(layout)),
                format!("{gflops:.1}"),
                "GFLOP/s".into(),
            ]);
            matmul.push(Speed { layout, m: size, n: size, k: size, gflops });
        }
    }
    let copy_gbps = measure::copy(gpu, 64 << 20, SECONDS).await?;
    rows.push(vec!["copy".into(), format!("{copy_gbps:.1}"), "GB/s".into()]);
    say(&rows, 1)?;
    Ok((matmul, Some(copy_gbps)))
}

/// The word a value has in the JSON.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
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
        ("largest binding", |a| BinaryBytes(a.max_binding).to_string()),
        ("largest buffer", |a| BinaryBytes(a.max_buffer).to_string()),
        ("storage buffers", |a| a.max_storage_buffers.to_string()),
        ("workgroup memory", |a| BinaryBytes(a.max_workgroup_memory.into()).to_string()),
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
