//! What a run is, from before its first device to after its last.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::batches::held_out_batches;
use super::{Event, RunOptions};
use crate::checkpoint::atomic::{FileSystem, write_atomic};
use crate::checkpoint::{MODEL_FILE, RunFolder};
use crate::data::{Batch, Batcher, BatcherOptions, Split};
use crate::train::schedule::Plan;
use crate::{Error, Result};

/// The recipe's name in the run's folder.
pub const RECIPE: &str = "train.json";

/// Parts of the recipe that change neither what is learned nor what is measured.
const FREE: [&str; 2] = ["checkpoint", "max_skipped"];

pub(super) struct Job<'a> {
    pub options: &'a RunOptions,
    pub plan: Plan,
    pub batcher: Batcher,
    pub held_out: Vec<Batch>,
    pub folder: RunFolder,
    /// What a checkpoint must have been made with.
    pub fingerprint: Map<String, Value>,
    pub unigram_entropy: Option<f64>,
}

impl<'a> Job<'a> {
    /// Checks that recipe, data and folder fit, and locks the folder.
    pub(super) fn start(options: &'a RunOptions, progress: &mut dyn FnMut(Event<'_>)) -> Result<Self> {
        let (config, dataset) = (&options.config, &options.dataset);
        config.check()?;
        if config.model.vocab_size != dataset.vocab_size() {
            let expected = format!("{}, the tokenizer's", dataset.vocab_size());
            return Err(Error::config("model.vocab_size", expected, config.model.vocab_size));
        }
        if config.seq_len != dataset.seq_len() {
            let expected = format!("{}, the data's", dataset.seq_len());
            return Err(Error::config("seq_len", expected, config.seq_len));
        }
        let plan = config.plan()?;
        let batcher = Batcher::new(
            dataset.clone(),
            BatcherOptions {
                seed: config.seed,
                masking: config.masking,
                mask_padding: config.model.mask_padding,
            },
        )?;
        batcher.require(plan.largest_batch()).map_err(|error| match error {
            Error::Config { expected, found, .. } => {
                Error::Config { field: "batch_sequences".to_owned(), expected, found }
            }
            other => other,
        })?;

        let folder = open_folder(options)?;
        let sequences = config.evaluate.sequences.min(dataset.len(Split::HeldOut));
        if sequences == 0 && config.evaluate.sequences > 0 {
            let warning = "the data has no held-out sequences: no loss is measured on text not trained on";
            progress(Event::Warning(warning.to_owned()));
        }
        let held_out = held_out_batches(&batcher, sequences, config.micro_batch_sequences())?;
        let fingerprint = fingerprint(options);
        let unigram_entropy = dataset.unigram_entropy();
        Ok(Self { options, plan, batcher, held_out, folder, fingerprint, unigram_entropy })
    }

    /// Writes the recipe, from which the run can be resumed.
    pub(super) fn write_recipe(&self) -> Result<()> {
        let path = self.options.out.join(RECIPE);
        let text = serde_json::to_string_pretty(&self.options.config)
            .map_err(|error| Error::file(&path, "a recipe that JSON can hold", error.to_string()))?;
        write_atomic(&*self.options.file_system, &path, |sink| sink.put(text.as_bytes())).map(drop)
    }

    /// The model's name: that of its folder.
    pub(super) fn name(&self) -> String {
        let out = std::path::absolute(&self.options.out).unwrap_or_else(|_| self.options.out.clone());
        out.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

fn open_folder(options: &RunOptions) -> Result<RunFolder> {
    let folder = if options.resume {
        RunFolder::open_on(options.file_system.clone(), &options.out)?
    } else {
        refuse_model(&*options.file_system, &options.out)?;
        RunFolder::create_on(options.file_system.clone(), &options.out)?
    };
    Ok(folder.keep(options.config.checkpoint.keep))
}

/// A new run must not end by overwriting a model that was there before.
pub(super) fn refuse_model(fs: &dyn FileSystem, out: &Path) -> Result<()> {
    if fs.exists(&out.join(MODEL_FILE)) {
        let found = format!("one with {MODEL_FILE}: resume the run that made it, or choose another folder");
        return Err(Error::file(out, "a folder without a model", found));
    }
    Ok(())
}

fn fingerprint(options: &RunOptions) -> Map<String, Value> {
    // A struct of numbers, booleans and unit variants always serialises.
    let mut recipe = serde_json::to_value(&options.config).unwrap_or_default();
    if let Some(keys) = recipe.as_object_mut() {
        keys.retain(|key, _| !FREE.contains(&key.as_str()));
    }
    let data = json!({
        "fingerprint": format!("{:016x}", options.dataset.fingerprint()),
        "sequences": options.dataset.len(Split::Train),
    });
    Map::from_iter([("data".to_owned(), data), ("recipe".to_owned(), recipe)])
}
