//! `wgrad info`

mod files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wgrad::files::SentenceFolder;
use wgrad::format::thousands;
use wgrad::models::{Config, Pooling, Poolings, PositionEmbedding, VectorStep};
use wgrad::text::Tokenizer;

use super::{models, print};

const HELP: &str = "\
No GPU is needed. A folder that is described here loads: its files fit each other.

JSON: {model, architecture, family, parameters, vocabulary, width, layers, heads,
       inner_width, positions, context, token_types, head, pooler, stored: {TYPE: TENSORS},
       tokenizer: {tokens, pad, unk, cls, sep, mask},
       embedding: {pooling, normalize, max_tokens, described, width, layers: [WIDTH],
       dimensions, include_prompt, prompts: [{name, prompt}], default_prompt}}
  context    the longest text in tokens, or where positions are relative, that of
             pretraining
  stored     the types that weights have in the file
  pooling    a name, or a list where several stand side by side
  layers     what the linear layers behind the pooling give
  dimensions how many numbers of a vector are kept, where the folder says so
  described  whether sentence-transformers says how to embed, or all is by default

JSON of other files: {kind} with, of a data folder, {seq_len, vocab_size, packed, train:
       {sequences, tokens}, held_out}; of a tokenizer, {vocab_size, fingerprint, pad, unk, cls, sep, mask};
       of safetensors or PyTorch's weights, {tensors, stored}; of a table, {columns, rows, compression}; of a folder or archive
       of texts, {files, passed_over}; of a run that has not ended, {checkpoints}

Examples:
  wgrad info data/reviews
  wgrad info train.parquet
  wgrad info --model data/minilm
  wgrad info --model runs/reviews --json";

/// Say what a model, or any other file or folder, is.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A model, a data folder, a tokenizer, a run, a file of weights, a table or text.
    #[arg(value_name = "FILE|DIR", required_unless_present = "model", conflicts_with = "model")]
    path: Option<PathBuf>,
    /// The model's folder: config.json, model.safetensors, tokenizer.json. Or a name on huggingface.co.
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(described) = args.path.as_deref().map(files::describe).transpose()?.flatten() {
        return match args.json {
            true => print::line(described),
            false => print::table(&files::lines(&described), 2).into_iter().try_for_each(print::line),
        };
    }
    let model = args.model.as_deref().or(args.path.as_deref()).unwrap_or(Path::new("."));
    let folder = models::sentence_model(model)?;
    let tokenizer = folder.model.tokenizer()?;
    folder.model.weights.check()?;
    let described = describe(&model.display().to_string(), &folder, &tokenizer);
    if args.json {
        return print::line(described);
    }
    report(&described)
}

fn describe(name: &str, folder: &SentenceFolder, tokenizer: &Tokenizer) -> Value {
    let (config, weights) = (&folder.model.config, &folder.model.weights);
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for dtype in weights.names().filter_map(|name| weights.dtype(name)) {
        *stored.entry(dtype.to_string()).or_default() += 1;
    }
    let specials = tokenizer.specials();
    let layers = folder.steps.iter().filter_map(|step| match step {
        VectorStep::Dense(dense) => Some(dense.outputs()),
        VectorStep::Normalize => None,
    });
    let layers: Vec<usize> = layers.collect();
    let prompts = folder.prompts.iter().map(|(name, prompt)| json!({"name": name, "prompt": prompt}));
    let prompts: Vec<Value> = prompts.collect();
    json!({
        "model": name,
        "architecture": config.architectures.first(),
        "family": config.model_type,
        "parameters": config.parameter_count(),
        "vocabulary": config.vocab_size,
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "inner_width": config.intermediate_size,
        "positions": config.position_embedding_type,
        "context": config.max_position_embeddings,
        "token_types": config.type_vocab_size,
        "head": head(config),
        "pooler": config.pooler,
        "stored": stored,
        "tokenizer": {
            "tokens": tokenizer.vocab_size(), "pad": specials.pad, "unk": specials.unk,
            "cls": specials.cls, "sep": specials.sep, "mask": specials.mask,
        },
        "embedding": {
            "pooling": folder.pooling, "normalize": folder.normalize,
            "max_tokens": folder.max_tokens, "described": folder.described,
            "width": folder.width(), "layers": layers, "dimensions": folder.dimensions,
            "include_prompt": folder.include_prompt,
            "prompts": prompts, "default_prompt": folder.default_prompt,
        },
    })
}

fn head(config: &Config) -> &'static str {
    match (config.is_masked_lm(), config.tie_word_embeddings) {
        (false, _) if config.is_classifier() => match config.classifier_pooling {
            Pooling::Cls => "classifier of the first token",
            // A head reads nothing else.
            _ => "classifier of the mean",
        },
        (false, _) if config.is_token_classifier() => "classifier of every token",
        (false, _) => "none",
        (true, true) => "tied",
        (true, false) => "untied",
    }
}

fn report(described: &Value) -> anyhow::Result<()> {
    let text = |key: &str| match &described[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or(number.to_string(), thousands),
        other => other.to_string(),
    };
    let relative = described["positions"] == json!(PositionEmbedding::RelativeBucket);
    let context = format!("{} tokens{}", text("context"), if relative { ", more work too" } else { "" });
    let embedding = &described["embedding"];
    let normalized = if embedding["normalize"] == true { ", normalized" } else { "" };
    let pooling =
        serde_json::from_value::<Poolings>(embedding["pooling"].clone()).map(|pooling| pooling.to_string());
    let layers = if embedding["layers"] == json!([]) { "" } else { " by a linear layer" };
    let prompts = embedding["prompts"].as_array().into_iter().flatten();
    let prompts = prompts.filter(|prompt| prompt["prompt"] != "").map(|prompt| {
        let (name, prompt) = (prompt["name"].as_str(), prompt["prompt"].as_str());
        let default = if embedding["default_prompt"].as_str() == name { " (by default)" } else { "" };
        format!("{}: {:?}{default}", name.unwrap_or_default(), prompt.unwrap_or_default())
    });
    let prompts: Vec<String> = prompts.collect();
    let by = if embedding["described"] == true { "" } else { " (by default)" };
    let stored: Vec<String> = described["stored"]
        .as_object()
        .map(|types| types.iter().map(|(kind, count)| format!("{count} tensors of {kind}")).collect())
        .unwrap_or_default();
    let rows = [
        ("model", text("model")),
        ("architecture", format!("{} ({})", text("architecture"), text("family"))),
        ("parameters", text("parameters")),
        ("stored as", stored.join(", ")),
        ("layers", text("layers")),
        ("width", format!("{}, inner {}", text("width"), text("inner_width"))),
        ("heads", text("heads")),
        ("positions", format!("{}, {context}", text("positions").replace("_bucket", ""))),
        ("vocabulary", format!("{} tokens", text("vocabulary"))),
        ("head", format!("{}{}", text("head"), if described["pooler"] == true { ", pooler" } else { "" })),
        (
            "embedding",
            format!(
                "{} of up to {} tokens, {} numbers{layers}{normalized}{by}",
                pooling.unwrap_or_default(),
                embedding["max_tokens"],
                embedding["width"]
            ),
        ),
        ("prompts", prompts.join(", ")),
    ];
    let rows = rows.into_iter().filter(|(name, value)| *name != "prompts" || !value.is_empty());
    let rows: Vec<_> = rows.map(|(name, value)| vec![name.to_string(), value]).collect();
    print::table(&rows, 2).into_iter().try_for_each(print::line)
}
