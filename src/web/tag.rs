//! Labelling words.

use wasm_bindgen::prelude::*;

use super::{Device, Embedder, Files, Serving, json, storage};
use crate::Result;
use crate::files::ModelFolder;
use crate::infer;

/// A model that labels the words of a text.
#[wasm_bindgen]
pub struct TokenClassifier(Serving<infer::TokenClassifier>);

#[wasm_bindgen]
impl TokenClassifier {
    /// Loads a folder. `half` stores activations as f16, where the device has it; left out, that follows the file.
    pub async fn open(
        device: &Device,
        files: &Files,
        folder: &str,
        half: Option<bool>,
    ) -> Result<TokenClassifier> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let gpu = device.working().await?;
        let storage = storage(&gpu, &folder, half);
        let model = infer::TokenClassifier::open_in(&files.0, &gpu, &folder, None, storage)?;
        Ok(TokenClassifier(Serving::new("token-classification", model)))
    }

    /// The head of the folder that `embedder` was opened from, whose weights both have then.
    pub async fn beside(files: &Files, folder: &str, embedder: &Embedder) -> Result<TokenClassifier> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let (gpu, model, storage) = embedder.shared().await?;
        let model = infer::TokenClassifier::open_in(&files.0, &gpu, &folder, model, storage)?;
        Ok(TokenClassifier(Serving::new("token-classification", model)))
    }

    /// What is found in each text: a JSON list of what `wgrad predict --json` prints.
    pub async fn tag(&self, texts: Vec<String>) -> Result<String> {
        self.0.call(async |model| Ok(json(&model.predict(&texts, &mut |_| {}).await?))).await
    }
}
