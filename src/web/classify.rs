//! Classes and numbers of texts and of pairs of texts.

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::{Device, Embedder, Files, Serving, json, settings, storage};
use crate::Result;
use crate::files::ModelFolder;
use crate::infer;

/// A model that tells classes of texts apart, or gives a number.
#[wasm_bindgen]
pub struct Classifier {
    serving: Serving<infer::Classifier>,
    about: String,
}

#[wasm_bindgen]
impl Classifier {
    /// Loads a folder. `half` stores activations as f16, where the device has it; left out, that follows the file.
    pub async fn open(
        device: &Device,
        files: &Files,
        folder: &str,
        half: Option<bool>,
    ) -> Result<Classifier> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let gpu = device.working().await?;
        let storage = storage(&gpu, &folder, half);
        Ok(Self::of(infer::Classifier::open_in(&files.0, &gpu, &folder, None, storage)?))
    }

    /// The head of the folder that `embedder` was opened from, whose weights both have then.
    pub async fn beside(files: &Files, folder: &str, embedder: &Embedder) -> Result<Classifier> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let (gpu, model, storage) = embedder.shared().await?;
        Ok(Self::of(infer::Classifier::open_in(&files.0, &gpu, &folder, model, storage)?))
    }

    fn of(model: infer::Classifier) -> Classifier {
        let about = json(&json!({ "labels": model.config().labels }));
        Classifier { serving: Serving::new("text-classification", model), about }
    }

    /// What the folder says, as JSON: `{labels: [NAME]}`, one for a model that gives a number.
    pub fn about(&self) -> String {
        self.about.clone()
    }

    /// What the model says of each text or pair, `[[TEXT, PAIR or null]]` as JSON: a JSON list of
    /// [`Prediction`](infer::Prediction)s. `progress` is called with how many are done.
    pub async fn predict(&self, texts: &str, progress: js_sys::Function) -> Result<String> {
        let texts: Vec<(String, Option<String>)> = settings(texts)?;
        let mut told = |done: usize| {
            // A listener that throws must not end the work.
            let _ = progress.call1(&JsValue::NULL, &JsValue::from_f64(done as f64));
        };
        self.serving.call(async |model| Ok(json(&model.predict(&texts, &mut told).await?))).await
    }
}
