//! `wgrad evaluate`

mod vectors;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Map, Value, json};
use wgrad::Error;
use wgrad::data::task::Task;
use wgrad::format::thousands;
use wgrad::train::finetune::evaluate;

use super::labelled::LabelledFiles;
use super::precision::ComputeArgs;
use super::texts::tell_repairs;
use super::watch::summary;
use super::{models, precision, print};

/// Measure a finetuned model on labelled texts.
#[derive(clap::Args)]
#[command(
    after_help = "Words (tokens) are measured by entities, as seqeval counts them: f1, precision, recall, and the accuracy of words. Several
labels (multi-label) by micro_f1, macro_f1 and exact_match, a label being given from a probability of 0.5 on.

JSON: {model, task, sets: [{set, texts, truncated, loss, scores: {accuracy: …}}],
       precision, adapter}
JSON of retrieval: sets: [{set, queries, unjudged, documents, truncated, scores}]
  scores    recall@1, …, mrr@10, mrr and ndcg@10
  unjudged  queries that were left out, because no document answers them

retrieval embeds queries and documents, sorts all documents for each query by
the cosine, and says how much of what answers it is found. --data is a folder as
BEIR has them: corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and
qrels.tsv or qrels/test.tsv (query-id, corpus-id, score). --eval is a table whose
rows are a query and a document that answers it (columns query and document,
others by --text-column and --pair-column).

similarity compares the cosine of two texts with how alike people said that they
are: Spearman's and Pearson's correlation. --eval is a table (text1, text2, score,
or sentence1, sentence2, score), --data GLUE's STS-B.

Examples:
  wgrad evaluate --model runs/sst2 --task sst2 --data glue
  wgrad evaluate --model runs/reviews --task classify --eval test.csv --json
  wgrad evaluate --model runs/entities --task tokens --eval test.conll
  wgrad evaluate --model runs/mnli --task mnli --eval dev_mismatched.tsv --predictions mismatched.tsv
  wgrad evaluate --model data/minilm --task retrieval --data scifact --json
  wgrad evaluate --model intfloat/e5-base-v2 --task retrieval --eval faq.csv \\
      --query-prompt 'query: ' --document-prompt 'passage: '
  wgrad evaluate --model data/minilm --task similarity --eval sts.tsv"
)]
pub struct Args {
    /// The task: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli of GLUE; classify, multi-label, tokens, regress or
    /// contrastive for one's own texts; retrieval or similarity for the vectors of a model.
    #[arg(long, value_name = "TASK")]
    task: Measured,
    #[command(flatten)]
    files: LabelledFiles,
    #[command(flatten)]
    retrieval: vectors::RetrievalArgs,
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

/// What is measured.
#[derive(Clone, Copy)]
enum Measured {
    /// What a model was finetuned to.
    Task(Task),
    /// How well a model's vectors find documents.
    Retrieval,
    /// How well their cosines follow what people said.
    Similarity,
}

impl Measured {
    fn name(self) -> &'static str {
        match self {
            Measured::Task(task) => task.name(),
            Measured::Retrieval => "retrieval",
            Measured::Similarity => "similarity",
        }
    }
}

impl FromStr for Measured {
    type Err = Error;

    fn from_str(name: &str) -> wgrad::Result<Self> {
        match name {
            "retrieval" => Ok(Measured::Retrieval),
            "similarity" => Ok(Measured::Similarity),
            task => task.parse().map(Measured::Task).map_err(|error: Error| match error {
                Error::Config { field, expected, found } => {
                    Error::Config { field, expected: format!("{expected}, `retrieval`, `similarity`"), found }
                }
                other => other,
            }),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    args.files.check(args.task.name())?;
    if !matches!(args.task, Measured::Retrieval) {
        args.retrieval.check(args.task.name())?;
    }
    let (task, sets) = match args.task {
        Measured::Retrieval => return vectors::retrieval(args),
        Measured::Similarity => (Task::Contrastive, vectors::similarity_sets(&args.files)?),
        Measured::Task(task) => (task, args.files.sets(task)?),
    };
    for (_, table) in &sets {
        tell_repairs(&table.repairs, 0);
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
    let report = json!({ "model": args.model.display().to_string(), "task": args.task.name(), "sets": sets, "precision": precision, "adapter": adapter });
    print::line(serde_json::to_string(&report).context("the report as JSON")?)
}
