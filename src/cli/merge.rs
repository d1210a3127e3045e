//! `wgrad merge`

use std::path::{Path, PathBuf};

use serde_json::json;
use wgrad::Error;
use wgrad::data::npy;
use wgrad::data::prepare_shard::{DOCUMENTS, merge_documents};
use wgrad::format::thousands;
use wgrad::store::{Output, Parts};

use super::divided::Layout;
use super::{data, print};

/// Put together what several processes computed with --shard.
#[derive(clap::Args)]
#[command(
    after_help = "OUT is what was said as --output, or as --out of `wgrad data prepare`. Beside it lie its parts, OUT.1-of-N to
OUT.N-of-N, copied there from other machines where need be. Each knows what it is a part of: a part that is
missing, or not whole, or of another input, model or version, or made another way (on matrix units, say), is
refused by name, and nothing is written. OUT is the same, bit for bit, as that of one process; vectors computed
on devices that differ may differ in their last bits, and then a note says on which. The parts stay: remove them
when OUT is there.

JSON of vectors and predictions: {out, kind, parts, items, devices}
JSON of a data folder: that of `wgrad data prepare`: {out, seq_len, vocab_size, read, resumed_documents,
begun_anew, empty_documents, dropped_tokens, unknown_tokens, train, held_out, unigram_entropy}, where read is
{files, documents, text_bytes, blank, splits, left_out, left_out_first: [LINE], passed_over: [FILE],
invalid_utf8, nul, byte_order_marks, carriage_returns, utf16}, train and held_out are {documents, sequences,
segments, tokens, fill, padding_avoided}

Examples:
  for i in 1 2 3 4; do wgrad embed --model data/minilm --input q.txt --output q.npy --shard $i/4; done
  wgrad merge q.npy
  mpirun -n 4 wgrad data prepare wiki/ --tokenizer tok --out data/wiki --shard auto && wgrad merge data/wiki"
)]
pub struct Args {
    /// The file or folder to make of its parts.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // A folder may be said with a slash behind it, where its parts have none.
    let out: &Path = &args.out.components().collect::<PathBuf>();
    let mut parts = Parts::open(out)?;
    if parts.kind() == DOCUMENTS {
        let bar = print::Items::new("documents");
        bar.total(parts.seen().items as usize);
        let summary = merge_documents(out, &mut parts, |progress| bar.set(progress.documents as usize));
        bar.end();
        return data::report(&summary?, args.json);
    }
    let devices = parts.devices().to_vec();
    if devices.len() > 1 {
        let devices = devices.join("; ");
        print::note(format_args!(
            "note: computed on {devices}: results of different devices may differ in their last bits"
        ));
    }
    put_together(out, &mut parts)?;
    let (kind, of, items) = (parts.kind(), parts.of(), parts.seen().items);
    if args.json {
        let line = json!({"out": out.display().to_string(), "kind": kind, "parts": of, "items": items, "devices": devices});
        return print::line(line);
    }
    print::line(format_args!("{}: {kind} of {} texts, from {of} parts", out.display(), thousands(items)))
}

/// Writes the records of all parts in the order of their items.
fn put_together(out: &Path, parts: &mut Parts) -> anyhow::Result<()> {
    let layout: Layout = serde_json::from_value(parts.details().clone())
        .map_err(|error| Error::file(out, "parts of vectors or predictions", error.to_string()))?;
    let mut output = Output::create(out)?;
    let mut record = Vec::new();
    if let Layout::Rows { width } = layout {
        output.put(&npy::header(parts.seen().items as usize, width))?;
        record.resize(width * size_of::<f32>(), 0);
    }
    while let Some(records) = parts.next_item() {
        match layout {
            Layout::Rows { .. } => records.exact(&mut record)?,
            Layout::Lines => {
                record.clear();
                records.line(&mut record)?;
            }
        }
        output.put(&record)?;
    }
    parts.finish()?;
    Ok(output.finish()?)
}
