//! `wgrad data fetch`

use std::path::PathBuf;

use anyhow::bail;

use crate::cli::hub::dataset::Reference;
use crate::cli::print;

/// Fetch a data set of the Hugging Face hub.
#[derive(clap::Args)]
pub struct Fetch {
    /// hf: and the name of the data set, with @REVISION if need be.
    #[arg(value_name = "hf:NAME")]
    name: PathBuf,
    /// Which of the sets that the repository holds.
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
    /// The split to fetch, once for each; all of them unless one is named.
    #[arg(long, value_name = "NAME")]
    split: Vec<String>,
    /// The folder for its files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What `--help` says at its end.
pub const HELP: &str =
    "A data set of Parquet is fetched as it is, one of another format as the hub has converted
it. Files that are there and right stay; a download that broke off goes on; contents
are compared with the hash that the hub says. HF_TOKEN, HF_ENDPOINT and
HF_HUB_DOWNLOAD_TIMEOUT (seconds without a byte, 30 unless set) are looked at.

Where a command reads texts, hf:NAME:CONFIG:SPLIT stands for a file: it is fetched into
the cache.

JSON: {out, dataset, commit, config, splits, files: [{name, split, size, hash}]}, size in bytes

Examples:
  wgrad data fetch hf:wikimedia/wikipedia --config 20231101.pt --out wiki
  wgrad data fetch hf:nyu-mll/glue --config mrpc --out glue/mrpc
  wgrad data prepare hf:wikimedia/wikipedia:20231101.pt --tokenizer tok --out data/wiki";

/// Runs the command.
pub fn run(args: &Fetch) -> anyhow::Result<()> {
    let Some(mut reference) = Reference::parse(&args.name)? else {
        bail!("{}: expected a name such as hf:wikimedia/wikipedia:20231101.pt", args.name.display())
    };
    if let (Some(config), Some(other)) = (&args.config, &reference.config)
        && config != other
    {
        bail!("--config: expected {other}, as the name says, found {config}");
    }
    reference.config = args.config.clone().or(reference.config);
    let splits: Vec<&String> = args.split.iter().chain(&reference.split).collect();
    let record = reference.fetch(
        &args.out,
        |split| splits.is_empty() || splits.iter().any(|name| *name == split),
        false,
    )?;
    if args.json {
        let mut record = serde_json::to_value(&record)?;
        record["out"] = args.out.display().to_string().into();
        return print::line(record);
    }
    let bytes: u64 = record.files.iter().map(|file| file.size).sum();
    let (files, megabytes) = (record.files.len(), bytes as f64 / 1e6);
    print::line(format_args!("fetched    {}: {files} files, {megabytes:.1} MB", args.out.display()))
}
