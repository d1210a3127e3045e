//! `wgrad rerank`

use std::path::PathBuf;

use serde_json::json;
use wgrad::budget;
use wgrad::data::Texts;
use wgrad::infer::Reranker;

use super::files::FileArgs;
use super::precision::ComputeArgs;
use super::texts::{chunk, tell_lost, tell_repairs};
use super::{models, precision, print};

const HELP: &str = "\
A cross-encoder reads the query and a text at once and gives one score; it is
slower than comparing vectors, and finds more. Usually it sorts what a search by
vectors has found.

The file has a text a line, or is a table (.csv, .tsv, .jsonl, .json, .parquet,
packed or not) that is read by its column. Blank texts are left out.

Output: score and text, separated by a tab, the best first; of equal scores the
earlier text first.
JSON lines: {index, score, text}
  index  the place of the text in the file, counted from 0
  score  of a model with one output by the function that its files name, else
         the sigmoid, from 0 to 1; of one with classes the probability of one

Examples:
  wgrad rerank --model cross-encoder/ms-marco-MiniLM-L6-v2 'capital of Portugal' found.txt
  wgrad rerank --model BAAI/bge-reranker-v2-m3 --top 10 --json 'how warm is the sun' found.jsonl
  cut -f2 found.tsv | wgrad rerank --model runs/qnli --label entailment 'who wrote it?' -";

/// Sort texts by how well they answer a query.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The query.
    query: String,
    /// The file of the texts; - is standard input.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// The cross-encoder: a folder, or a name on huggingface.co.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// The column or field of a table that holds the text: its name, its number, or a.b for a field of a structure.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    /// Show the N best only.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// The class whose probability is the score, of a model that tells classes apart; of two the second by default.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    #[command(flatten)]
    how: FileArgs,
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::Auto)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

/// A text with its place and its score.
struct Scored {
    index: usize,
    score: f64,
    text: String,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut texts = Texts::open(&args.input, &args.text_column, &args.how.options())?;
    let folder = models::model(&args.model)?;
    let (gpu, storage) = pollster::block_on(args.compute.open(args.precision))?;
    let mut reranker = Reranker::open(&gpu, &folder, storage, args.label.as_deref())?;
    if let Some(class) = reranker.class().filter(|_| args.label.is_none()) {
        print::note(format_args!(
            "note: the score is the probability of `{class}`; --label takes another class"
        ));
    }
    let bar = print::Items::new("texts");
    let mut best: Vec<Scored> = Vec::new();
    let (mut before, mut truncated) = (0, 0);
    loop {
        let (chunk, ended) = chunk(&mut texts, String::len)?;
        let count = chunk.len();
        if ended {
            bar.total(before + count);
        }
        if count == 0 {
            break;
        }
        let given = (before..).zip(chunk).filter(|(_, text)| !text.trim().is_empty());
        let (places, given): (Vec<usize>, Vec<String>) = given.unzip();
        let mut tell = |done| bar.set(before + done);
        let found = pollster::block_on(reranker.score(&args.query, &given, &mut tell))?;
        truncated += found.iter().filter(|found| found.truncated > 0).count();
        let scored = places.into_iter().zip(given).zip(found);
        best.extend(scored.map(|((index, text), found)| Scored { index, score: found.score, text }));
        // The sort is stable, so that the earlier of equals stays first; what cannot be shown any more is forgotten.
        best.sort_by(|a, b| b.score.total_cmp(&a.score));
        best.truncate(args.top.unwrap_or(usize::MAX));
        let bytes: usize = best.iter().map(|scored| scored.text.len() + size_of::<Scored>()).sum();
        if bytes as u64 > budget::get() / 2 {
            let found = format!("{} of them so far (--top keeps the best)", best.len());
            return Err(budget::exceeded(&args.input, "texts with their scores", found).into());
        }
        before += count;
    }
    bar.end();
    tell_repairs(&texts.repairs(), texts.truncated());
    tell_lost(texts.lost(), &args.input);
    if truncated > 0 {
        let longest = reranker.longest();
        print::note(format_args!(
            "note: {truncated} texts with the query are longer than the {longest} tokens that are seen; they were truncated"
        ));
    }
    for Scored { index, score, text } in best {
        match args.json {
            true => print::line(json!({ "index": index, "score": score, "text": text }))?,
            false => print::line(format_args!("{score:.4}\t{}", text.replace(['\t', '\n', '\r'], " ")))?,
        }
    }
    Ok(())
}
