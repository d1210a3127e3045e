//! `wgrad evaluate`

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value, json};
use wgrad::format::thousands;
use wgrad::train::finetune::evaluate;

use super::labelled::Labelled;
use super::precision::ComputeArgs;
use super::watch::summary;
use super::{models, precision, print};

/// Measure a finetuned model on labelled texts.
#[derive(clap::Args)]
#[command(
    after_help = "Words (tokens) are measured by entities, as seqeval counts them: f1, precision, recall, and the accuracy of words. Several
labels (multi-label) by micro_f1, macro_f1 and exact_match, a label being given from a probability of 0.5 on.

JSON: {model, task, sets: [{set, texts, truncated, loss, scores: {accuracy: …}}],
       precision, adapter}

Examples:
  wgrad evaluate --model runs/sst2 --task sst2 --data glue
  wgrad evaluate --model runs/reviews --task classify --eval test.csv --json
  wgrad evaluate --model runs/entities --task tokens --eval test.conll
  wgrad evaluate --model runs/mnli --task mnli --eval dev_mismatched.tsv --predictions mismatched.tsv"
)]
pub struct Args {
    #[command(flatten)]
    labelled: Labelled,
    /// The finetuned model: a folder, or a name on huggingface.co.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// Also write what the model says of each text of the first set.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::Auto)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let task = args.labelled.task;
    let sets = args.labelled.sets()?;
    for (_, table) in &sets {
        if let Some(told) = table.lost.summary(&table.path) {
            print::note(format_args!("note: {told}"));
        }
    }
    let folder = models::model(&args.model)?;
    // Whether predictions can be written is known before a device computes them.
    let predictions = args.predictions.as_deref().map(print::output).transpose()?;
    let bar = print::Items::new("texts");
    let (found, precision, adapter) = pollster::block_on(async {
        let (gpu, storage) = args.compute.open(args.precision).await?;
        let mut progress = |done, total| {
            bar.total(total);
            bar.set(done);
        };
        let found = evaluate(&gpu, (&folder, storage), task, &sets, &mut progress).await?;
        anyhow::Ok((found, storage, gpu.capabilities().name.clone()))
    })?;
    bar.end();
    if let (Some(mut out), Some(first)) = (predictions, found.first()) {
        out.put(first.answers.tsv(&folder.config.labels).as_bytes())?;
        out.finish()?;
    }
    let truncated: usize = found.iter().map(|set| set.truncated).sum();
    if truncated > 0 {
        print::note(format_args!(
            "note: {truncated} texts are longer than the model sees and were truncated"
        ));
    }
    if !args.json {
        return found.iter().try_for_each(|set| {
            let scores = summary(&[(set.name.clone(), set.measured.clone())]);
            print::line(format_args!("{scores} ({} texts)", thousands(set.texts as u64)))
        });
    }
    let sets = found.iter().map(|set| {
        let scores =
            set.measured.scores.iter().map(|(metric, value)| (metric.name().to_owned(), json!(value)));
        json!({
            "set": set.name,
            "texts": set.texts,
            "truncated": set.truncated,
            "loss": set.measured.loss,
            "scores": scores.collect::<Map<String, Value>>(),
        })
    });
    let sets: Vec<Value> = sets.collect();
    let report = json!({ "model": args.model, "task": task, "sets": sets, "precision": precision, "adapter": adapter });
    print::line(serde_json::to_string(&report).context("the report as JSON")?)
}
