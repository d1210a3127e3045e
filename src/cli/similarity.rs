//! `wgrad similarity`

use serde_json::json;
use wgrad::format::shortened;
use wgrad::infer::cosine;

use super::embedder::{EmbedderArgs, tell_truncated};
use super::print;

const HELP: &str = "\
The similarity of two texts is the cosine of the angle between their vectors: 1
for one direction, 0 for unrelated ones.

JSON: {texts, cosine: [[NUMBER]]}

Examples:
  wgrad similarity --model data/minilm 'a cat on a roof' 'a kitten on a house'
  wgrad similarity --model data/minilm --json 'cheap flights' 'low fares' 'soup'";

/// Say how alike texts are.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The texts, two or more.
    #[arg(required = true, num_args = 2..)]
    text: Vec<String>,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let embedded = pollster::block_on(async {
        let folder = args.embedder.folder()?;
        let mut embedder = args.embedder.open_folder(&folder).await?;
        args.embedder.tell_lacking_prompt(&folder, &embedder, &args.text);
        let embedded = embedder.embed(&args.text, &mut |_| {}).await?;
        tell_truncated(embedded.truncated, args.text.len(), &embedder);
        anyhow::Ok(embedded)
    })?;
    let rows: Vec<&[f32]> = embedded.rows().collect();
    let cosines: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| cosine(a, b)).collect()).collect();
    if args.json {
        return print::line(json!({"texts": args.text, "cosine": cosines}));
    }
    let mut table = Vec::new();
    for (index, (text, cosines)) in args.text.iter().zip(&cosines).enumerate() {
        let mut row = vec![(index + 1).to_string(), shortened(text, 40).replace(['\n', '\r'], " ")];
        row.extend(cosines.iter().map(|cosine| format!("{cosine:.3}")));
        table.push(row);
    }
    let mut header = vec![String::new(), String::new()];
    header.extend((1..=rows.len()).map(|index| index.to_string()));
    table.insert(0, header);
    print::table(&table, 2).into_iter().try_for_each(print::line)
}
