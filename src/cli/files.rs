//! How files of texts are taken: what all commands that read some have in common.

use clap::ValueEnum;
use wgrad::budget;
use wgrad::data::FileOptions;
use wgrad::data::source::Format;

/// How files are taken.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// What the files are, whatever their names and contents say.
    #[arg(long = "format", value_name = "FORMAT", value_enum)]
    input_format: Option<InputFormat>,
    /// The first row of .csv and .tsv files is a row like any other; columns go by number, counted from 1.
    #[arg(long)]
    no_header: bool,
    /// Refuse what would be put right or left out: broken UTF-8, UTF-16, NUL, byte-order marks, CRLF, rows that cannot
    /// be used.
    #[arg(long)]
    strict: bool,
    /// Go on however many rows cannot be used. Otherwise more than one in a hundred ends the command.
    #[arg(long, conflicts_with = "strict")]
    lenient: bool,
    /// Memory of the machine, not of its GPU, that reading and tokenizing may take, beside the model and what the GPU's
    /// driver takes. A line or row of more than a sixteenth of it is refused, rows that are kept until the end, of all files
    /// together, where they are more than it holds, and documents are split at 1/1024 of it where that is less than their
    /// limit [default: half of the machine's memory, or 2GiB if that is more].
    #[arg(long, value_name = "SIZE", value_parser = memory, hide_short_help = true)]
    memory: Option<u64>,
}

/// For `--memory`.
fn memory(text: &str) -> Result<u64, String> {
    let bytes = super::fit::bytes(text)?;
    budget::check(bytes).map(|()| bytes).map_err(|error| error.to_string())
}

/// What a file is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum InputFormat {
    /// Plain text.
    Text,
    /// JSON: an object a line, or an array of objects.
    #[value(alias = "jsonl", alias = "ndjson")]
    Json,
    /// Values separated by commas.
    Csv,
    /// Values separated by tabs, quotation marks standing for themselves.
    Tsv,
    /// Parquet.
    Parquet,
}

impl FileArgs {
    /// As the library takes them. From here on the process keeps to the memory that was given.
    pub fn options(&self) -> FileOptions {
        // What is too little was refused when it was parsed.
        _ = self.memory.map(budget::set);
        FileOptions {
            format: self.input_format.map(|format| match format {
                InputFormat::Text => Format::Text,
                InputFormat::Json => Format::Json,
                InputFormat::Csv => Format::Csv,
                InputFormat::Tsv => Format::Tsv,
                InputFormat::Parquet => Format::Parquet,
            }),
            header: !self.no_header,
            strict: self.strict,
            lenient: self.lenient,
        }
    }
}
