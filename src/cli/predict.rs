//! `wgrad predict`

mod lines;

use std::path::PathBuf;

use wgrad::Error;
use wgrad::files::{ModelFolder, fingerprint};
use wgrad::gpu::Gpu;
use wgrad::infer::{Classifier, TokenClassifier};
use wgrad::models::ProblemType;
use wgrad::store::{Disk, OfShard, WorkShard};
use wgrad::tensor::DType;

use super::divided::{self, Layout};
use super::files::FileArgs;
use super::precision::ComputeArgs;
use super::shard::{ShardArgs, sharding};
use super::texts::{Pair, Pairs, bytes, chunk, tell_lost, tell_repairs};
use super::{models, precision, print};
use lines::{Lines, show, show_entities};

const HELP: &str = concat!(
    "\
Without --input texts are read from standard input, one a line; two texts of a pair stand on one line with a tab
between them. Of a table (.csv, .tsv, .jsonl, .json, .parquet, packed or not) the columns are chosen by name or number.
A row that cannot be used is an empty text, so that every row has its answer.

Output: label, probability (or the number alone) and text, separated by tabs; every text in its order. Of a model that
gives a text several labels: those of at least --threshold, | between them, perhaps none; then each label with its
probability, the likeliest first, at most 20; and the text.
JSON lines: {text, pair, label, labels, score, probabilities: {label: probability}, truncated}, with labels where there
may be several.

A model that labels words, as --task tokens finetunes one, finds entities: [PER Ada Lovelace] lived in [LOC London],
coloured on a terminal unless NO_COLOR is set.
JSON lines: {text, entities: [{label, score, text, start, end}], truncated}, where start and end count characters
(Unicode code points, as Python's strings do) from 0, and end is that of the first character after the entity. The words
are those of the tokenizer, each with the label of its first piece; score is the mean over the words. That is
transformers' pipeline with aggregation_strategy=\"first\".

",
    sharding!(),
    "

Examples:
  echo 'a lovely film' | wgrad predict --model runs/reviews
  wgrad predict --model runs/reviews --input reviews.csv --text-column review --json > labels.jsonl
  wgrad predict --model runs/reviews --input reviews.csv --json --output labels.jsonl --shard 1/4
  echo 'Ada Lovelace lived in London .' | wgrad predict --model dslim/bert-base-NER"
);

/// Let a finetuned model label texts.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The finetuned model: a folder, or a name on huggingface.co.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// The file of the texts; `-` is standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The column or field of a table that holds the text: its name, its number, or a.b for a field of a structure.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    /// The column or field of a table that holds the second text of a pair.
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    #[command(flatten)]
    how: FileArgs,
    /// The probability from which on a text has a label, where it may have several [default: 0.5].
    #[arg(long, value_name = "SHARE")]
    threshold: Option<f64>,
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::Auto)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Where to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    shard: ShardArgs,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let shard = args.shard.chosen([args.input.as_path()])?;
    divided::check(args.output.as_deref(), shard)?;
    let folder = models::model(&args.model)?;
    // Of the files that were read: when the part ends, others may lie there.
    let model = shard.map(|_| fingerprint(&Disk, &folder, &[])).transpose()?;
    if let Some(threshold) = args.threshold {
        let several = folder.config.problem_type == Some(ProblemType::MultiLabelClassification);
        if !several || !(0.0..=1.0).contains(&threshold) {
            let expected = "a share from 0 to 1, of a model that gives a text several labels";
            return Err(Error::config("threshold", expected, threshold).into());
        }
    }
    match folder.config.is_token_classifier() {
        true => words(args, &folder, (shard, model)),
        false => classes(args, &folder, (shard, model)),
    }
}

/// The share of this process, and the fingerprint of the model where there is one.
type Share = (Option<WorkShard>, Option<String>);

/// The texts of this share, and where what is predicted of them goes.
fn open(args: &Args, shard: Option<WorkShard>) -> anyhow::Result<(OfShard<Pairs, Pair>, Lines)> {
    let pair = args.pair_column.as_deref();
    let texts = Pairs::open(&args.input, &args.text_column, pair, &args.how.options())?;
    let texts = OfShard::new(texts, shard, |(text, pair): &Pair| (text, pair.as_deref()));
    Ok((texts, Lines::open(args.output.as_deref(), shard)?))
}

/// Ends the output, and says what was noticed on the way.
fn finish(
    args: &Args,
    (shard, model): Share,
    (texts, lines): (&OfShard<Pairs, Pair>, Lines),
    (gpu, storage): (&Gpu, DType),
    (truncated, longest): (usize, usize),
) -> anyhow::Result<()> {
    lines.finish(texts.seen(), || {
        let how =
            format!("threshold {:?}, {longest} tokens, in {storage:?}, JSON {}", args.threshold, args.json);
        let follows_from = [("model", model.unwrap_or_default()), ("predictions made by", how)];
        divided::making("predictions", gpu.capabilities(), &follows_from, Layout::Lines)
    })?;
    // Each share reads the whole input, and one of them tells of it.
    if shard.is_none_or(|shard| shard.number() == 1) {
        tell_repairs(&texts.all().repairs(), 0);
        tell_lost(Some(texts.all().lost()), &args.input);
    }
    if truncated > 0 {
        print::note(format_args!("note: {truncated} texts of over {longest} tokens were truncated"));
    }
    Ok(())
}

/// Runs the command with a model that labels texts.
fn classes(args: &Args, folder: &ModelFolder, share: Share) -> anyhow::Result<()> {
    let (gpu, storage) = pollster::block_on(args.compute.open(args.precision))?;
    let model = Classifier::open(&gpu, folder, storage)?;
    let mut model = match args.threshold {
        Some(threshold) => model.with_threshold(threshold),
        None => model,
    };
    let bar = print::Items::new("texts");
    let (mut before, mut truncated) = (0, 0);
    let (mut texts, mut lines) = open(args, share.0)?;
    loop {
        let (chunk, _) = chunk(&mut texts, bytes)?;
        if chunk.is_empty() {
            break;
        }
        let predicted = pollster::block_on(model.predict(&chunk, &mut |done| bar.set(before + done)))?;
        before += chunk.len();
        for (text, prediction) in chunk.iter().zip(&predicted) {
            truncated += usize::from(prediction.truncated > 0);
            show(&mut lines, text, prediction, &folder.config.labels, args.json)?;
        }
    }
    bar.end();
    finish(args, share, (&texts, lines), (&gpu, storage), (truncated, model.longest()))
}

/// Runs the command with a model that labels words.
fn words(args: &Args, folder: &ModelFolder, share: Share) -> anyhow::Result<()> {
    if args.pair_column.is_some() {
        let expected = "none: a model that labels words reads one text at a time";
        return Err(Error::config("pair-column", expected, "one").into());
    }
    let (gpu, storage) = pollster::block_on(args.compute.open(args.precision))?;
    let mut model = TokenClassifier::open(&gpu, folder, storage)?;
    let mut kinds: Vec<&str> = Vec::new();
    for label in &folder.config.labels {
        let kind = label.split_once('-').map_or(label.as_str(), |(_, kind)| kind);
        if kind != "O" && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let bar = print::Items::new("texts");
    let (mut before, mut truncated) = (0, 0);
    let (mut texts, mut lines) = open(args, share.0)?;
    loop {
        let (chunk, _) = chunk(&mut texts, bytes)?;
        if chunk.is_empty() {
            break;
        }
        // A tab divides no pair here.
        let whole = |(text, rest): Pair| match rest {
            Some(rest) => format!("{text}\t{rest}"),
            None => text,
        };
        let chunk: Vec<String> = chunk.into_iter().map(whole).collect();
        let read: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let found = pollster::block_on(model.predict(&read, &mut |done| bar.set(before + done)))?;
        before += chunk.len();
        for (text, tagged) in read.iter().zip(&found) {
            truncated += usize::from(tagged.truncated > 0);
            show_entities(&mut lines, text, tagged, &kinds, args.json)?;
        }
    }
    bar.end();
    finish(args, share, (&texts, lines), (&gpu, storage), (truncated, model.longest()))
}
