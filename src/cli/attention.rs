//! `wgrad attention`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use wgrad::Error;
use wgrad::files::ModelFolder;
use wgrad::format::thousands;
use wgrad::gpu::GpuOptions;
use wgrad::infer::attention::{Attention, AttentionReader};
use wgrad::store::write_output;
use wgrad::viz::{self, Theme};

use super::{device, models, print};

const HELP: &str = "\
Views, for .png and .svg (an .html page has all of them, and opens with this one):
  grid       every head of every layer as a small map
  head       one head, with its tokens on both axes
  rollout    attention through all layers, and each token's relevance under the text
  positions  attention by distance; with relative positions also what each distance adds

JSON: {model, tokens: [{label, text, space_before, special, part}], truncated, layers, heads,
       probabilities: [layer][head][from][to], rollout: [from][to], relevance: [token],
       distances, mean_attention: [layer][head][distance], added_to_logit: [layer][head][distance]}
Layers and heads are counted from 0.

Examples:
  wgrad attention --model runs/reviews 'a film to be seen twice .' --out grid.png
  wgrad attention --model DIR 'How old are you?' 'I am six.' --view head --layer 2 --head 1 --out head.svg
  wgrad attention --model DIR 'How old are you?' 'I am six.' --theme dark --out page.html";

/// Draw where a model looks.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The text.
    text: String,
    /// The second text of a pair.
    second_text: Option<String>,
    /// The model's folder: config.json, model.safetensors, tokenizer.json. Or a name on huggingface.co.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The file to write: its ending says what, .png, .svg, .html or .json.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What to draw.
    #[arg(long, value_enum, default_value_t)]
    view: View,
    /// This layer only; the view of a head shows layer 0 without it.
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// This head only; the view of a head shows head 0 without it.
    #[arg(long, value_name = "N")]
    head: Option<usize>,
    /// Leave [CLS], [SEP] and the like out of the picture.
    #[arg(long)]
    no_special: bool,
    /// The colours.
    #[arg(long, value_enum, default_value_t)]
    theme: Colours,
    /// Pixels of a PNG for one of the picture's own.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    scale: f64,
    /// Load weights that hold NaN or infinity.
    #[arg(long)]
    allow_non_finite: bool,
    /// Part of the name of the GPU to use; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum View {
    #[default]
    Grid,
    Head,
    Rollout,
    Positions,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Colours {
    #[default]
    Light,
    Dark,
}

/// What a file's ending asks for.
#[derive(Clone, Copy)]
enum Format {
    Png,
    Svg,
    Html,
    Json,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // What is wrong with the files is told before a device is looked for.
    let format = format(&args.out)?;
    let mut out = print::output(&args.out)?;
    let mut folder = models::model(&args.model)?;
    folder.weights = folder.weights.allow_non_finite(args.allow_non_finite);
    let options = viz::attention::Options {
        view: match args.view {
            View::Grid => viz::attention::View::Grid,
            View::Head => viz::attention::View::Head,
            View::Rollout => viz::attention::View::Rollout,
            View::Positions => viz::attention::View::Positions,
        },
        layer: args.layer,
        head: args.head,
        no_special: args.no_special,
        theme: match args.theme {
            Colours::Light => Theme::Light,
            Colours::Dark => Theme::Dark,
        },
    };
    let config = &folder.config;
    let counts =
        [("layer", args.layer, config.num_hidden_layers), ("head", args.head, config.num_attention_heads)];
    for (name, chosen, count) in counts {
        if let Some(index) = chosen.filter(|&index| index >= count) {
            return Err(Error::config(name, format!("0 to {}", count - 1), index).into());
        }
    }
    let gpu = device::options(args.adapter.as_deref());
    let attention = pollster::block_on(async {
        let gpu = device::open(&gpu).await?;
        AttentionReader::open(&gpu, &folder)?.read(&args.text, args.second_text.as_deref()).await
    })?;
    if attention.truncated > 0 {
        print::note(format_args!(
            "note: the text is longer than the model's context; {} tokens were cut off",
            thousands(attention.truncated as u64)
        ));
    }
    let tokens = attention.tokens.len();
    let drawn = drawing(&name(&args.model), attention);
    let mut size = String::new();
    let bytes = match format {
        Format::Html => drawn.html(&options)?.into_bytes(),
        Format::Json => serde_json::to_vec(&drawn.numbers(&options)?).context("the numbers as JSON")?,
        Format::Png | Format::Svg => {
            let picture = drawn.picture(&options)?;
            let scale = if let Format::Png = format { args.scale } else { 1.0 };
            let [width, height] = picture.size().map(|side| (side * scale).round());
            size = format!(", {width} x {height} pixels");
            if let Format::Png = format { picture.png(scale)? } else { picture.svg().into_bytes() }
        }
    };
    out.put(&bytes)?;
    out.finish()?;
    let kilobytes = thousands((bytes.len() as u64).div_ceil(1000));
    print::line(format_args!("{}: {tokens} tokens{size}, {kilobytes} kB", args.out.display()))
}

/// Draws all heads of the model in `folder` on `text` into the PNG `out`.
pub fn draw(folder: &Path, text: &str, gpu: &GpuOptions, out: &Path) -> anyhow::Result<()> {
    let loaded = ModelFolder::load(folder)?;
    let attention = pollster::block_on(async {
        let gpu = device::open(gpu).await?;
        AttentionReader::open(&gpu, &loaded)?.read(text, None).await
    })?;
    let picture = drawing(&name(folder), attention).picture(&viz::attention::Options::default())?;
    Ok(write_output(out, &picture.png(1.0)?)?)
}

/// The plain arrays that are drawn.
fn drawing(model: &str, attention: Attention) -> viz::attention::Attention {
    let token = |token: wgrad::infer::attention::AttendedToken| viz::attention::Token {
        label: token.label,
        text: token.text,
        space_before: token.space_before,
        special: token.special,
        part: token.part,
    };
    viz::attention::Attention {
        model: model.to_owned(),
        layers: attention.probabilities.layers,
        heads: attention.probabilities.heads,
        tokens: attention.tokens.into_iter().map(token).collect(),
        probabilities: attention.probabilities.values,
        by_distance: attention.probabilities.by_distance,
        truncated: attention.truncated,
    }
}

/// A model goes by the name of its folder.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_default();
    // `.` and `..` have no name of their own.
    let name = folder.file_name().or(whole.file_name());
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn format(path: &Path) -> Result<Format, Error> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    Ok(match ending.as_str() {
        "png" => Format::Png,
        "svg" => Format::Svg,
        "html" | "htm" => Format::Html,
        "json" => Format::Json,
        _ => {
            let found = if ending.is_empty() { "no ending".to_owned() } else { format!(".{ending}") };
            return Err(Error::file(path, "a name that ends in .png, .svg, .html or .json", found));
        }
    })
}
