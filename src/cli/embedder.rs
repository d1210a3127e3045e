//! What the commands that embed texts share: the options of the model.

use std::path::PathBuf;

use wgrad::files::SentenceFolder;
use wgrad::format::thousands;
use wgrad::infer::{EmbedOptions, Embedder};

use super::precision::ComputeArgs;
use super::{models, pooling, precision, print};

/// The model, and how its hidden states become vectors.
#[derive(clap::Args)]
pub struct EmbedderArgs {
    /// The model's folder: one of sentence-transformers, of a Hugging Face BERT, or one trained here. Or a name on
    /// huggingface.co, such as sentence-transformers/all-MiniLM-L6-v2.
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    /// How the vectors of tokens become one: what the folder says, or else their mean.
    #[arg(long, value_enum, default_value_t = pooling::Choice::Auto)]
    pooling: pooling::Choice,
    /// Leave the vectors at the length they have.
    #[arg(long)]
    no_normalize: bool,
    /// How many tokens of a text are seen; what the folder says by default.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Load weights that hold NaN or infinity.
    #[arg(long)]
    allow_non_finite: bool,
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::F32)]
    precision: precision::Choice,
    #[command(flatten)]
    compute: ComputeArgs,
}

impl EmbedderArgs {
    /// The folder, found and read.
    pub fn folder(&self) -> anyhow::Result<SentenceFolder> {
        let mut folder = models::sentence_model(&self.model)?;
        folder.model.weights = folder.model.weights.allow_non_finite(self.allow_non_finite);
        Ok(folder)
    }

    /// Reads the folder, then opens the device: what is wrong with the files is told first.
    pub async fn open(&self) -> anyhow::Result<Embedder> {
        self.open_folder(&self.folder()?).await
    }

    /// [`EmbedderArgs::open`] of a folder that was read.
    pub async fn open_folder(&self, folder: &SentenceFolder) -> anyhow::Result<Embedder> {
        let mut options = EmbedOptions::from(folder);
        options.normalize &= !self.no_normalize;
        options.max_tokens = self.max_tokens.unwrap_or(options.max_tokens);
        options.pooling = self.pooling.chosen().unwrap_or(options.pooling);
        let (gpu, storage) = self.compute.open(self.precision).await?;
        options.storage = storage;
        Ok(Embedder::open(&gpu, folder, options)?)
    }
}

/// Says once how many texts were longer than the model sees.
pub fn tell_truncated(truncated: usize, of: usize, embedder: &Embedder) {
    if truncated > 0 {
        print::note(format_args!(
            "note: {} of {} texts are longer than the {} tokens that are seen; their ends were cut off",
            thousands(truncated as u64),
            thousands(of as u64),
            embedder.options().max_tokens,
        ));
    }
}
