//! `wgrad fill-mask`

use std::path::PathBuf;

use anyhow::Context;
use wgrad::format::thousands;
use wgrad::infer::{FillMask, Filled};

use super::{device, models, print};

const HELP: &str = "\
JSON: {text, masks: [{position, candidates: [{id, token, text, probability}]}],
       tokens, truncated, truncated_masks, adapter}
  text       with each mask replaced by its likeliest token
  tokens     that the model saw, [CLS] and [SEP] counted
  truncated  tokens cut off, because the text is longer than the context

Examples:
  wgrad fill-mask --model runs/reviews 'this movie was [MASK] .'
  wgrad fill-mask --model runs/reviews 'the [MASK] was [MASK]' --json";

/// Guess the words that [MASK] stands for.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The text; each [MASK] in it is guessed.
    text: String,
    /// The model's folder: config.json, model.safetensors, tokenizer.json. Or a name on huggingface.co.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// How many guesses for each mask.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top_k: usize,
    /// Load weights that hold NaN or infinity.
    #[arg(long)]
    allow_non_finite: bool,
    /// Part of the name of the GPU to use; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // What is wrong with the files is told before a device is looked for.
    let mut folder = models::model(&args.model)?;
    folder.weights = folder.weights.allow_non_finite(args.allow_non_finite);
    let options = device::options(args.adapter.as_deref());
    let (filled, adapter, mask) = pollster::block_on(async {
        let gpu = device::open(&options).await?;
        let mut model = FillMask::open(&gpu, &folder)?;
        let filled = model.fill(&args.text, args.top_k).await?;
        Ok::<_, wgrad::Error>((filled, gpu.capabilities().name.clone(), model.mask().to_owned()))
    })?;
    if filled.truncated > 0 {
        let lost = match filled.truncated_masks {
            0 => String::new(),
            masks => format!(", with {masks} of the masks"),
        };
        print::note(format_args!(
            "note: the text is longer than the model's context of {} tokens; {} were truncated{lost}",
            folder.config.max_position_embeddings,
            thousands(filled.truncated as u64)
        ));
    }
    if args.json {
        let mut value = serde_json::to_value(&filled).context("the result as JSON")?;
        value["adapter"] = adapter.into();
        return print::line(value);
    }
    report(&filled, &mask)
}

fn report(filled: &Filled, name: &str) -> anyhow::Result<()> {
    for (index, mask) in filled.masks.iter().enumerate() {
        if filled.masks.len() > 1 {
            print::line(format_args!("{name} {}", index + 1))?;
        }
        let row = |c: &wgrad::infer::Candidate| {
            vec![format!("  {}", c.token), format!("{:5.1}%", 100.0 * c.probability), bar(c.probability)]
        };
        for line in print::table(&mask.candidates.iter().map(row).collect::<Vec<_>>(), 9) {
            print::line(line)?;
        }
    }
    print::line(&filled.text)
}

/// A bar of up to 30 cells, in eighths.
fn bar(share: f64) -> String {
    let eighths = (share * 240.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}
