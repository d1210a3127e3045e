//! `wgrad pretrain`

use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;

use anyhow::Context;
use wgrad::data::{Dataset, Split};
use wgrad::gpu::GpuOptions;
use wgrad::train::dump::dump_batches;
use wgrad::train::run::{RECIPE, save_initial};
use wgrad::train::{RunOptions, Settings, Summary};

use super::precision;
use super::print::{self, count};
use super::training::{INTERRUPTED, train};

/// Pretrain a model to guess masked tokens.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  wgrad pretrain --preset micro --data data/reviews --out runs/micro
  wgrad pretrain --preset tiny --data data/wiki --data data/books --out runs/tiny --set learning_rate=5e-4
  wgrad pretrain --config recipe.toml --data data/reviews --out runs/mine --steps 3000
  wgrad pretrain --resume --data data/reviews --out runs/micro

Ctrl-C ends the step, saves a checkpoint and the model; once more quits at once.
The recipe in use is written to OUT/train.json, which is a --config file.")]
pub struct Args {
    /// A recipe: micro, tiny, small or notebook.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["config", "resume"], conflicts_with = "config")]
    preset: Option<String>,
    /// A recipe in a file, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder made by `wgrad data prepare`; several are read one after the other.
    #[arg(long, value_name = "DIR", required = true)]
    data: Vec<PathBuf>,
    /// The run's folder, and the model's at the end.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The run's length in optimizer steps.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Go on with the run in --out. Without --preset or --config its own recipe is taken.
    #[arg(long)]
    resume: bool,
    /// Resume although the recipe or the data is another.
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Change one setting of the recipe: learning_rate=1e-3, model.tie_word_embeddings=true.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Part of the name of the GPU to use.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Chooses the first weights, the order of the data and the masks.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Sequences computed at once; lower it when memory runs out.
    #[arg(long, value_name = "N")]
    micro_batch: Option<u64>,
    /// How activations are stored; the presets say auto.
    #[arg(long, value_enum)]
    precision: Option<precision::Choice>,
    /// With f16, multiply on the GPU's matrix units (tensor cores, simdgroup matrices). wgpu calls that experimental:
    /// see first what `wgrad doctor` says of them.
    #[arg(long)]
    matrix_units: bool,
    /// Write the batches and learning rates of the whole run to a safetensors file first.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    dump_batches: Option<PathBuf>,
    /// Write the weights a run starts from and train nothing.
    #[arg(long, conflicts_with = "resume", hide_short_help = true)]
    init_only: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = settings(&args)?;
    let dataset = Arc::new(Dataset::open(&args.data)?);
    let config = settings.for_data(&dataset)?;
    let options = RunOptions {
        data: args.data.iter().map(|folder| name(folder)).collect(),
        resume: args.resume,
        allow_changes: args.allow_changes,
        ..RunOptions::new(config, dataset.clone(), &args.out)
    };
    if let Some(path) = &args.dump_batches {
        dump_batches(&options.config, &dataset, path)?;
        print::note(format_args!("batches    {}", path.display()));
    }
    if args.init_only {
        save_initial(&options)?;
        return report_initial(&options, args.json);
    }
    let gpu = GpuOptions { adapter: args.adapter, matrix_units: args.matrix_units, ..GpuOptions::default() };
    let summary = train(&options, &gpu)?;
    if args.json {
        print::line(serde_json::to_string(&summary).context("the summary as JSON")?)?;
    } else {
        report(&summary)?;
    }
    if summary.interrupted {
        exit(INTERRUPTED);
    }
    Ok(())
}

/// The recipe that was asked for, single settings last.
fn settings(args: &Args) -> wgrad::Result<Settings> {
    let mut settings = match (&args.preset, &args.config) {
        (Some(preset), _) => Settings::preset(preset)?,
        (None, Some(file)) => Settings::file(file)?,
        (None, None) => Settings::file(&args.out.join(RECIPE))?,
    };
    args.set.iter().try_for_each(|assignment| settings.set(assignment))?;
    for (key, value) in [("steps", args.steps), ("seed", args.seed), ("micro_batch", args.micro_batch)] {
        if let Some(value) = value {
            settings.set(&format!("{key}={value}"))?;
        }
    }
    if let Some(precision) = args.precision {
        settings.set(&format!("precision={}", precision.name()))?;
    }
    Ok(settings)
}

/// The folder's own name, which says more on a card than where it lies.
fn name(folder: &std::path::Path) -> String {
    let place = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    place.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

fn report_initial(options: &RunOptions, json: bool) -> anyhow::Result<()> {
    let parameters = options.config.model.parameter_count();
    if json {
        return print::line(serde_json::json!({ "out": options.out, "parameters": parameters }));
    }
    print::line(format_args!("model      {} ({} parameters)", options.out.display(), count(parameters)))?;
    let data = &options.dataset;
    let [sequences, tokens] = [data.len(Split::Train), data.tokens(Split::Train)].map(count);
    print::line(format_args!("data       {sequences} sequences, {tokens} tokens; nothing was trained"))
}

fn report(summary: &Summary) -> anyhow::Result<()> {
    let [steps, total, sequences, tokens] =
        [summary.steps, summary.total_steps, summary.sequences, summary.tokens].map(count);
    print::line(format_args!(
        "model      {} ({} parameters)",
        summary.out.display(),
        count(summary.parameters)
    ))?;
    print::line(format_args!("steps      {steps} of {total}, {sequences} sequences, {tokens} tokens"))?;
    if let Some(loss) = summary.loss {
        print::line(format_args!("train      loss {loss:.4} nats over the last steps"))?;
    }
    let entropy = summary.unigram_entropy.map(|entropy| format!("unigram entropy {entropy:.4} nats"));
    let held_out = summary.held_out_loss.zip(summary.held_out_accuracy).map(|(loss, accuracy)| {
        format!("loss {loss:.4} nats, {:.1}% of the masked tokens right", 100.0 * accuracy)
    });
    let measured: Vec<_> = held_out.into_iter().chain(entropy).collect();
    if !measured.is_empty() {
        print::line(format_args!("held out   {}", measured.join("; ")))?;
    }
    if summary.skipped_steps > 0 {
        let skipped = count(summary.skipped_steps);
        print::line(format_args!("skipped    {skipped} steps whose gradient was not finite"))?;
    }
    let speed = count(summary.tokens_per_second as u64);
    let device = if summary.device.is_empty() { String::new() } else { format!(" on {}", summary.device) };
    print::line(format_args!("time       {:.1} s, {speed} tokens per second{device}", summary.seconds))?;
    if summary.interrupted {
        print::line("stopped    before the last step: go on with --resume")?;
    }
    Ok(())
}
