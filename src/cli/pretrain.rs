//! `wgrad pretrain`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use wgrad::data::Split;
use wgrad::files::ModelFolder;
use wgrad::format::thousands;
use wgrad::gpu::GpuOptions;
use wgrad::models::Freeze;
use wgrad::store::{Disk, Store};
use wgrad::train::dump::dump_batches;
use wgrad::train::estimate::estimate;
use wgrad::train::fit::{largest, micro_batches};
use wgrad::train::pretrain::{RECIPE, check_start, save_initial};
use wgrad::train::ranks::Team;
use wgrad::train::{LocalSteps, RunOptions, Settings, Summary, TrainConfig, WireFormat};

use super::fit::{self, Chosen, MicroBatch, Recompute, bytes, micro_batch, recompute};
use super::print;
use super::training::{end, settle, train};
use super::{device, models, precision, ranks};

/// How long a dry run measures.
const SECONDS: f64 = 2.0;

/// Pretrain a model to guess masked tokens.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  wgrad pretrain --preset micro --data data/reviews --out runs/micro
  wgrad pretrain --preset tiny --data data/wiki --data data/books --out runs/tiny --set learning_rate=5e-4
  wgrad pretrain --config recipe.toml --data data/reviews --out runs/mine --steps 3000
  wgrad pretrain --from bert-base-multilingual-cased --data data/letters --out runs/letters --steps 2000
  wgrad pretrain --resume --data data/reviews --out runs/micro
  wgrad pretrain --resume --allow-changes --data data/reviews --out runs/micro --steps 3000
  wgrad pretrain --preset notebook --data data/wiki --dry-run --micro-batch auto --memory 7GB

Ctrl-C ends the step, saves a checkpoint and the model; once more quits at once.
The recipe in use is written to OUT/train.json, which is a --config file.

--from goes on from a model with a masked-language-model head, of Hugging Face or
made here, on data made with its tokenizer (wgrad data prepare --tokenizer). Without
--config: 10,000 steps of 32 sequences, learning rate 5e-5 after 500 steps of warm-up.

A run can be prolonged: --resume --allow-changes --steps N. Its schedule is then made
anew for N steps, so that the learning rate of most leaps up. It does not with
--set schedule=constant; from any checkpoint of such a run, --set schedule=trapezoid
--set decay_steps=N with --steps leads it to 0 over the last N steps.

A run whose loss has exploded and does not come back ends with exit code 4 and without
a model; the checkpoints of before stay.

JSON: {out, interrupted, steps, total_steps, sequences, tokens, loss, held_out_loss, held_out_accuracy,
unigram_entropy, skipped_steps, device_losses, parameters, device, seconds, tokens_per_second}: losses in nats per
masked token, skipped_steps those whose gradient was not finite, device_losses how often the device, or
work that it was given, was lost.

With --profile also profile: [{rank, steps, step, compute, read, add, send, gradients, sums, optimizer, answers, other}],
means in seconds of a step: until the first gradients of a block were there, until all were read, adding them, sending,
waiting for gradients, sums and answers of other ranks, and the optimizer. Steps of one block are not among them.

JSON of --dry-run: {device, parameters, micro_batch, memory: {weights, gradients,
optimizer, transient, read_back, total}, flops_per_token, steps, sequences, tokens,
micro_batch_seconds, optimizer_seconds, tokens_per_second, hours}, memory in bytes.")]
pub struct Args {
    /// A recipe: micro, tiny, small, notebook, modern-tiny or modern-base.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["config", "resume", "from"], conflicts_with_all = ["config", "from"])]
    preset: Option<String>,
    /// A recipe in a file, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start from a model's weights: its folder, or its name on the hub.
    #[arg(long, value_name = "DIR|NAME", visible_alias = "init", alias = "model")]
    from: Option<PathBuf>,
    /// A folder made by `wgrad data prepare`; several are read one after the other.
    #[arg(long, value_name = "DIR", required = true)]
    data: Vec<PathBuf>,
    /// The run's folder, and the model's at the end.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// The run's length in optimizer steps.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Go on with the run in --out. Without --preset or --config its own recipe is taken.
    #[arg(long)]
    resume: bool,
    /// Resume although the recipe or the data is another.
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Take a folder that holds other things, and replace its files that are called as a run's.
    #[arg(long)]
    force: bool,
    /// Change one setting of the recipe: learning_rate=1e-3, model.tie_word_embeddings=true.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Chooses the first weights, the order of the data and the masks.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Sequences computed at once; lower it when memory runs out. auto: the most that fit, and on --resume those
    /// that were chosen at the start.
    #[arg(long, value_name = "N", value_parser = micro_batch)]
    micro_batch: Option<MicroBatch>,
    /// Layers whose inner results are computed again in the backward pass instead of kept: less memory, up to a third more
    /// time, the same bits. auto: as few as a larger micro-batch takes, none where it fits without.
    #[arg(long, value_name = "N", value_parser = recompute)]
    recompute: Option<Recompute>,
    /// Parts that a step's micro-batches are divided into, which as many ranks may compute; the bits of the result follow from it,
    /// not from the ranks. [default: the ranks that the run is started with; 1 without MPI]
    #[arg(long, value_name = "N")]
    blocks: Option<u64>,
    /// Ranks learn by themselves, and make one model of all of theirs every so many steps: for networks that are slow. Also after=STEPS
    /// (exact steps first), lr=RATE and momentum=SHARE (of the outer step; 0.7, 0.9). [default: they exchange gradients at each step]
    #[arg(long, value_name = "every=STEPS")]
    sync: Option<LocalSteps>,
    /// How gradients travel between ranks: f32, or f16, half as many bytes, rounded on the way. The bits of the result follow from
    /// it; the recipe keeps it. [default: f32]
    #[arg(long, value_name = "f32|f16")]
    wire: Option<WireFormat>,
    /// Say at the end what steps of several blocks have waited for, on each rank.
    #[arg(long)]
    profile: bool,
    /// Parameters that stay as they are: nothing, embeddings, or the embeddings and the first N layers.
    #[arg(long, value_name = "embeddings|N")]
    freeze: Option<Freeze>,
    /// Memory on the GPU that may be taken: 7GB, 500MiB.
    #[arg(long, value_name = "SIZE", value_parser = bytes, visible_alias = "gpu-memory")]
    memory: Option<u64>,
    /// Say how much memory and time the run would take, after measuring for two seconds, and train nothing.
    #[arg(long, conflicts_with_all = ["resume", "init_only"])]
    dry_run: bool,
    /// How activations are stored; the presets say auto.
    #[arg(long, value_enum)]
    precision: Option<precision::Choice>,
    #[command(flatten)]
    compute: precision::ComputeArgs,
    /// Write the batches and learning rates of the whole run to a safetensors file first; - is standard output.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    dump_batches: Option<PathBuf>,
    /// Write the weights a run starts from and train nothing.
    #[arg(long, conflicts_with = "resume", hide_short_help = true)]
    init_only: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command, on rank 0 of several; the others work for it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Some(team) = ranks::join(&args.compute, args.memory)? else { return Ok(()) };
    let interrupted = train_with(args, &team);
    end(&team, interrupted)
}

/// Says whether it was stopped.
fn train_with(args: Args, team: &Team) -> anyhow::Result<bool> {
    args.data.iter().try_for_each(|data| check_prepared(data, &args))?;
    let mut settings = settings(&args)?;
    let from = start(&args, &mut settings)?;
    let dataset = Arc::new(models::dataset(&args.data)?);
    if let Some(model) = &from {
        check_start(model, &dataset)?;
    }
    let given = ["blocks", "micro_batch"].map(|key| settings.is_given(key));
    let mut config = settings.for_data(&dataset)?;
    divide(&args, &mut config, given, team)?;
    let out = args.out.clone().unwrap_or_default();
    let mut options = RunOptions {
        from: from.map(Arc::new),
        data: args.data.iter().map(|folder| name(folder)).collect(),
        resume: args.resume,
        allow_changes: args.allow_changes,
        force: args.force,
        ..RunOptions::new(config, dataset.clone(), out)
    };
    if let Some(path) = &args.dump_batches {
        let bytes = dump_batches(&options.config, &dataset)?;
        let mut out = print::output(path)?;
        out.put(&bytes)?;
        out.finish()?;
        print::note(format_args!("batches    {}", path.display()));
    }
    if args.init_only {
        save_initial(&options)?;
        return report_initial(&options, args.json).map(|()| false);
    }
    let gpu = pollster::block_on(args.compute.options(options.config.precision, args.memory))?;
    let chosen = Chosen::of(args.micro_batch, args.recompute);
    let gpu = settle(&mut options, gpu)?;
    if chosen.any() && args.resume {
        let begun = Settings::file(&options.out.join(RECIPE))?.config()?;
        if chosen.micro_batch {
            options.config.micro_batch = begun.micro_batch;
        }
        if chosen.recompute || args.recompute.is_none() && options.config.recompute == 0 {
            options.config.recompute = begun.recompute;
        }
    } else if chosen.any() {
        let config = &options.config;
        let sizes = match chosen.micro_batch {
            true => micro_batches(config.batch_sequences, config.blocks),
            false => vec![config.micro_batch_sequences()],
        };
        let fit = chosen.fit(&gpu, config.model.num_hidden_layers, |gpu| {
            largest(gpu, config, &sizes, chosen.recompute)
        })?;
        (options.config.micro_batch, options.config.recompute) = (fit.micro_batch as usize, fit.recompute);
    }
    let config = &options.config;
    ranks::tell_wire(config.wire, config.blocks);
    let micro_batches = config.batch_sequences / config.micro_batch_sequences();
    if micro_batches < config.blocks as u64 {
        print::note(format_args!(
            "warning: a step begins with {micro_batches} micro-batches for {} blocks: some ranks have nothing to do (--micro-batch)",
            config.blocks
        ));
    }
    if args.dry_run {
        return dry_run(&options, &gpu, args.json).map(|()| false);
    }
    let summary = train(&options, &gpu, team)?;
    let profiled = ranks::Profiled::new(&summary, team, args.profile)?;
    if args.json {
        print::line(serde_json::to_string(&profiled).context("the summary as JSON")?)?;
    } else {
        report(&summary)?;
        profiled.show()?;
    }
    Ok(summary.interrupted)
}

/// Refuses texts, from which no run learns before they are prepared, and says with which commands that is done.
fn check_prepared(data: &Path, args: &Args) -> anyhow::Result<()> {
    let hub = data.to_string_lossy().starts_with("hf:");
    if !hub && !data.is_file() {
        return Ok(());
    }
    let found = if hub { "a data set of the hub" } else { "a file" };
    let (text, program) = (data.display(), print::program());
    // hf:NAME:CONFIG:SPLIT is called as its configuration.
    let name =
        text.to_string().rsplit(['/', ':']).find(|part| !part.is_empty() && *part != "train").map(|part| {
            part.split_once('.').map_or(part, |(stem, _)| if hub { part } else { stem }).to_owned()
        });
    let folder = format!("data/{}", name.unwrap_or_else(|| "prepared".to_owned()));
    let prepare =
        |tokenizer: &str| format!("{program} data prepare {text} --tokenizer {tokenizer} --out {folder}");
    let commands = match &args.from {
        Some(model) => prepare(&model.display().to_string()),
        None => format!("{program} tokenizer train {text} --out tok && {}", prepare("tok")),
    };
    bail!(
        "{text}: expected a folder made by `wgrad data prepare`, found {found} ({commands}, then --data {folder})"
    )
}

/// Says what the run would take.
fn dry_run(options: &RunOptions, gpu: &GpuOptions, json: bool) -> anyhow::Result<()> {
    let (config, data) = (&options.config, &options.dataset);
    let tokens = data.tokens(Split::Train) as f64 / data.len(Split::Train).max(1) as f64;
    let estimate = pollster::block_on(async {
        let gpu = device::open(gpu).await?;
        estimate(&gpu, config, tokens, SECONDS).await
    })?;
    fit::report(&estimate, json)
}

/// The recipe that was asked for, single settings last.
fn settings(args: &Args) -> wgrad::Result<Settings> {
    let mut settings = match (&args.preset, &args.config) {
        (Some(preset), _) => Settings::preset(preset)?,
        (None, Some(file)) => Settings::file(file)?,
        (None, None) if args.from.is_some() && !args.resume => Settings::going_on()?,
        (None, None) => begun(&args.out.clone().unwrap_or_default())?,
    };
    args.set.iter().try_for_each(|assignment| settings.set(assignment))?;
    let micro_batch = args.micro_batch.and_then(MicroBatch::given);
    let recompute = args.recompute.and_then(Recompute::given).map(|layers| layers as u64);
    let given = [
        ("steps", args.steps),
        ("seed", args.seed),
        ("micro_batch", micro_batch),
        ("recompute", recompute),
        ("blocks", args.blocks),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            settings.set(&format!("{key}={value}"))?;
        }
    }
    if let Some(sync) = args.sync {
        settings.set(&format!("sync={sync}"))?;
    }
    if let Some(wire) = args.wire {
        settings.set(&format!("wire={wire}"))?;
    }
    if let Some(freeze) = args.freeze {
        settings.set(&format!("freeze={freeze}"))?;
    }
    if let Some(precision) = args.precision {
        settings.set(&format!("precision={}", precision.name()))?;
    }
    Ok(settings)
}

/// Divides steps into as many blocks as there are ranks, where nobody has said into how many: what a run has begun with stays.
/// Micro-batches that nobody has chosen become smaller, so that each block has one.
fn divide(
    args: &Args,
    config: &mut TrainConfig,
    [blocks_given, micro_batch_given]: [bool; 2],
    team: &Team,
) -> wgrad::Result<()> {
    if !blocks_given {
        let begun = match &args.out {
            Some(out) if args.resume => {
                Settings::file(&out.join(RECIPE)).and_then(|begun| begun.config()).ok()
            }
            _ => None,
        };
        config.blocks = begun.map_or(team.size(), |begun| begun.blocks);
    }
    team.divide(config.blocks)?;
    if let Some(sync) = &mut config.sync {
        sync.ranks.get_or_insert(team.size());
    }
    let (batch, micro, blocks) =
        (config.batch_sequences, config.micro_batch_sequences(), config.blocks as u64);
    let chosen = args.resume || args.micro_batch.is_some() || micro_batch_given;
    if !chosen && blocks > 1 && batch / micro.max(1) < blocks {
        let fits = |size: &u64| batch.is_multiple_of(*size) && batch / size >= blocks;
        config.micro_batch = (1..=micro).rev().find(fits).unwrap_or(1) as usize;
    }
    Ok(())
}

/// The recipe of a run that is gone on with, on whatever it was begun.
fn begun(out: &Path) -> wgrad::Result<Settings> {
    let mut settings = Settings::file(&out.join(RECIPE))?;
    // Pages of earlier versions left open what they computed with, which was f32 wherever they ran.
    let precision = settings.clone().config()?.precision;
    if precision != precision.settled() {
        settings.set("precision=f32")?;
    }
    Ok(settings)
}

/// The model that the run starts from, told to the recipe. A run that goes on from a checkpoint does without it.
fn start(args: &Args, settings: &mut Settings) -> anyhow::Result<Option<ModelFolder>> {
    let given = args.from.as_deref().or_else(|| settings.from().map(Path::new)).map(Path::to_owned);
    let Some(given) = given else { return Ok(None) };
    if args.resume && args.out.as_deref().is_some_and(is_under_way) {
        if let (Some(from), Some(out)) = (&args.from, &args.out) {
            // The shape is the one that the run began with.
            let begun = Settings::file(&out.join(RECIPE))?.config()?;
            settings.start_from(&from.to_string_lossy(), &begun.model)?;
        }
        return Ok(None);
    }
    let model = models::model(&given)?;
    settings.start_from(&given.to_string_lossy(), &model.config)?;
    Ok(Some(model))
}

/// Whether a run's folder holds a checkpoint of a step that was done, whole or not: the run looks closer.
fn is_under_way(out: &Path) -> bool {
    let names = Disk.list(&out.join("checkpoints")).unwrap_or_default();
    names.iter().any(|name| name.strip_prefix("step-").and_then(|step| step.parse().ok()).unwrap_or(0) > 0)
}

/// The folder's own name, which says more on a card than where it lies.
fn name(folder: &Path) -> String {
    let place = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    place.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
}

fn report_initial(options: &RunOptions, json: bool) -> anyhow::Result<()> {
    let parameters = options.config.model.parameter_count();
    if json {
        return print::line(
            serde_json::json!({ "out": options.out.display().to_string(), "parameters": parameters }),
        );
    }
    print::line(format_args!("model      {} ({} parameters)", options.out.display(), thousands(parameters)))?;
    let data = &options.dataset;
    let [sequences, tokens] = [data.len(Split::Train), data.tokens(Split::Train)].map(thousands);
    print::line(format_args!("data       {sequences} sequences, {tokens} tokens; nothing was trained"))
}

fn report(summary: &Summary) -> anyhow::Result<()> {
    let [steps, total, sequences, tokens] =
        [summary.steps, summary.total_steps, summary.sequences, summary.tokens].map(thousands);
    print::line(format_args!(
        "model      {} ({} parameters)",
        summary.out.display(),
        thousands(summary.parameters)
    ))?;
    print::line(format_args!("steps      {steps} of {total}, {sequences} sequences, {tokens} tokens"))?;
    if let Some(loss) = summary.loss {
        print::line(format_args!("train      loss {loss:.4} nats over the last steps"))?;
    }
    let entropy = summary.unigram_entropy.map(|entropy| format!("unigram entropy {entropy:.4} nats"));
    let held_out = summary.eval_loss.zip(summary.eval_accuracy).map(|(loss, accuracy)| {
        format!("loss {loss:.4} nats, {:.1}% of the masked tokens right", 100.0 * accuracy)
    });
    let measured: Vec<_> = held_out.into_iter().chain(entropy).collect();
    if !measured.is_empty() {
        print::line(format_args!("held out   {}", measured.join("; ")))?;
    }
    if summary.skipped_steps > 0 {
        let skipped = thousands(summary.skipped_steps);
        print::line(format_args!("skipped    {skipped} steps whose gradient was not finite"))?;
    }
    let speed = thousands(summary.tokens_per_second as u64);
    let device = if summary.device.is_empty() { String::new() } else { format!(" on {}", summary.device) };
    print::line(format_args!("time       {:.1} s, {speed} tokens per second{device}", summary.seconds))?;
    if summary.interrupted {
        print::line("stopped    before the last step: go on with --resume")?;
    }
    Ok(())
}
