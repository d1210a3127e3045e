//! Measuring vectors: how well they find documents, and how well their cosines follow what people said.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};
use wgrad::data::retrieval::Retrieval;
use wgrad::data::task::{Table, Task};
use wgrad::files::{KnownPrompts, SentenceFolder};
use wgrad::format::thousands;
use wgrad::infer::{EmbedOptions, Embedder, RetrievalScores, evaluate_retrieval};
use wgrad::train::finetune::columns;
use wgrad::{Error, Result};

use super::super::labelled::{LabelledFiles, Sets};
use super::super::texts::tell_repairs;
use super::super::{models, print};
use super::Args;

/// What only a search has.
#[derive(clap::Args)]
pub struct RetrievalArgs {
    /// What is put in front of each query of retrieval; the folder's prompt `query` by default, or its default one.
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Put the folder's prompt of this name in front of each query.
    #[arg(long, value_name = "NAME", conflicts_with = "query_prompt")]
    query_prompt_name: Option<String>,
    /// What is put in front of each document; the folder's prompt `document`, `passage` or `corpus` by default, or its
    /// default one.
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
    /// Put the folder's prompt of this name in front of each document.
    #[arg(long, value_name = "NAME", conflicts_with = "document_prompt")]
    document_prompt_name: Option<String>,
    /// Where recall is measured in retrieval [default: 1,5,10,100].
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    recall_at: Vec<usize>,
}

impl RetrievalArgs {
    /// Refuses what another task would not heed.
    pub fn check(&self, task: &str) -> Result<()> {
        let given = [
            ("query-prompt", self.query_prompt.is_some()),
            ("query-prompt-name", self.query_prompt_name.is_some()),
            ("document-prompt", self.document_prompt.is_some()),
            ("document-prompt-name", self.document_prompt_name.is_some()),
            ("recall-at", !self.recall_at.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::config(option, "--task retrieval", task)),
            None => Ok(()),
        }
    }

    /// Where recall is measured.
    fn recall_at(&self) -> Vec<usize> {
        if self.recall_at.is_empty() { vec![1, 5, 10, 100] } else { self.recall_at.clone() }
    }
}

/// The sets of `--task similarity`: pairs of texts, and how alike people said that they are.
pub fn similarity_sets(files: &LabelledFiles) -> anyhow::Result<Sets> {
    let named = [&files.text_column, &files.pair_column, &files.label_column];
    if files.eval.is_empty() || files.data.is_some() {
        return files.sets(Task::Stsb);
    }
    // The first layout is whose lack is told; the second is that of STS-B and its relatives on the Hugging Face hub.
    let layouts = [["text1", "text2", "score"], ["sentence1", "sentence2", "score"]];
    let mut read = layouts.iter().map(|layout| {
        let column = |at: usize| named[at].clone().unwrap_or_else(|| layout[at].to_owned());
        let columns = columns(Task::Contrastive, &column(0), Some(&column(1)), Some(&column(2)));
        let read = |path: &Path| Table::read(path, &columns, &files.how.options());
        files.joined(Task::Stsb, &files.eval, &["validation", "dev", "test"], read)
    });
    let first = read.next().context("a layout")?;
    let all_named = named.iter().all(|name| name.is_some());
    let table = match first {
        Err(error) if !all_named => read.next().context("a layout")?.map_err(|_| error),
        first => first,
    };
    Ok(vec![("eval".to_owned(), table?)])
}

/// Runs `--task retrieval`.
pub fn retrieval(args: &Args) -> anyhow::Result<()> {
    let files = &args.files;
    if args.predictions.is_some() {
        return Err(Error::config("predictions", "none with --task retrieval", "a file").into());
    }
    if files.label_column.is_some() {
        return Err(Error::config("label-column", "none with --task retrieval", "one").into());
    }
    if let Some(bad) = args.retrieval.recall_at.iter().find(|&&k| k == 0) {
        return Err(Error::config("recall-at", "1 or more", bad).into());
    }
    let (name, set) = read(files)?;
    tell_repairs(&set.repairs, 0);
    for told in set.lost.iter().filter_map(|(path, lost)| lost.summary(path)) {
        print::note(format_args!("note: {told}"));
    }
    if set.absent > 0 {
        let absent = thousands(set.absent as u64);
        print::note(format_args!("note: {absent} judged documents are not there; they count as not found"));
    }
    let folder = models::sentence_model(&args.model)?;
    let prompts = prompts(&args.retrieval, &folder)?;
    tell_prompts(&args.model, &prompts);
    let bar = print::Items::new("texts");
    let (found, precision, adapter) = pollster::block_on(async {
        let (gpu, storage) = args.compute.open(args.precision).await?;
        // What is compared is the cosine, which is the product of vectors of length 1.
        let options = EmbedOptions { normalize: true, storage, ..EmbedOptions::from(&folder) };
        let mut embedder = Embedder::open(&gpu, &folder, options)?;
        let mut progress = |done, total| {
            bar.total(total);
            bar.set(done);
        };
        let prompts = prompts.each_ref().map(String::as_str);
        let recall_at = args.retrieval.recall_at();
        let found = evaluate_retrieval(&mut embedder, &set, prompts, &recall_at, &mut progress).await?;
        anyhow::Ok((found, storage, gpu.capabilities().name.clone()))
    })?;
    bar.end();
    if found.truncated > 0 {
        print::note(format_args!(
            "note: {} texts are longer than the model sees and were truncated",
            thousands(found.truncated as u64)
        ));
    }
    let (queries, documents) = (set.queries.len(), set.documents.len());
    let scores = scores(&found);
    if !args.json {
        let scores: Vec<String> = scores.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let counts = [queries, documents].map(|count| thousands(count as u64));
        let told = format!("{name} {} ({} queries, {} documents)", scores.join(", "), counts[0], counts[1]);
        return print::line(told);
    }
    let scores: Map<String, Value> = scores.into_iter().map(|(name, value)| (name, json!(value))).collect();
    let set = json!({
        "set": name, "queries": queries, "unjudged": set.unjudged, "documents": documents,
        "truncated": found.truncated, "scores": scores,
    });
    print::line(json!({
        "model": args.model.display().to_string(), "task": args.task.name(), "sets": [set], "precision": precision, "adapter": adapter,
    }))
}

/// The set that was named, and what it is called.
fn read(files: &LabelledFiles) -> anyhow::Result<(String, Retrieval)> {
    let options = files.how.options();
    if let Some(dir) = &files.data {
        if dir.to_string_lossy().starts_with("hf:") {
            let expected = "a folder as BEIR has them, for --task retrieval";
            return Err(Error::config("data", expected, dir.display()).into());
        }
        let set = Retrieval::read_folder(dir, &options)?;
        return Ok((set.name.clone(), set));
    }
    let [path] = files.eval.as_slice() else {
        let found = if files.eval.is_empty() { "neither" } else { "several files" };
        return Err(Error::config("eval", "--data DIR or --eval FILE", found).into());
    };
    let path = super::super::hub::dataset::table(path, &["validation", "dev", "test"])?;
    let query = files.text_column.as_deref().unwrap_or("query");
    let document = files.pair_column.as_deref().unwrap_or("document");
    Ok(("eval".to_owned(), Retrieval::read_table(&path, query, document, &options)?))
}

/// The measures by their names.
fn scores(found: &RetrievalScores) -> Vec<(String, f64)> {
    let recall = found.recall.iter().map(|(k, share)| (format!("recall@{k}"), *share));
    let rest = [("mrr@10", found.mrr_at_10), ("mrr", found.mrr), ("ndcg@10", found.ndcg_at_10)];
    recall.chain(rest.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// What is put in front of queries, and of documents.
fn prompts(args: &RetrievalArgs, folder: &SentenceFolder) -> Result<[String; 2]> {
    let chosen = |text: &Option<String>, name: &Option<String>, by_default: &[&str]| -> Result<String> {
        let known = by_default.iter().find_map(|name| folder.prompts.get(*name));
        Ok(match (text, name) {
            (Some(text), _) => text.clone(),
            (None, Some(name)) => folder.prompt_named(name)?.to_owned(),
            (None, None) => known.map_or_else(|| folder.prompt().to_owned(), String::clone),
        })
    };
    Ok([
        chosen(&args.query_prompt, &args.query_prompt_name, &["query"])?,
        chosen(&args.document_prompt, &args.document_prompt_name, &["document", "passage", "corpus"])?,
    ])
}

/// Says what stands in front of texts, or that a model which wants something gets nothing.
fn tell_prompts(model: &Path, [query, document]: &[String; 2]) {
    if !query.is_empty() || !document.is_empty() {
        print::note(format_args!("note: `{query}` stands before queries, `{document}` before documents"));
    } else if let Some(known) = KnownPrompts::of(&model.to_string_lossy()) {
        print::note(format_args!(
            "note: {} models were trained with `{}` before queries and `{}` before documents: see --query-prompt and \
             --document-prompt",
            known.family, known.query, known.document
        ));
    }
}
