//! What the commands that embed texts share: the options of the model.

use std::path::PathBuf;

use wgrad::files::{KnownPrompts, SentenceFolder};
use wgrad::format::thousands;
use wgrad::infer::{EmbedOptions, Embedder};
use wgrad::models::Poolings;

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
    /// What is put in front of each text; the folder's default prompt by default. '' is nothing.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Put the folder's prompt of this name in front of each text; wgrad info lists them.
    #[arg(long, value_name = "NAME", conflicts_with = "prompt")]
    prompt_name: Option<String>,
    /// Keep the first N numbers of each vector, which is then divided by its length again.
    #[arg(long, value_name = "N")]
    dimensions: Option<usize>,
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
        if !folder.described && self.pooling.chosen().is_none() {
            let path = folder.model.path.display();
            print::note(format_args!(
                "note: {path} has no modules.json: by default vectors are the mean over the tokens"
            ));
        }
        folder.model.weights = folder.model.weights.allow_non_finite(self.allow_non_finite);
        Ok(folder)
    }

    /// Opens the device for a folder that was read: what is wrong with the files is told first.
    pub async fn open_folder(&self, folder: &SentenceFolder) -> anyhow::Result<Embedder> {
        let mut options = EmbedOptions::from(folder);
        // A vector that is cut is no longer of length 1.
        options.normalize = (options.normalize || self.dimensions.is_some()) && !self.no_normalize;
        options.dimensions = self.dimensions.or(options.dimensions);
        options.max_tokens = self.max_tokens.unwrap_or(options.max_tokens);
        options.pooling = self.pooling.chosen().map_or(options.pooling, Poolings::from);
        if let Some(name) = &self.prompt_name {
            options.prompt = folder.prompt_named(name)?.to_owned();
        } else if let Some(prompt) = &self.prompt {
            options.prompt.clone_from(prompt);
        }
        let (gpu, storage) = self.compute.open(self.precision).await?;
        options.storage = storage;
        Ok(Embedder::open(&gpu, folder, options)?)
    }
}

impl EmbedderArgs {
    /// Says once where a model that was trained with something in front of each text finds nothing there. `texts` are
    /// the first.
    pub fn tell_lacking_prompt(&self, folder: &SentenceFolder, embedder: &Embedder, texts: &[String]) {
        let prompted = self.prompt.is_some() || !embedder.options().prompt.is_empty();
        let name = self.model.to_string_lossy();
        let Some(known) = KnownPrompts::of(&name).filter(|_| !prompted) else { return };
        if texts.iter().any(|text| known.begin(text)) {
            return;
        }
        let named = folder.prompts.iter().find(|(_, prompt)| *prompt == known.query);
        let way = named.map_or("--prompt TEXT".to_owned(), |(name, _)| format!("--prompt-name {name}"));
        let documents = match known.document {
            "" => String::new(),
            document => format!(" and `{document}` before documents"),
        };
        print::note(format_args!(
            "note: {} models were trained with `{}` before queries{documents}; these texts have neither: see {way}",
            known.family, known.query
        ));
    }
}

/// What vectors follow from beside the model and the texts.
pub fn follows_from(embedder: &Embedder) -> String {
    let options = embedder.options();
    let EmbedOptions { pooling, include_prompt, normalize, max_tokens, lower_case, prompt, storage, .. } =
        options;
    let steps: String = options.steps.iter().map(|step| format!("{}, ", step.name())).collect();
    format!(
        "{pooling:?}, {steps}{} numbers, normalize {normalize}, {max_tokens} tokens, lower case {lower_case}, \
         prompt {prompt:?} pooled {include_prompt}, in {storage:?}",
        embedder.width()
    )
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
