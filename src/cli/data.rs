//! `wgrad data`

mod fetch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use wgrad::data::prepare::{Earlier, can_go_on};
use wgrad::data::prepare_shard::prepare_shard;
use wgrad::data::{self, HeldOut, PrepareOptions, ReadCounts, ReadOptions, Summary};
use wgrad::format::thousands;
use wgrad::store::WorkShard;

use super::files::FileArgs;
use super::hub::{self, dataset};
use super::shard::{ShardArgs, sharding};
use super::{models, print};

/// Turn text into the shards that training reads.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tokenize files into a folder of shards.
    #[command(after_help = concat!("How sequences are filled:
  (default)  a sequence holds one document or a piece of one, and is padded
  --join     documents follow one another and see each other; no padding
  --pack     whole documents stand side by side and do not see each other: the
             default's training without its padding

A run that was killed, or ended with an error, is gone on with by the same command, to the same bits: the texts it had
tokenized are read again and compared. With other settings, another tokenizer or other texts it begins anew, and says so.

JSON: {out, seq_len, vocab_size, read, resumed_documents, begun_anew, empty_documents, dropped_tokens, unknown_tokens, train, held_out,
unigram_entropy}, where read is {files, documents, text_bytes, blank, splits, left_out, left_out_first: [LINE],
passed_over: [FILE], invalid_utf8, nul, byte_order_marks, carriage_returns, utf16}, train and held_out are {documents, sequences, segments, tokens, fill, padding_avoided}:
fill is the share of the sequences that is no padding, padding_avoided the tokens of padding that packing saved;
resumed_documents are those taken over from a run that was not finished, begun_anew says why nothing was, null where there was none
JSON with --shard: {part, shard, documents, tokens, read}

", sharding!(), " A share of a run that was killed begins anew.

Examples:
  wgrad data prepare reviews.csv --tokenizer tok --seq-len 64 --join --held-out 512 --out data/reviews
  wgrad data prepare wiki.jsonl.zst --tokenizer tok --out data/wiki
  wgrad data prepare sentences.txt --tokenizer tok --pack --out data/sentences
  wgrad data prepare books/ --tokenizer tok --documents blank-line --join --out data/books
  cat notes.txt | wgrad data prepare - --tokenizer tok --documents file --out data/notes --json
  wgrad data prepare wiki.jsonl.zst --tokenizer tok --out data/wiki --shard 2/4"))]
    Prepare(Prepare),
    #[command(after_help = fetch::HELP)]
    Fetch(fetch::Fetch),
}

/// Which files are read, and how.
#[derive(Debug, clap::Args)]
pub struct ReadArgs {
    /// Files (.txt, .jsonl, .json, .csv, .tsv, .parquet; plain, .gz, .bz2, .zst or .xz), folders and .zip or .tar archives
    /// of such, hf:NAME:CONFIG:SPLIT for a data set of the Hugging Face hub (see `wgrad data fetch`), or - for standard input. A file without an ending, and standard input, are what they hold: JSON or text.
    #[arg(required = true, value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// The column or field of tables that holds the text: its name, its number, or a.b for a field of a structure.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    /// What one document of a .txt file is.
    #[arg(long, value_enum, default_value_t = Documents::Line)]
    documents: Documents,
    #[command(flatten)]
    how: FileArgs,
    /// Split documents of more bytes than this [default: 1048576, or 1/1024 of --memory if that is less].
    #[arg(long, value_name = "BYTES", hide_short_help = true)]
    document_limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Documents {
    /// Every line.
    Line,
    /// What stands between blank lines.
    BlankLine,
    /// The whole file.
    File,
}

impl From<&ReadArgs> for ReadOptions {
    fn from(args: &ReadArgs) -> Self {
        // It sets the budget, on which the limit of documents depends.
        let files = args.how.options();
        ReadOptions {
            text_column: args.text_column.clone(),
            documents: match args.documents {
                Documents::Line => data::Documents::Line,
                Documents::BlankLine => data::Documents::BlankLine,
                Documents::File => data::Documents::File,
            },
            files,
            document_limit: args.document_limit.unwrap_or(ReadOptions::default().document_limit),
        }
    }
}

#[derive(clap::Args)]
struct Prepare {
    #[command(flatten)]
    read: ReadArgs,
    /// The folder or file of the tokenizer; a model's folder or its name on the hub stands for its own.
    #[arg(long, value_name = "DIR|NAME")]
    tokenizer: PathBuf,
    /// Tokens per sequence, [CLS] and [SEP] included.
    #[arg(long, value_name = "N", default_value_t = 128)]
    seq_len: usize,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Let documents follow one another and see each other, so that no sequence needs padding.
    #[arg(long)]
    join: bool,
    /// Let documents stand side by side in a sequence without seeing each other, so that next to none is padding.
    #[arg(long, conflicts_with = "join")]
    pack: bool,
    /// What is kept from training: a share of the documents below 1, or a number of sequences.
    #[arg(long, value_name = "F", default_value = "0.01", value_parser = held_out)]
    held_out: HeldOut,
    /// Chooses the documents held out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// After how many seconds what is done is saved, to go on from after a kill or an error.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds, hide_short_help = true)]
    save_every: Duration,
    #[command(flatten)]
    shard: ShardArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected a number of seconds, 0 or more".to_owned())
}

fn held_out(text: &str) -> Result<HeldOut, String> {
    if let Ok(sequences) = text.parse::<u64>() {
        return Ok(HeldOut::Sequences(sequences));
    }
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(HeldOut::Fraction(share)),
        _ => Err("expected a share from 0 to below 1, or a whole number of sequences".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Prepare(args) => prepare(args),
        Command::Fetch(args) => fetch::run(&args),
    }
}

fn prepare(args: Prepare) -> anyhow::Result<()> {
    let shard = args.shard.chosen(args.read.files.iter().map(PathBuf::as_path))?;
    let options = PrepareOptions {
        read: ReadOptions::from(&args.read),
        inputs: dataset::all_texts(&args.read.files)?,
        tokenizer: hub::folder(&args.tokenizer)?,
        verify: models::verify(),
        out: args.out,
        seq_len: args.seq_len,
        join: args.join,
        pack: args.pack,
        held_out: args.held_out,
        seed: args.seed,
        save_every: args.save_every,
        ..PrepareOptions::default()
    };
    if let Some(shard) = shard {
        return prepare_share(&options, shard, args.json);
    }
    let (mut bar, mut told) = (None, Earlier::default());
    let summary = data::prepare(&options, |progress| {
        // It is known when what was done was compared with the texts.
        if told != progress.earlier {
            told = progress.earlier;
            tell_earlier(&told);
        }
        let bar = bar.get_or_insert_with(|| print::Bytes::new(progress.total_bytes, None));
        bar.set(progress.bytes, format!("{} tokens", thousands(progress.tokens)));
    });
    if let Some(bar) = bar {
        bar.end();
    }
    if summary.is_err() && can_go_on(&options.out) {
        print::note("what was done is kept, and the same command goes on from it");
    }
    report(&summary?, args.json)
}

/// Tokenizes one share of the documents.
fn prepare_share(options: &PrepareOptions, shard: WorkShard, json: bool) -> anyhow::Result<()> {
    let mut bar = None;
    let summary = prepare_shard(options, shard, |progress| {
        let bar = bar.get_or_insert_with(|| print::Bytes::new(progress.total_bytes, None));
        bar.set(progress.bytes, format!("{} tokens", thousands(progress.tokens)));
    });
    if let Some(bar) = bar {
        bar.end();
    }
    let summary = summary?;
    if json {
        return print::line(serde_json::to_string(&summary).context("the summary as JSON")?);
    }
    let [documents, tokens] = [summary.documents, summary.tokens].map(thousands);
    print::line(format_args!(
        "part {shard}   {documents} documents, {tokens} tokens in {}",
        summary.part.display()
    ))?;
    // All shares read the same.
    if shard.number() == 1 { report_read(&summary.read) } else { Ok(()) }
}

/// Says what a preparation came to.
pub fn report(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return print::line(serde_json::to_string(summary).context("the summary as JSON")?);
    }
    print::line(format_args!("data       {}", summary.out.display()))?;
    report_read(&summary.read)?;
    for (name, part) in [("train", &summary.train), ("held out", &summary.held_out)] {
        let [documents, sequences, tokens] = [part.documents, part.sequences, part.tokens].map(thousands);
        let share = 100.0 * part.fill;
        print::line(format_args!(
            "{name:<10} {documents} documents, {sequences} sequences, {tokens} tokens ({share:.1}% full)"
        ))?;
        if part.padding_avoided > 0 {
            let [segments, avoided] = [part.segments, part.padding_avoided].map(thousands);
            print::line(format_args!(
                "           {segments} segments packed, {avoided} tokens of padding avoided"
            ))?;
        }
    }
    if summary.unknown_tokens + summary.dropped_tokens + summary.empty_documents > 0 {
        let [unknown, dropped, empty] =
            [summary.unknown_tokens, summary.dropped_tokens, summary.empty_documents].map(thousands);
        print::line(format_args!(
            "lost       {unknown} unknown tokens, {dropped} tokens in short tails, {empty} empty documents"
        ))?;
    }
    match summary.unigram_entropy {
        Some(entropy) => print::line(format_args!("unigram entropy {entropy:.3} nats per held-out token")),
        None => Ok(()),
    }
}

/// Says what becomes of a run that was not finished.
fn tell_earlier(earlier: &Earlier) {
    let documents = earlier.resumed_documents;
    if documents > 0 {
        let documents = thousands(documents);
        print::note(format_args!("goes on from {documents} documents of a run that was not finished"));
    }
    if let Some(why) = earlier.begun_anew {
        print::note(format_args!("begins anew what was not finished: {why}"));
    }
}

/// As many files that were passed over are named; the rest are counted.
const PASSED_OVER: usize = 10;

/// What was read, and what was put right if anything was.
pub fn report_read(read: &ReadCounts) -> anyhow::Result<()> {
    let [files, documents] = [read.files, read.documents].map(thousands);
    let megabytes = read.text_bytes as f64 / 1e6;
    print::line(format_args!("read       {files} files, {documents} documents, {megabytes:.1} MB of text"))?;
    let repairs = [
        (read.repairs.invalid_utf8, "invalid UTF-8"),
        (read.repairs.nul, "NUL"),
        (read.repairs.byte_order_marks, "byte-order marks"),
        (read.repairs.carriage_returns, "carriage returns"),
        (read.repairs.utf16, "files in UTF-16"),
        (read.splits, "documents split"),
        (read.blank, "blank rows"),
    ];
    let told: Vec<_> = repairs.iter().filter(|(number, _)| *number > 0).collect();
    if !told.is_empty() {
        let told: Vec<_> =
            told.iter().map(|(number, what)| format!("{} {what}", thousands(*number))).collect();
        print::line(format_args!("put right  {}", told.join(", ")))?;
    }
    if read.left_out > 0 {
        let first = read.left_out_first.join("; ");
        print::line(format_args!("left out   {} rows: {first}", thousands(read.left_out)))?;
    }
    let passed_over = read.passed_over.len();
    if passed_over > 0 {
        let more = passed_over.saturating_sub(PASSED_OVER);
        let mut shown = read.passed_over[..passed_over - more].join(", ");
        if more > 0 {
            shown += &format!(" and {} more", thousands(more as u64));
        }
        print::line(format_args!("passed over {} files: {shown}", thousands(passed_over as u64)))?;
    }
    Ok(())
}
