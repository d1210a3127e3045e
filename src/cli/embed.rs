//! `wgrad embed`

mod output;
mod reference;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::ValueEnum;
use wgrad::data::Texts;
use wgrad::files::fingerprint;
use wgrad::store::{Disk, OfShard};

use super::divided;
use super::embedder::{EmbedderArgs, follows_from, tell_truncated};
use super::files::FileArgs;
use super::print;
use super::shard::{ShardArgs, sharding};
use super::texts::{chunk, tell_lost, tell_repairs};
use output::Output;

const HELP: &str = concat!(
    "\
Input is one text per line; a file that ends in .jsonl, .json, .csv, .tsv or
.parquet (or these packed: .gz, .bz2, .zst, .xz, .zip) is read by its column. An
empty line, and a row that cannot be used, is a text too, so that line N has
vector N. Without texts and --input, standard input is read.

jsonl: {index, text, embedding: [NUMBER]} on each line
npy:   NumPy's file of a float32 matrix, one row per text

--reference writes reference_vectors.json beside the model: the vectors of ten
texts, with the checksums of the model's files. What is trained here has it
already. --verify, and the web page, compute the ten again and say when a GPU
computes others. Make the file on a device that wgrad doctor finds right.

JSON of --reference: {file, texts, width, device}
JSON of --verify:    {file, texts, cosine, difference, tolerance: {cosine,
                     difference}, precision, device, reference_device}
  cosine      the least of all texts
  difference  the largest of two elements, as a share of the vector's length

",
    sharding!(),
    "

Examples:
  wgrad embed --model data/minilm 'a cat on a roof' 'interest rates rose'
  wgrad embed --model data/minilm --input questions.txt --output questions.npy
  zcat news.gz | wgrad embed --model data/minilm | gzip > vectors.jsonl.gz
  wgrad embed --model runs/reviews --input reviews.csv --text-column text \\
    --pooling mean --output reviews.npy
  wgrad embed --model intfloat/e5-base-v2 --prompt 'query: ' 'how warm is the sun'
  wgrad embed --model data/nomic --prompt-name query --dimensions 256 'how warm is the sun'
  wgrad embed --model data/minilm --reference
  wgrad embed --model data/minilm --input questions.txt --output questions.npy --shard 1/4
  wgrad embed --model data/minilm --verify --json"
);

/// What goes with texts of one's own. The reference follows from the folder alone.
const ABOUT_TEXTS: [&str; 16] = [
    "text",
    "input",
    "output",
    "format",
    "input_format",
    "no_header",
    "strict",
    "lenient",
    "memory",
    "pooling",
    "no_normalize",
    "max_tokens",
    "prompt",
    "prompt_name",
    "dimensions",
    "shard",
];

/// Turn texts into vectors.
#[derive(clap::Args)]
#[command(after_help = HELP, mut_arg("input_format", |arg| arg.long("input-format")))]
pub struct Args {
    /// The texts.
    #[arg(conflicts_with = "input")]
    text: Vec<String>,
    /// A file of texts; - is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The column or field of a table that holds the text: its name, its number, or a.b for a field of a structure.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    /// Where to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How vectors are written; by the ending of --output, else jsonl.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    how: FileArgs,
    #[command(flatten)]
    shard: ShardArgs,
    /// Write the vectors of ten texts beside the model, by which other devices are checked.
    #[arg(long, conflicts_with_all = ABOUT_TEXTS, conflicts_with_all = ["verify", "precision"])]
    reference: bool,
    /// Check this device: compute those vectors again and compare.
    #[arg(long, conflicts_with_all = ABOUT_TEXTS)]
    verify: bool,
    /// Print what --reference wrote or --verify found as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    embedder: EmbedderArgs,
}

/// How vectors are written.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// One JSON object per line.
    Jsonl,
    /// A NumPy matrix.
    Npy,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match (args.reference, args.verify) {
        (true, _) => return pollster::block_on(reference::write(&args.embedder, args.json)),
        (_, true) => return pollster::block_on(reference::verify(&args.embedder, args.json)),
        _ if args.json => {
            bail!("--json goes with --reference or --verify; vectors are JSON lines by default")
        }
        _ => {}
    }
    let ends_in_npy = args.output.as_ref().is_some_and(|path| path.extension() == Some("npy".as_ref()));
    let format = args.format.unwrap_or(if ends_in_npy { Format::Npy } else { Format::Jsonl });
    if format == Format::Npy && args.output.is_none() && std::io::stdout().is_terminal() {
        bail!(
            "--format npy writes bytes that no terminal can show: give --output, or send them to a file or program"
        );
    }
    let input = args.input.as_deref().unwrap_or(Path::new("-"));
    let shard = args.shard.chosen(args.text.is_empty().then_some(input))?;
    divided::check(args.output.as_deref(), shard)?;
    // Each share reads the whole input, and one of them tells of it.
    let tells = shard.is_none_or(|shard| shard.number() == 1);
    let known: fn(&String) -> (&str, Option<&str>) = |text| (text, None);
    let mut given = OfShard::new(args.text.iter().cloned().map(Ok), shard, known);
    let mut read = None;
    if args.text.is_empty() {
        let texts = Texts::open(input, &args.text_column, &args.how.options())?;
        read = Some(OfShard::new(texts, shard, known));
    }
    pollster::block_on(async {
        let folder = args.embedder.folder()?;
        // Of the files that were read: when the part ends, others may lie there.
        let model = shard.map(|_| fingerprint(&Disk, &folder.model, &folder.further_weights)).transpose()?;
        let mut embedder = args.embedder.open_folder(&folder).await?;
        let (npy, width) = (format == Format::Npy, embedder.width());
        let mut output = Output::open(args.output.as_deref(), npy, width, shard)?;
        let bar = print::Items::new("texts");
        let (mut done, mut truncated) = (0, 0);
        loop {
            let (chunk, ended) = match &mut read {
                Some(texts) => chunk(texts, String::len)?,
                None => chunk(&mut given, String::len)?,
            };
            if ended {
                bar.total(done + chunk.len());
            }
            if chunk.is_empty() {
                break;
            }
            if done == 0 && tells {
                args.embedder.tell_lacking_prompt(&folder, &embedder, &chunk);
            }
            let embedded = embedder.embed(&chunk, &mut |count| bar.set(done + count)).await?;
            output.write(&chunk, &embedded)?;
            done += chunk.len();
            truncated += embedded.truncated;
        }
        bar.end();
        let (seen, layout) = (read.as_ref().map_or(given.seen(), OfShard::seen), output.layout());
        output.finish(seen, || {
            let follows_from =
                [("model", model.unwrap_or_default()), ("vectors made by", follows_from(&embedder))];
            divided::making("vectors", embedder.gpu().capabilities(), &follows_from, layout)
        })?;
        tell_truncated(truncated, done, &embedder);
        if let Some(texts) = read.as_ref().map(OfShard::all).filter(|_| tells) {
            tell_repairs(&texts.repairs(), texts.truncated());
            tell_lost(texts.lost(), input);
        }
        Ok(())
    })
}
