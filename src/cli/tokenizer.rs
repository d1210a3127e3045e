//! `wgrad tokenizer`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Subcommand, ValueEnum};
use wgrad::data::{ReadCounts, ReadOptions, Reader};
use wgrad::format::thousands;
use wgrad::store::{Disk, Purpose, claim};
use wgrad::text::{Reserved, Tokenizer, TokenizerKind, TokenizerOptions, tokenizer};

use super::data::ReadArgs;
use super::hub::dataset;
use super::{models, print};

/// Learn a vocabulary from text.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Learn a vocabulary from files and write it as a Hugging Face tokenizer.json.
    #[command(
        after_help = "JSON: {tokenizer, vocab_size, fingerprint, read, seconds}, where read is {files, documents, text_bytes, blank,
splits, left_out, left_out_first: [LINE], passed_over: [FILE], invalid_utf8, nul, byte_order_marks, carriage_returns,
utf16}: rows with a blank text, how often a document was split, rows that could not be used and the first three of
them, what folders hold besides, and what was put right in the text

Examples:
  wgrad tokenizer train reviews.csv --vocab-size 4096 --out tok
  wgrad tokenizer train wiki/ books.txt.zst --out tok
  wgrad tokenizer train noticias.jsonl --text-column corpo --keep-accents --keep-case --out tok-pt
  zcat big.gz | wgrad tokenizer train - --documents blank-line --out tok"
    )]
    Train(Train),
    /// Show into which pieces a text falls, with their ids and the bytes of the text that they stand for.
    #[command(
        after_help = "JSON: a line for each text, {text, pieces: [{id, piece, start, end, text}]}: the bytes from start to end
of the text, which cleaning may have changed

Examples:
  wgrad tokenizer show --tokenizer tok 'an unbelievable café'
  wgrad tokenizer show --tokenizer data/minilm --json 'one text' 'another'"
    )]
    Show(Show),
}

#[derive(clap::Args)]
struct Show {
    /// The folder or file of the tokenizer.
    #[arg(long, value_name = "DIR")]
    tokenizer: PathBuf,
    /// The texts.
    #[arg(required = true)]
    text: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Train {
    #[command(flatten)]
    read: ReadArgs,
    /// Tokens at most, special ones included.
    #[arg(long, value_name = "N", default_value_t = 32768)]
    vocab_size: usize,
    /// The folder for tokenizer.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Take a folder that holds other things, and replace its tokenizer.json.
    #[arg(long)]
    force: bool,
    /// How words are split into pieces.
    #[arg(long, value_enum, default_value_t = Kind::Bpe)]
    kind: Kind,
    /// Keep capitals.
    #[arg(long)]
    keep_case: bool,
    /// Keep the accents of Latin and Greek letters, without which many languages lose words (Portuguese, German, …).
    #[arg(long)]
    keep_accents: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Byte-pair encoding.
    Bpe,
    /// The longest piece first, as in the first BERT.
    Wordpiece,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Train(args) => train(args),
        Command::Show(args) => show(&args),
    }
}

fn show(args: &Show) -> anyhow::Result<()> {
    let tokenizer = models::tokenizer(&args.tokenizer)?;
    for text in &args.text {
        let mut rows = vec![["id", "piece", "bytes", "text"].map(str::to_owned).to_vec()];
        let mut pieces = Vec::new();
        for (id, range) in tokenizer.encode_with_offsets(text)? {
            let piece = tokenizer.token(id).unwrap_or_default();
            let part = text.get(range.clone()).unwrap_or_default();
            // A line end is a piece, and would break the table.
            let shown = |text: &str| text.escape_debug().to_string();
            rows.push(vec![
                id.to_string(),
                shown(&piece),
                format!("{}..{}", range.start, range.end),
                shown(part),
            ]);
            pieces.push(serde_json::json!({
                "id": id, "piece": piece, "start": range.start, "end": range.end, "text": part,
            }));
        }
        if args.json {
            print::line(serde_json::json!({"text": text, "pieces": pieces}))?;
        } else {
            print::table(&rows, 9).into_iter().try_for_each(print::line)?;
        }
    }
    Ok(())
}

fn train(args: Train) -> anyhow::Result<()> {
    let began = Instant::now();
    // Before hours are spent on texts.
    claim(&Disk, &args.out, Purpose::Only(&[tokenizer::FILE]), args.force)?;
    let reserved = Reserved::new(&args.out)?;
    let reader = Reader::open(&dataset::all_texts(&args.read.files)?, ReadOptions::from(&args.read))?;
    let bar = print::Bytes::new(reader.total_bytes(), Some(reader.bytes_read()));
    let options = TokenizerOptions {
        vocab_size: args.vocab_size,
        kind: match args.kind {
            Kind::Bpe => TokenizerKind::Bpe,
            Kind::Wordpiece => TokenizerKind::WordPiece,
        },
        keep_case: args.keep_case,
        keep_accents: args.keep_accents,
    };
    let mut texts = Texts { reader, bar };
    let trained = Tokenizer::train(&mut texts, &options);
    texts.bar.end();
    let tokenizer = trained?;
    let path = tokenizer.save_in(&reserved)?;
    report(&tokenizer, &path, texts.reader.counts(), began.elapsed().as_secs_f64(), args.json)
}

/// The texts of a reader, with a bar that follows it.
struct Texts {
    reader: Reader,
    bar: print::Bytes,
}

impl Iterator for Texts {
    type Item = wgrad::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.next();
        match next {
            Some(_) => self.bar.tick(),
            None => self.bar.then("learning merges"),
        }
        next.map(|document| document.map(|document| document.text))
    }
}

fn report(
    tokenizer: &Tokenizer,
    path: &std::path::Path,
    read: &ReadCounts,
    seconds: f64,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        return print::line(serde_json::json!({
            "tokenizer": path.display().to_string(),
            "vocab_size": tokenizer.vocab_size(),
            "fingerprint": format!("{:016x}", tokenizer.fingerprint()),
            "read": read,
            "seconds": seconds,
        }));
    }
    print::line(format_args!("tokenizer  {}", path.display()))?;
    print::line(format_args!("tokens     {}", thousands(tokenizer.vocab_size() as u64)))?;
    super::data::report_read(read)?;
    print::line(format_args!("seconds    {seconds:.1}"))
}
