//! Filling masks.

use std::path::Path;

use wasm_bindgen::prelude::*;

use super::{Device, Files, Serving, json};
use crate::files::{ModelFolder, Weights};
use crate::infer;
use crate::tensor::DType;
use crate::text::Tokenizer;
use crate::train::Settings;
use crate::{Error, Result};

/// A model that guesses the `[MASK]`s of a text.
#[wasm_bindgen]
pub struct FillMask(Serving<infer::FillMask>);

#[wasm_bindgen]
impl FillMask {
    /// Loads a model folder.
    pub async fn open(device: &Device, files: &Files, folder: &str) -> Result<FillMask> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let gpu = device.working().await?;
        Ok(FillMask(Serving::new("fill-mask", infer::FillMask::open(&gpu, &folder)?)))
    }

    /// Loads the model of a run as a checkpoint has it; the tokenizer is that of the folder `data`.
    pub async fn open_checkpoint(
        device: &Device,
        files: &Files,
        recipe: &str,
        checkpoint: &str,
        data: &str,
    ) -> Result<FillMask> {
        let (recipe, checkpoint) = (Path::new(recipe), Path::new(checkpoint));
        let read = |path: &Path| {
            files.0.get(path).ok_or_else(|| Error::file(path, "a file of a training run", "none"))
        };
        let config = Settings::json(&String::from_utf8_lossy(&read(recipe)?), recipe)?.config()?;
        let tokenizer = Tokenizer::from_bytes(read(&Path::new(data).join("tokenizer.json"))?.to_vec())?;
        let weights = Weights::open_on(&files.0, checkpoint.join("model.safetensors"))?;
        let gpu = device.working().await?;
        let model = infer::load(&gpu, config.model, &weights, DType::F32)?;
        Ok(FillMask(Serving::new("fill-mask", infer::FillMask::new(&gpu, model, tokenizer)?)))
    }

    /// Guesses each mask; the result is a JSON object as `wgrad fill-mask --json` prints it.
    pub async fn fill(&self, text: &str, top_k: usize) -> Result<String> {
        self.0.call(async |model| Ok(json(&model.fill(text, top_k).await?))).await
    }
}
