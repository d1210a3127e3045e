//! `wgrad finetune`

use std::path::PathBuf;

use anyhow::Context;
use wgrad::Error;
use wgrad::data::task::Task;
use wgrad::format::thousands;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::models::Freeze;
use wgrad::tensor::DType;
use wgrad::train::finetune::{
    ClassWeights, FinetuneOptions, FinetuneReport, RECIPE, Rates, Recipe, RecipeName, estimate, finetune,
    largest,
};
use wgrad::train::fit::micro_batches;
use wgrad::train::ranks::Team;
use wgrad::train::{Precision, WireFormat};

use super::fit::{self, Chosen, MicroBatch, Recompute, bytes, micro_batch, recompute};
use super::labelled::Labelled;
use super::texts::tell_repairs;
use super::training::end;
use super::watch::Watch;
use super::{device, interrupt, models, pooling, precision, print, ranks, tuned};

/// How long a step is measured.
const SECONDS: f64 = 2.0;

/// Teach a pretrained model a task.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  wgrad finetune --task sst2 --model runs/mine --data glue --out runs/sst2 --seeds 5
  wgrad finetune --task classify --model data/minilm --train train.csv --eval dev.csv --out runs/reviews
  wgrad finetune --task regress --model data/minilm --train a.tsv --eval b.tsv \\
      --text-column left --pair-column right --label-column score --out runs/alike
  wgrad finetune --task contrastive --model data/minilm --train pairs.jsonl --eval more.jsonl \\
      --text-column question --pair-column answer --out runs/search
  wgrad finetune --task contrastive --model data/minilm --train triplets.jsonl \\
      --text-column anchor --pair-column positive --negative-column negative --out runs/search

  wgrad finetune --task tokens --model data/minilm --train train.conll --eval dev.conll --out runs/entities
  wgrad finetune --task multi-label --model data/minilm --train train.csv --eval dev.csv --out runs/topics \\
      --label-column topics --label-separator '|'

Words and their labels (tokens) stand in columns, the word in the first and its tag in the last, with an empty line after
each text (.txt, .conll, .tsv), or in two lists (.jsonl, .parquet): {\"tokens\": [\"Ada\"], \"tags\": [\"B-PER\"]}. The label of a
word is learned at its first piece. Entities are counted as seqeval counts them.

Own tables have a header, or fields that are named (JSON, Parquet); classes are whatever stands in the label's column.
Contrastive training learns from pairs of texts that belong together (MultipleNegativesRanking), with hard negatives
where there are any, or from single texts by dropout alone (SimCSE). After each epoch the model is measured, and the best
epoch is kept. With several seeds the model of the median one is saved.

JSON: {out, task, interrupted, saved, kept_seed, seeds: [SEED], median: [[set, measure, VALUE]], texts, truncated,
left_out, skipped_steps, steps, device_losses, seconds, device}, where SEED is {seed, epoch, scores: [[set, measure, VALUE]]}:
left_out counts texts that were too long, skipped_steps those whose gradient was not finite, device_losses how often
the device, or work that it was given, was lost. Of --dry-run it is that of pretrain --dry-run.

With --profile also profile: [{rank, steps, step, compute, read, add, send, gradients, sums, optimizer, answers, other}],
means in seconds of a step: until the first gradients of a block were there, until all were read, adding them, sending,
waiting for gradients, sums and answers of other ranks, and the optimizer. Steps of one block are not among them.

  wgrad finetune --task sst2 --model runs/mine --data glue --out runs/sst2 --seeds 5 --resume

OUT gets config.json, model.safetensors, tokenizer.json, README.md, predictions.tsv, metrics.csv, metrics.jsonl,
and loss.svg. While the run lasts a checkpoint is saved there every ten minutes and after each epoch. Ctrl-C ends the
step, and saves a checkpoint and the best epoch so far; once more quits at once. The same command with --resume goes
on to the same bits, after Ctrl-C as after a crash.")]
pub struct Args {
    #[command(flatten)]
    labelled: Labelled,
    /// The model to begin with: a folder, or a name on huggingface.co, such as google-bert/bert-base-uncased.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// Texts to learn from: .csv, .tsv, .jsonl, .json or .parquet, several, or a folder of such; of contrastive training
    /// also .txt, a text a line. Or hf:NAME:CONFIG:SPLIT, a data set of the Hugging Face hub.
    #[arg(long, value_name = "FILES|hf:NAME", num_args = 1.., required_unless_present = "data", conflicts_with = "data")]
    train: Vec<PathBuf>,
    /// The folder of the finetuned model.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// cramming (dropout, cosine, learning rate 4e-5), or notebook (as *A BERT for laptops*).
    #[arg(long, value_name = "NAME", default_value_t = RecipeName::Cramming)]
    recipe: RecipeName,
    /// How often all texts are seen [default: 5].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Texts per step [default: 16; contrastive: 64].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Texts, or pairs, computed at once; lower it when memory runs out [default: the batch]. The step is the same but
    /// for rounding, in contrastive training too, where it takes longer. auto: the most that fit, and on --resume those that
    /// were chosen at the start.
    #[arg(long, value_name = "N", value_parser = micro_batch)]
    micro_batch: Option<MicroBatch>,
    /// Layers whose inner results are computed again in the backward pass instead of kept: less memory, up to a third more
    /// time, the same bits. auto: as few as a larger micro-batch takes, none where it fits without [default: 0].
    #[arg(long, value_name = "N", value_parser = recompute)]
    recompute: Option<Recompute>,
    /// Memory on the GPU that may be taken: 7GB, 500MiB.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    gpu_memory: Option<u64>,
    /// Say how much memory and time the run would take, after measuring its longest texts for two seconds, and train nothing.
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Parts that a step's micro-batches are divided into, which as many ranks may compute; the bits of the result follow from it,
    /// not from the ranks. [default: the ranks that the run is started with; 1 without MPI]
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,
    /// How gradients travel between ranks: f32, or f16, half as many bytes, rounded on the way. The bits of the result follow from
    /// it; the recipe keeps it. [default: f32]
    #[arg(long, value_name = "f32|f16")]
    wire: Option<WireFormat>,
    /// Say at the end what steps of several blocks have waited for, on each rank.
    #[arg(long)]
    profile: bool,
    /// Parameters that stay as they are, without gradients and without an optimizer's state: nothing, embeddings, or the
    /// embeddings and the first N layers.
    #[arg(long, value_name = "embeddings|N", default_value_t)]
    freeze: Freeze,
    /// The learning rate [default: 4e-5].
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// The share of the steps over which the learning rate rises [default: 0.1].
    #[arg(long, value_name = "SHARE")]
    warmup: Option<f64>,
    /// Tokens of a text or pair at most; longer ones are truncated [default: 128].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// The share that dropout zeroes [default: 0.1].
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,
    /// What a text's vector is: by default the mean over its tokens, but the first token of Hugging Face's BERTs, with
    /// --recipe notebook, and wherever the model's folder says so.
    #[arg(long, value_enum, default_value_t = pooling::Choice::Auto)]
    pooling: pooling::Choice,
    /// What each class counts in the loss: balanced, the rarer the more, or label=weight,… where others count 1; for texts
    /// and words that have one class each [default: all alike].
    #[arg(long, value_name = "balanced|LABEL=WEIGHT,…")]
    class_weights: Option<ClassWeights>,
    /// AdamW's weight decay [default: 0].
    #[arg(long, value_name = "SHARE")]
    weight_decay: Option<f64>,
    /// Runs with different seeds; the median of their scores is reported.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// The first seed: it chooses the head's first weights, the order of the texts, and dropout.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How the model's weights are saved; in f16 they take half the room and are off by up to 0.05%.
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = SavedAs::F32)]
    save_as: SavedAs,
    /// How activations are stored while it learns. What is measured and saved is computed from f32 weights.
    #[arg(long, value_enum, default_value_t = precision::Choice::Auto)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: precision::ComputeArgs,
    /// Forms of kernels instead of those that `wgrad doctor --tune` has chosen, as "sums=whole attention.short=fused", or rules.
    #[arg(long, value_name = "FORMS")]
    kernels: Option<String>,
    /// Go on with the run in --out: the same command with this.
    #[arg(long)]
    resume: bool,
    /// Resume although settings, texts or model are not those the run was started with.
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Take a folder that holds other things, and replace its files that are called as a run's.
    #[arg(long)]
    force: bool,
    /// Load weights that hold NaN or infinity.
    #[arg(long)]
    allow_non_finite: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How weights are saved.
#[derive(Clone, Copy, clap::ValueEnum)]
enum SavedAs {
    /// Exactly.
    F32,
    /// Rounded.
    F16,
}

/// Runs the command, on rank 0 of several; the others work for it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(team) = ranks::join(&args.compute, args.gpu_memory)? else { return Ok(()) };
    let interrupted = train_with(args, &team);
    end(&team, interrupted)
}

/// Says whether it was stopped.
fn train_with(args: &Args, team: &Team) -> anyhow::Result<bool> {
    let recipe = recipe(args, team)?;
    ranks::tell_wire(recipe.wire, recipe.blocks);
    let (train, evals) = args.labelled.read(&args.train)?;
    train
        .iter()
        .chain(evals.iter().map(|(_, table)| table))
        .for_each(|table| tell_repairs(&table.repairs, 0));
    let train = train.ok_or_else(|| Error::config("train", "--data DIR or --train FILE", "neither"))?;
    if evals.is_empty() && args.labelled.task != Task::Contrastive {
        return Err(Error::config("eval", "--data DIR, or --eval FILE beside --train", "neither").into());
    }
    let mut model = models::model(&args.model)?;
    model.weights = model.weights.allow_non_finite(args.allow_non_finite);
    let asked = Precision::from(args.precision);
    let gpu = pollster::block_on(args.compute.options(asked, args.gpu_memory))?;
    let storage = precision::decide(asked, &pollster::block_on(Gpu::chosen(&gpu))?).storage();
    let out = args.out.clone().unwrap_or_default();
    let begun = args.resume.then(|| out.join(RECIPE));
    let gpu =
        tuned::decide(&args.kernels.as_deref().unwrap_or_default().into(), begun.as_deref(), storage, gpu)?;
    let mut options = FinetuneOptions {
        pooling: args.pooling.chosen(),
        evals,
        recipe,
        seeds: (0..args.seeds).map(|number| args.seed.wrapping_add(number)).collect(),
        saved_as: match args.save_as {
            SavedAs::F32 => DType::F32,
            SavedAs::F16 => DType::F16,
        },
        storage,
        kernels: gpu.choices.clone(),
        resume: args.resume,
        allow_changes: args.allow_changes,
        force: args.force,
        team: team.clone(),
        ..FinetuneOptions::new(args.labelled.task, model, train, out)
    };
    choose(args, &mut options, &gpu)?;
    if args.dry_run {
        let estimate = pollster::block_on(async {
            let gpu = device::open(&gpu).await?;
            estimate(&gpu, &options, SECONDS).await
        })?;
        return fit::report(&estimate, args.json).map(|()| false);
    }
    let stop = interrupt::watch(interrupt::THIS_STEP)?;
    let mut watch = Watch::new();
    let open = async || device::open(&gpu).await;
    let report = pollster::block_on(finetune(&options, open, &mut |event| watch.show(event), &stop));
    watch.end();
    let report = report?;
    let profiled = ranks::Profiled::new(&report, team, args.profile)?;
    if args.json {
        print::line(serde_json::to_string(&profiled).context("the report as JSON")?)?;
    } else {
        show(&report)?;
        profiled.show()?;
    }
    Ok(report.interrupted)
}

/// Chooses the sizes that are left to the program: what fits, and on resuming what the run has begun with.
fn choose(args: &Args, options: &mut FinetuneOptions, gpu: &GpuOptions) -> anyhow::Result<()> {
    let chosen = Chosen::of(args.micro_batch, args.recompute);
    if !chosen.any() {
        return Ok(());
    }
    if let Some(begun) = begun(args) {
        if chosen.micro_batch {
            options.recipe.micro_batch = begun.micro_batch;
        }
        if chosen.recompute || args.recompute.is_none() {
            options.recipe.recompute = begun.recompute;
        }
        return Ok(());
    }
    let recipe = &options.recipe;
    let sizes = match chosen.micro_batch {
        true => micro_batches(recipe.batch as u64, recipe.blocks),
        false => vec![recipe.micro_batch as u64],
    };
    let fit = chosen.fit(gpu, options.model.config.num_hidden_layers, |gpu| {
        largest(gpu, options, &sizes, chosen.recompute)
    })?;
    (options.recipe.micro_batch, options.recipe.recompute) = (fit.micro_batch as usize, fit.recompute);
    Ok(())
}

/// The recipe of the run that is gone on with, where it has begun.
fn begun(args: &Args) -> Option<Recipe> {
    let out = args.out.as_ref().filter(|_| args.resume)?;
    let text = std::fs::read_to_string(out.join(RECIPE)).ok()?;
    let mut begun: serde_json::Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(begun.get_mut("recipe")?.take()).ok()
}

/// The recipe that was asked for, single settings last.
fn recipe(args: &Args, team: &Team) -> wgrad::Result<Recipe> {
    let mut recipe = Recipe::new(args.recipe, args.labelled.task);
    fn set<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    set(&mut recipe.epochs, args.epochs);
    set(&mut recipe.batch, args.batch);
    // A run keeps what it has begun with.
    let begun = begun(args);
    let blocks = args.blocks.or_else(|| begun.as_ref().map(|begun| begun.blocks));
    recipe.blocks = blocks.unwrap_or(team.size());
    recipe.wire = args.wire.or_else(|| begun.map(|begun| begun.wire)).unwrap_or_default();
    let micro_batch = args.micro_batch.and_then(MicroBatch::given).map(|texts| texts as usize);
    recipe.micro_batch = micro_batch.unwrap_or(recipe.batch.div_ceil(recipe.blocks.max(1)));
    set(&mut recipe.recompute, args.recompute.and_then(Recompute::given));
    recipe.freeze = args.freeze;
    set(&mut recipe.class_weights, args.class_weights.clone());
    set(&mut recipe.max_length, args.max_length);
    set(&mut recipe.dropout, args.dropout);
    set(&mut recipe.optimizer.weight_decay, args.weight_decay);
    match &mut recipe.rates {
        Rates::Cosine { peak, warmup } => {
            set(peak, args.lr);
            set(warmup, args.warmup);
        }
        Rates::PerEpoch(_) if args.lr.is_some() || args.warmup.is_some() => {
            let expected = "neither with --recipe notebook, which has a learning rate for each epoch";
            return Err(Error::config("lr and warmup", expected, "at least one"));
        }
        Rates::PerEpoch(_) => {}
    }
    Ok(recipe)
}

fn show(report: &FinetuneReport) -> anyhow::Result<()> {
    if !report.saved {
        return print::line(
            "stopped    before the first epoch was over: there is no model yet; go on with --resume",
        );
    }
    print::line(format_args!("model      {}", report.out.display()))?;
    let name = |set: &str, metric: &str| format!("{set} {metric}");
    let value = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let head = ["seed".to_owned(), "epoch".to_owned()];
    let scores = report.median.iter().map(|(set, metric, _)| name(set, metric));
    let mut rows = vec![head.into_iter().chain(scores).collect::<Vec<_>>()];
    for seed in &report.seeds {
        let kept = if Some(seed.seed) == report.kept_seed { "*" } else { "" };
        let head = [format!("{}{kept}", seed.seed), seed.epoch.to_string()];
        rows.push(head.into_iter().chain(seed.scores.iter().map(|score| value(score.2))).collect());
    }
    if report.seeds.len() > 1 {
        let head = ["median".to_owned(), String::new()];
        rows.push(head.into_iter().chain(report.median.iter().map(|score| value(score.2))).collect());
    }
    print::table(&rows, 1).into_iter().try_for_each(print::line)?;
    if report.seeds.len() > 1 {
        print::line("* the seed whose model was saved")?;
    }
    if report.skipped_steps > 0 {
        print::line(format_args!("skipped    {} steps whose gradient was not finite", report.skipped_steps))?;
    }
    let steps = thousands(report.steps);
    print::line(format_args!("time       {:.1} s, {steps} steps on {}", report.seconds, report.device))?;
    if report.interrupted {
        print::line("stopped    before the last step: go on with --resume")?;
    }
    Ok(())
}
