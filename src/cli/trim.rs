//! `wgrad trim`

use std::path::PathBuf;

use anyhow::ensure;
use wgrad::data::{ReadOptions, Reader};
use wgrad::files::{ModelCard, SentenceFolder, trim};
use wgrad::format::thousands;
use wgrad::store::{Disk, Store};
use wgrad::text::Trimming;

use super::files::FileArgs;
use super::hub::dataset;
use super::{models, print};

/// Leave out of a model the tokens that a text does not need, and layers.
#[derive(clap::Args)]
#[command(
    after_help = "Most of a multilingual model is its table of tokens, nearly all of which a text in one
language never uses. What stays has its weights unchanged: texts split into the tokens
that are kept as they did before, and give the same vectors. Kept are the tokens of
FILES, special ones, and those of single characters and bytes. --layers N keeps the
first N layers; what is left then should learn a little: wgrad pretrain --from.

JSON: {out, tokens, tokens_before, layers, layers_before, parameters, parameters_before}

Examples:
  wgrad trim --model xlm-roberta-base --tokens-of letters.txt --out xlmr-letters
  wgrad trim --model xlm-roberta-base --tokens-of wiki/ --layers 6 --out small"
)]
pub struct Args {
    /// The model: its folder, or its name on the hub.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// The text whose tokens are kept: files and folders as `wgrad data prepare` reads them.
    #[arg(long, value_name = "FILES", num_args = 1.., required_unless_present = "layers")]
    tokens_of: Vec<PathBuf>,
    /// Keep so many of its layers, the first.
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The column or field of tables that holds the text: its name, its number, or a.b for a field of a structure.
    #[arg(long, value_name = "NAME|N", default_value = "text")]
    text_column: String,
    #[command(flatten)]
    how: FileArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let empty = !Disk.exists(&args.out) || (Disk.is_dir(&args.out) && Disk.list(&args.out)?.is_empty());
    ensure!(empty, "{}: expected a new or empty folder, found one with files", args.out.display());
    let model = models::model(&args.model)?;
    let before = model.config.clone();
    let mut trimming = Trimming::new(model.tokenizer()?)?;
    if before.family().counts_from_padding() {
        // The table of positions begins behind the padding token's id, which therefore stays what it is.
        trimming.keep_up_to(before.pad_token_id);
    }
    match args.tokens_of.is_empty() {
        true => trimming.keep_up_to(u32::try_from(before.vocab_size)?),
        false => keep_text(args, &mut trimming)?,
    }
    // What the folder itself puts before texts.
    for prompt in SentenceFolder::load_with(&Disk, &model.path, false)?.prompts.values() {
        trimming.keep_text(prompt)?;
    }
    let trimmed = trimming.apply()?;
    let name = args.model.display();
    let layers = args.layers.unwrap_or(before.num_hidden_layers);
    let [kept, all] = [trimmed.kept.len(), before.vocab_size].map(|tokens| thousands(tokens as u64));
    let card = ModelCard {
        name: args.out.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned()),
        base_model: Some(name.to_string()),
        summary: format!(
            "{name} with {kept} of its {all} tokens and {layers} of its {} layers, weights unchanged.",
            before.num_hidden_layers
        ),
        ..ModelCard::default()
    };
    let config = trim(&Disk, &model, &trimmed, args.layers, &args.out, &card)?;
    let parameters = [config.parameter_count(), before.parameter_count()];
    if args.json {
        return print::line(serde_json::json!({
            "out": args.out.display().to_string(),
            "tokens": config.vocab_size,
            "tokens_before": before.vocab_size,
            "layers": config.num_hidden_layers,
            "layers_before": before.num_hidden_layers,
            "parameters": parameters[0],
            "parameters_before": parameters[1],
        }));
    }
    print::line(format_args!("model       {}", args.out.display()))?;
    print::line(format_args!("tokens      {kept} of {all}"))?;
    print::line(format_args!("layers      {layers} of {}", before.num_hidden_layers))?;
    let [now, then] = parameters.map(thousands);
    print::line(format_args!("parameters  {now} of {then}"))
}

/// Keeps the tokens of the files.
fn keep_text(args: &Args, trimming: &mut Trimming) -> anyhow::Result<()> {
    let options = ReadOptions {
        text_column: args.text_column.clone(),
        files: args.how.options(),
        ..ReadOptions::default()
    };
    let mut reader = Reader::open(&dataset::all_texts(&args.tokens_of)?, options)?;
    let bar = print::Bytes::new(reader.total_bytes(), Some(reader.bytes_read()));
    let kept = reader.by_ref().try_for_each(|document| {
        bar.tick();
        trimming.keep_text(&document?.text)
    });
    bar.end();
    kept?;
    ensure!(reader.counts().documents > 0, "--tokens-of: expected a text, found none in the files");
    if !args.json {
        super::data::report_read(reader.counts())?;
    }
    Ok(())
}
