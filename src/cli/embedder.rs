//! What the commands that embed texts share: the options of the model.

use std::path::PathBuf;

use wgrad::checkpoint::SentenceFolder;
use wgrad::infer::{EmbedOptions, Embedder};

use super::{device, hub, pooling, precision, print, units};

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
    /// How activations are stored.
    #[arg(long, value_enum, default_value_t = precision::Choice::F32)]
    precision: precision::Choice,
    /// Multiply matrices on the GPU's matrix units (tensor cores, simdgroup matrices): those of f16, and on Apple's GPUs
    /// those of f32. auto: where they have passed a test of some seconds, made once for an adapter, its driver and the type.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_value_t = units::Choice::Auto, default_missing_value = "on")]
    matrix_units: units::Choice,
    /// Load weights that hold NaN or infinity.
    #[arg(long)]
    allow_non_finite: bool,
    /// Part of the name of the GPU to use; the strongest by default.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
}

impl EmbedderArgs {
    /// The folder, found and read.
    pub fn folder(&self) -> anyhow::Result<SentenceFolder> {
        let mut folder = SentenceFolder::load(hub::folder(&self.model)?)?;
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
        let precision = self.precision.into();
        let gpu =
            units::decide(self.matrix_units, precision, &device::options(self.adapter.as_deref())).await?;
        let gpu = device::open(&gpu).await?;
        options.storage = precision::decide(precision, gpu.capabilities()).storage();
        Ok(Embedder::open(&gpu, folder, options)?)
    }
}

/// Says once how many texts were longer than the model sees.
pub fn tell_truncated(truncated: usize, of: usize, embedder: &Embedder) {
    if truncated > 0 {
        print::note(format_args!(
            "note: {} of {} texts are longer than the {} tokens that are seen; their ends were cut off",
            print::count(truncated as u64),
            print::count(of as u64),
            embedder.options().max_tokens,
        ));
    }
}
