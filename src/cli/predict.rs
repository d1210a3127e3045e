//! `wgrad predict`

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, json};
use wgrad::Error;
use wgrad::files::ModelFolder;
use wgrad::infer::{Classifier, Prediction, Span, TokenClassifier};
use wgrad::models::ProblemType;

use super::files::FileArgs;
use super::precision::ComputeArgs;
use super::print::Part;
use super::texts::{Pairs, bytes, chunk, tell_lost, tell_repairs};
use super::{models, precision, print};

const HELP: &str = "\
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

Examples:
  echo 'a lovely film' | wgrad predict --model runs/reviews
  wgrad predict --model runs/reviews --input reviews.csv --text-column review --json > labels.jsonl
  echo 'Ada Lovelace lived in London .' | wgrad predict --model dslim/bert-base-NER";

/// Of so many labels at most a line of text tells the probabilities; there may be a thousand.
const SHOWN: usize = 20;

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
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = models::model(&args.model)?;
    if let Some(threshold) = args.threshold {
        let several = folder.config.problem_type == Some(ProblemType::MultiLabelClassification);
        if !several || !(0.0..=1.0).contains(&threshold) {
            let expected = "a share from 0 to 1, of a model that gives a text several labels";
            return Err(Error::config("threshold", expected, threshold).into());
        }
    }
    if folder.config.is_token_classifier() {
        return words(args, &folder);
    }
    let (gpu, storage) = pollster::block_on(args.compute.open(args.precision))?;
    let model = Classifier::open(&gpu, &folder, storage)?;
    let mut model = match args.threshold {
        Some(threshold) => model.with_threshold(threshold),
        None => model,
    };
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
    tell_repairs(&texts.repairs(), 0);
    tell_lost(Some(texts.lost()), &args.input);
    if truncated > 0 {
        let longest = model.longest();
        print::note(format_args!("note: {truncated} texts of over {longest} tokens were truncated"));
    }
    Ok(())
}

/// Runs the command with a model that labels words.
fn words(args: &Args, folder: &ModelFolder) -> anyhow::Result<()> {
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
    let mut texts = Pairs::open(&args.input, &args.text_column, None, &args.how.options())?;
    loop {
        let (chunk, _) = chunk(&mut texts, bytes)?;
        if chunk.is_empty() {
            break;
        }
        // A tab divides no pair here.
        let whole = |(text, rest): (String, Option<String>)| match rest {
            Some(rest) => format!("{text}\t{rest}"),
            None => text,
        };
        let chunk: Vec<String> = chunk.into_iter().map(whole).collect();
        let read: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let found = pollster::block_on(model.predict(&read, &mut |done| bar.set(before + done)))?;
        before += chunk.len();
        for (text, tagged) in read.iter().zip(&found) {
            truncated += usize::from(tagged.truncated > 0);
            match args.json {
                true => {
                    let (entities, truncated) = (&tagged.entities, tagged.truncated);
                    print::line(json!({ "text": text, "entities": entities, "truncated": truncated }))?;
                }
                false => print::painted(&marked(text, &tagged.entities, &kinds))?,
            }
        }
    }
    bar.end();
    tell_repairs(&texts.repairs(), 0);
    tell_lost(Some(texts.lost()), &args.input);
    if truncated > 0 {
        let longest = model.longest();
        print::note(format_args!("note: {truncated} texts of over {longest} tokens were truncated"));
    }
    Ok(())
}

/// A text in one line, in parts, of which those that are entities are marked by their kind, whose place among all `kinds`
/// says in which colour.
fn marked<'a>(text: &'a str, entities: &'a [Span], kinds: &[&str]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let (mut rest, mut at) = (text, 0);
    for Span { label, start, end, .. } in entities {
        // Entities come in the order of the text.
        let (before, after) = rest.split_at(bytes_of(rest, start.saturating_sub(at)));
        let (words, after) = after.split_at(bytes_of(after, end.saturating_sub(*start)));
        let colour = kinds.iter().position(|kind| kind == label).unwrap_or_default();
        parts.push(Part { text: before.into(), mark: None });
        parts.push(Part { text: words.into(), mark: Some((label, colour)) });
        (rest, at) = (after, *end);
    }
    parts.push(Part { text: rest.into(), mark: None });
    for part in &mut parts {
        part.text = part.text.replace(['\t', '\n', '\r'], " ").into();
    }
    parts
}

/// How many bytes so many characters take.
fn bytes_of(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
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
        _ if prediction.labels.is_some() => {
            let given: Vec<String> = prediction.labels.iter().flatten().map(|label| plain(label)).collect();
            let mut all: Vec<(&String, f64)> =
                labels.iter().zip(prediction.probabilities.iter().copied()).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            let shares = all.iter().take(SHOWN).map(|(label, share)| format!("{} {share:.4}", plain(label)));
            format!("{}\t{}", given.join("|"), shares.collect::<Vec<_>>().join("|"))
        }
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
