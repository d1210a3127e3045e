//! `wgrad predict`

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, json};
use wgrad::infer::{Classifier, Prediction};

use super::files::FileArgs;
use super::precision::ComputeArgs;
use super::texts::{Pairs, bytes, chunk, tell_lost};
use super::{models, precision, print};

const HELP: &str = "\
Without --input texts are read from standard input, one a line; two texts of a pair stand on one line with a tab
between them. Of a table (.csv, .tsv, .jsonl, .json, .parquet, packed or not) the columns are chosen by name or number.
A row that cannot be used is an empty text, so that every row has its answer.

Output: label, probability (or the number alone) and text, separated by tabs; every text in its order.
JSON lines: {text, pair, label, score, probabilities: {label: probability}, truncated}

Examples:
  echo 'a lovely film' | wgrad predict --model runs/reviews
  wgrad predict --model runs/reviews --input reviews.csv --text-column review --json > labels.jsonl";

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
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::Auto)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = models::model(&args.model)?;
    let (gpu, storage) = pollster::block_on(args.compute.open(args.precision))?;
    let mut model = Classifier::open(&gpu, &folder, storage)?;
    let bar = print::Items::new("texts");
    let (mut before, mut truncated) = (0, 0);
    let pair = args.pair_column.as_deref();
    let mut texts = Pairs::open(&args.input, &args.text_column, pair, &args.how.options())?;
    loop {
        let (chunk, _) = chunk(&mut texts, bytes)?;
        if chunk.is_empty() {
            break;
        }
        let predicted = pollster::block_on(model.predict(&chunk, &mut |done| bar.set(before + done)))?;
        before += chunk.len();
        for (text, prediction) in chunk.iter().zip(&predicted) {
            truncated += usize::from(prediction.truncated > 0);
            show(text, prediction, &folder.config.labels, args.json)?;
        }
    }
    bar.end();
    tell_lost(Some(texts.lost()), &args.input);
    if truncated > 0 {
        let longest = model.longest();
        print::note(format_args!("note: {truncated} texts of over {longest} tokens were truncated"));
    }
    Ok(())
}

/// The probability of each class. Classes of one name are told apart by their numbers, so that none is lost.
fn shares(labels: &[String], probabilities: &[f64]) -> Map<String, serde_json::Value> {
    let mut shares = Map::new();
    for (class, (label, share)) in labels.iter().zip(probabilities).enumerate() {
        let mut name = label.clone();
        // A name that looks like one with a number may be there already.
        while shares.contains_key(&name) || (name != *label && labels.contains(&name)) {
            name = format!("{name} ({class})");
        }
        shares.insert(name, json!(share));
    }
    shares
}

fn show(
    (text, pair): &(String, Option<String>),
    prediction: &Prediction,
    labels: &[String],
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let mut value = serde_json::to_value(prediction).context("a prediction as JSON")?;
        let shares = shares(labels, &prediction.probabilities);
        let mut line = Map::new();
        line.insert("text".into(), json!(text));
        if let Some(pair) = pair {
            line.insert("pair".into(), json!(pair));
        }
        if !shares.is_empty() {
            value["probabilities"] = shares.into();
        }
        line.extend(value.as_object().cloned().unwrap_or_default());
        return print::line(serde_json::Value::Object(line));
    }
    let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let answer = match &prediction.label {
        Some(label) => format!("{}\t{:.4}", plain(label), prediction.score),
        None => format!("{:.4}", prediction.score),
    };
    let pair = pair.as_deref().map(|pair| format!("\t{}", plain(pair))).unwrap_or_default();
    print::line(format_args!("{answer}\t{}{pair}", plain(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_lost() {
        let labels = ["a", "b", "a", "a (3)", "a"].map(str::to_owned);
        let shares = shares(&labels, &[0.1, 0.2, 0.3, 0.15, 0.25]);
        let names: Vec<&str> = shares.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "a (2)", "a (3)", "a (4)"]);
        // Not even where a class is called what another one would be.
        let labels = ["a", "a", "a (1)"].map(str::to_owned);
        assert_eq!(super::shares(&labels, &[0.5, 0.3, 0.2]).len(), 3);
    }
}
