//! `wgrad plan`

use std::path::PathBuf;

use serde_json::json;
use wgrad::Error;
use wgrad::format::thousands;
use wgrad::train::estimate::estimate;
use wgrad::train::scaling::{MOST_RANKS, Ranks, Scaling, StepTime, bits_per_second};
use wgrad::train::{LocalSteps, Settings, TrainConfig, WireFormat};

use super::{device, precision, print};

/// How long a step is measured.
const SECONDS: f64 = 2.0;

/// Say what several machines would gain that pretrain one model together.
#[derive(clap::Args)]
#[command(
    after_help = "One step is measured here, in one process, or given by --step-seconds; what N ranks would take follows by
arithmetic. A step's micro-batches are divided among the ranks; then each sends 2 G (N-1)/N bytes, and receives
as many, of G bytes of gradients in f32, and half of that with --wire f16; with --sync only after some of the steps.
Of the network's rate 94% is taken for payload, as TCP on Ethernet has it. Left out are what overlaps, latency,
copies between the GPU and memory, measuring, checkpoints, and reading data: real runs differ. More ranks than a
step has micro-batches gain nothing; --micro-batch makes smaller ones.

Columns: ranks; seconds of a step (the mean, where batches grow), and of those with the network at work; bytes
that each rank sends in a step, the mean; hours of the run; how many times as fast as one process; and which part
that is of N times.

JSON: {device, parameters, gradient_bytes, network_bits_per_second, micro_batch, micro_batches, steps,
micro_batch_seconds, optimizer_seconds, ranks, plan: [{ranks, hours, step_seconds, network_seconds,
traffic_bytes, speedup, efficiency}]}: micro_batch in sequences, micro_batches those of the largest step, device
null where nothing was measured

Examples:
  wgrad plan --preset notebook --ranks 2 --network 1Gbit
  wgrad plan --preset tiny --ranks 4 --network 100Mbit --step-seconds 2.1 --json
  wgrad plan --preset notebook --ranks 2 --network 1Gbit --step-seconds 2 --sync every=50
  wgrad plan --config runs/mine/train.json --ranks 16 --network 10Gbit --micro-batch 8"
)]
pub struct Args {
    /// A recipe: micro, tiny, small, notebook, modern-tiny or modern-base.
    #[arg(long, value_name = "NAME", required_unless_present = "config", conflicts_with = "config")]
    preset: Option<String>,
    /// A recipe in a file, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many processes, on as many GPUs, train together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_RANKS))]
    ranks: u64,
    /// What the network between them carries: 100Mbit, 1Gbit, 10Gbit.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    network: f64,
    /// The run's length in optimizer steps.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Change one setting of the recipe: learning_rate=1e-3, batch_sequences=256.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ranks learn by themselves, and make one model of all of theirs every so many steps.
    #[arg(long, value_name = "every=STEPS")]
    sync: Option<LocalSteps>,
    /// How gradients travel: f32, or f16, half as many bytes.
    #[arg(long, value_name = "f32|f16")]
    wire: Option<WireFormat>,
    /// Sequences computed at once.
    #[arg(long, value_name = "N")]
    micro_batch: Option<u64>,
    /// What a step takes in one process, of the largest batch where batches grow; then nothing is measured.
    #[arg(long, value_name = "SECONDS")]
    step_seconds: Option<f64>,
    /// Of those, what the optimizer takes, which each rank does as a whole.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, requires = "step_seconds")]
    optimizer_seconds: f64,
    /// How activations are stored; the presets say auto.
    #[arg(long, value_enum)]
    precision: Option<precision::Choice>,
    #[command(flatten)]
    compute: precision::ComputeArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    bits_per_second(text).map_err(|error| error.to_string().replacen("network: ", "", 1))
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut config = config(args)?;
    let parameters = config.model.parameter_count();
    let mut gradients = parameters * size_of::<f32>() as u64;
    let (mut device, time) = (None, args.step_seconds);
    let time = match time {
        Some(step) => {
            if !config.freeze.is_nothing() {
                let expected =
                    "a recipe that trains all parameters; without --step-seconds a step is measured";
                return Err(
                    Error::config("step-seconds", expected, format!("freeze={}", config.freeze)).into()
                );
            }
            let optimizer = args.optimizer_seconds;
            if !(step.is_finite() && step > optimizer && optimizer >= 0.0) {
                let expected = "seconds, more than --optimizer-seconds, which are 0 or more";
                let found = format!("--step-seconds {step} and --optimizer-seconds {optimizer}");
                return Err(Error::config("step-seconds", expected, found).into());
            }
            let micro_batches = config.plan()?.largest_batch().div_ceil(config.micro_batch_sequences());
            let micro_batch = (step - optimizer) / micro_batches as f64;
            StepTime { micro_batch, optimizer }
        }
        None => {
            let options = pollster::block_on(args.compute.options(config.precision, None))?;
            let measured = pollster::block_on(async {
                let gpu = device::open(&options).await?;
                config.precision = precision::decide(config.precision, gpu.capabilities());
                estimate(&gpu, &config, config.seq_len as f64, SECONDS).await
            })?;
            if !config.freeze.is_nothing() {
                gradients = measured.memory.gradients;
            }
            device = Some(measured.device);
            StepTime { micro_batch: measured.micro_batch_seconds, optimizer: measured.optimizer_seconds }
        }
    };
    let scaling = Scaling::of(&config, time, gradients, args.network)?;
    let (table, steps) = (scaling.table(args.ranks), config.plan()?.total_steps());
    let (micro_batch, micro_batches) = (config.micro_batch_sequences(), scaling.most_micro_batches());
    if args.json {
        return print::line(json!({
            "device": device, "parameters": parameters, "gradient_bytes": gradients,
            "network_bits_per_second": args.network, "micro_batch": micro_batch, "micro_batches": micro_batches,
            "steps": steps, "micro_batch_seconds": time.micro_batch, "optimizer_seconds": time.optimizer,
            "ranks": args.ranks, "plan": table,
        }));
    }
    let on = device.map_or("as given".to_owned(), |device| format!("on {device}"));
    print::line(format_args!(
        "gradients    {} MB of {} parameters in f32; the network carries {}",
        thousands((gradients as f64 / 1e6).round() as u64),
        // Of layers that are frozen there are none.
        thousands(gradients / size_of::<f32>() as u64),
        per_second(args.network)
    ))?;
    print::line(format_args!(
        "one process  {micro_batches} micro-batches of {micro_batch} sequences in a step, {:.1} ms each, and {:.1} ms for \
         the optimizer, {on}",
        1e3 * time.micro_batch,
        1e3 * time.optimizer
    ))?;
    print::line(format_args!("run          {} steps", thousands(steps)))?;
    print::line("")?;
    let heading = ["ranks", "step", "network", "sent", "hours", "speedup", "efficiency"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(table.iter().map(cells));
    print::table(&rows, 0).into_iter().try_for_each(print::line)?;
    if args.ranks > micro_batches {
        print::note(format_args!(
            "note: {micro_batches} of {} ranks would have work, one for each micro-batch of the largest step; --micro-batch \
             makes smaller ones",
            args.ranks
        ));
    }
    Ok(())
}

/// The recipe that was asked for, single settings last.
fn config(args: &Args) -> wgrad::Result<TrainConfig> {
    let mut settings = match (&args.preset, &args.config) {
        (Some(preset), _) => Settings::preset(preset)?,
        (None, file) => Settings::file(&file.clone().unwrap_or_default())?,
    };
    args.set.iter().try_for_each(|assignment| settings.set(assignment))?;
    for (key, value) in [("steps", args.steps), ("micro_batch", args.micro_batch)] {
        value.map_or(Ok(()), |value| settings.set(&format!("{key}={value}")))?;
    }
    if let Some(sync) = args.sync {
        settings.set(&format!("sync={sync}"))?;
    }
    if let Some(wire) = args.wire {
        settings.set(&format!("wire={wire}"))?;
    }
    if let Some(precision) = args.precision {
        settings.set(&format!("precision={}", precision.name()))?;
    }
    settings.config()
}

/// A rate of bits as a person says it.
fn per_second(bits: f64) -> String {
    let units = [(1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit")];
    let (size, unit) = units.into_iter().find(|(size, _)| bits >= *size).unwrap_or((1.0, "bit"));
    let number = format!("{:.3}", bits / size);
    format!("{} {unit}/s", number.trim_end_matches('0').trim_end_matches('.'))
}

/// A row of the table.
fn cells(row: &Ranks) -> Vec<String> {
    vec![
        row.ranks.to_string(),
        format!("{:.3} s", row.step_seconds),
        format!("{:.3} s", row.network_seconds),
        format!("{} MB", thousands((row.traffic_bytes / 1e6).round() as u64)),
        format!("{:.2}", row.hours),
        format!("{:.2}x", row.speedup),
        format!("{:.1}%", 100.0 * row.efficiency),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn rates_are_told_as_they_were_given() {
        let cases = [
            (1e9, "1 Gbit/s"),
            (2.5e9, "2.5 Gbit/s"),
            (1e8, "100 Mbit/s"),
            (56e3, "56 kbit/s"),
            (0.5, "0.5 bit/s"),
        ];
        cases.into_iter().for_each(|(bits, told)| assert_eq!(super::per_second(bits), told));
    }
}
