//! Labelling words.

use wasm_bindgen::prelude::*;

use super::{Device, Files, Serving, json};
use crate::Result;
use crate::files::ModelFolder;
use crate::infer;
use crate::tensor::DType;

/// A model that labels the words of a text.
#[wasm_bindgen]
pub struct TokenClassifier(Serving<infer::TokenClassifier>);

#[wasm_bindgen]
impl TokenClassifier {
    /// Loads a model folder. `half` stores activations as f16, where the device has it.
    pub async fn open(device: &Device, files: &Files, folder: &str, half: bool) -> Result<TokenClassifier> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let gpu = device.working().await?;
        let storage = if half && gpu.capabilities().f16 { DType::F16 } else { DType::F32 };
        let model = infer::TokenClassifier::open_in(&files.0, &gpu, &folder, storage)?;
        Ok(TokenClassifier(Serving::new("token-classification", model)))
    }

    /// What is found in each text: a JSON list of what `wgrad predict --json` prints.
    pub async fn tag(&self, texts: Vec<String>) -> Result<String> {
        self.0.call(async |model| Ok(json(&model.predict(&texts, &mut |_| {}).await?))).await
    }
}
