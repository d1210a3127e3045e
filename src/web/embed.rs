//! Texts to vectors.

use js_sys::Float32Array;
use wasm_bindgen::prelude::*;

use super::{Device, Files, Serving, json};
use crate::files::SentenceFolder;
use crate::files::weights::Dtype;
use crate::infer::{self, EmbedOptions};
use crate::models::Pooling;
use crate::tensor::DType;
use crate::{Error, Result};

/// A model that makes vectors of texts.
#[wasm_bindgen]
pub struct Embedder(Serving<infer::Embedder>);

/// The vectors of some texts.
#[wasm_bindgen]
pub struct Embeddings(infer::Embeddings);

#[wasm_bindgen]
impl Embeddings {
    /// The length of a vector.
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// How many texts were longer than the model sees.
    pub fn truncated(&self) -> usize {
        self.0.truncated
    }

    /// The vectors, one after the other.
    pub fn values(&self) -> Float32Array {
        Float32Array::from(self.0.values.as_slice())
    }
}

#[wasm_bindgen]
impl Embedder {
    /// Loads a folder. `pooling`, `mean` or `cls`, and `normalize` stand in for what the folder says; `half` keeps
    /// weights and activations as f16, where the device has it; left out, that follows the file.
    pub async fn open(
        device: &Device,
        files: &Files,
        folder: &str,
        pooling: Option<String>,
        normalize: Option<bool>,
        half: Option<bool>,
    ) -> Result<Embedder> {
        let folder = SentenceFolder::load_on(&files.0, folder)?;
        let mut options = EmbedOptions::from(&folder);
        options.normalize = normalize.unwrap_or(options.normalize);
        if let Some(name) = pooling.as_deref() {
            let known = Pooling::ALL.into_iter().find(|pooling| pooling.name() == name);
            let expected = || Pooling::ALL.map(|pooling| format!("`{}`", pooling.name())).join(", ");
            options.pooling = known.ok_or_else(|| Error::config("pooling", expected(), name))?.into();
        }
        let gpu = device.working().await?;
        let weights = &folder.model.weights;
        let stored = || weights.names().all(|name| weights.dtype(name) == Some(Dtype::F16));
        if half.unwrap_or_else(stored) && gpu.capabilities().f16 {
            options.storage = DType::F16;
        }
        Ok(Embedder(Serving::new("feature-extraction", infer::Embedder::open(&gpu, &folder, options)?)))
    }

    /// The vectors of `texts`, in their order. `progress` is called with how many are done.
    pub async fn embed(&self, texts: Vec<String>, progress: js_sys::Function) -> Result<Embeddings> {
        let mut told = |done: usize| {
            // A listener that throws must not end the work.
            let _ = progress.call1(&JsValue::NULL, &JsValue::from_f64(done as f64));
        };
        self.0.call(async |model| Ok(Embeddings(model.embed(&texts, &mut told).await?))).await
    }

    /// Compares the vectors of this device with the reference vectors of the folder that this was opened from, with the
    /// folder's own pooling. The result is `{"right": {…}}`, `{"stale": "why"}` or `"absent"`; a device that computes
    /// wrong is an error.
    pub async fn verify(&self, files: &Files, folder: &str) -> Result<String> {
        let folder = SentenceFolder::load_on(&files.0, folder)?;
        self.0.call(async |model| Ok(json(&infer::verify(&files.0, &folder, model).await?))).await
    }

    /// The token ids of each text, as JSON.
    pub async fn tokenize(&self, texts: Vec<String>) -> Result<String> {
        let ids = async |model: &mut infer::Embedder| {
            let ids = texts.iter().map(|text| Ok(model.tokenize(text)?.ids));
            Ok(json(&ids.collect::<Result<Vec<_>>>()?))
        };
        self.0.call(ids).await
    }
}
