//! Texts to vectors.

use std::sync::Arc;

use js_sys::Float32Array;
use serde::Deserialize;
use serde_json::Value;
use wasm_bindgen::prelude::*;

use super::{Device, Files, Serving, json, settings, storage};
use crate::files::SentenceFolder;
use crate::gpu::Gpu;
use crate::infer::{self, EmbedOptions};
use crate::models::{Model, Pooling};
use crate::tensor::DType;
use crate::{Error, Result};

/// A model that makes vectors of texts.
#[wasm_bindgen]
pub struct Embedder {
    serving: Serving<infer::Embedder>,
    about: String,
}

/// How vectors are asked for. What is left out is as the folder says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    /// A name, or a list of names.
    pooling: Option<Value>,
    normalize: Option<bool>,
    /// Text in front of each text; it overrules a name.
    prompt: Option<String>,
    prompt_name: Option<String>,
    /// How many numbers of a vector are kept.
    dimensions: Option<usize>,
    /// Keeps weights and activations as f16, where the device has it; left out, that follows the file.
    half: Option<bool>,
}

impl How {
    fn options(&self, folder: &SentenceFolder) -> Result<EmbedOptions> {
        let mut options = EmbedOptions::from(folder);
        // Its head, if it has one, is asked beside this. A folder whose files hold an encoder alone has none, whatever it names.
        let config = &folder.model.config;
        options.head = config.is_classifier() || config.is_token_classifier();
        options.normalize = self.normalize.unwrap_or(options.normalize || self.dimensions.is_some());
        options.dimensions = self.dimensions.or(options.dimensions);
        if let Some(given) = &self.pooling {
            options.pooling = serde_json::from_value(given.clone()).map_err(|_| {
                let known = Pooling::ALL.map(|pooling| format!("`{}`", pooling.name())).join(", ");
                Error::config("pooling", format!("{known}, or a list of them"), given)
            })?;
        }
        match (&self.prompt, &self.prompt_name) {
            (Some(prompt), _) => options.prompt.clone_from(prompt),
            (None, Some(name)) => folder.prompt_named(name)?.clone_into(&mut options.prompt),
            (None, None) => {}
        }
        Ok(options)
    }
}

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
    /// Loads a folder. `how` is JSON of what stands in for what the folder says: see [`How`].
    pub async fn open(device: &Device, files: &Files, folder: &str, how: &str) -> Result<Embedder> {
        let folder = SentenceFolder::load_on(&files.0, folder)?;
        let how: How = settings(how)?;
        let folder = if how.pooling.is_some() { folder } else { folder.with_its_pooling()? };
        let mut options = how.options(&folder)?;
        let gpu = device.working().await?;
        options.storage = storage(&gpu, &folder.model, how.half);
        let config = &folder.model.config;
        let labels = if config.is_classifier() { config.labels.as_slice() } else { &[] };
        let about = json(&serde_json::json!({
            "prompts": folder.prompts, "default_prompt": folder.default_prompt, "width": folder.width(),
            "labels": labels, "tags": config.is_token_classifier(),
        }));
        let embedder = infer::Embedder::open(&gpu, &folder, options)?;
        Ok(Embedder { serving: Serving::new("feature-extraction", embedder), about })
    }

    /// What the folder says, as JSON: `{prompts: {NAME: TEXT}, default_prompt, width, labels: [NAME], tags}`; there are labels
    /// where a head tells classes apart, or gives a number, which has one; `tags` says that a head labels words.
    pub fn about(&self) -> String {
        self.about.clone()
    }

    /// The vectors of `texts`, in their order. `progress` is called with how many are done.
    pub async fn embed(&self, texts: Vec<String>, progress: js_sys::Function) -> Result<Embeddings> {
        let mut told = |done: usize| {
            // A listener that throws must not end the work.
            let _ = progress.call1(&JsValue::NULL, &JsValue::from_f64(done as f64));
        };
        self.serving.call(async |model| Ok(Embeddings(model.embed(&texts, &mut told).await?))).await
    }

    /// Compares the vectors of this device with the reference vectors of the folder that this was opened from, with the
    /// folder's own pooling. The result is `{"right": {…}}`, `{"stale": "why"}` or `"absent"`; a device that computes
    /// wrong is an error.
    pub async fn verify(&self, files: &Files, folder: &str) -> Result<String> {
        let folder = SentenceFolder::load_on(&files.0, folder)?;
        self.serving.call(async |model| Ok(json(&infer::verify(&files.0, &folder, model).await?))).await
    }

    /// The token ids of each text, as JSON.
    pub async fn tokenize(&self, texts: Vec<String>) -> Result<String> {
        let ids = async |model: &mut infer::Embedder| {
            let ids = texts.iter().map(|text| Ok(model.tokenize(text)?.ids));
            Ok(json(&ids.collect::<Result<Vec<_>>>()?))
        };
        self.serving.call(ids).await
    }
}

impl Embedder {
    /// What a head beside it needs: the device that has the weights, the model with its head, none where its file has no
    /// head, and the type that activations are stored in.
    ///
    /// A device that was lost is an error, though another may be open by now: the weights are not there.
    pub(super) async fn shared(&self) -> Result<(Gpu, Option<Arc<Model>>, DType)> {
        let parts = async |model: &mut infer::Embedder| {
            model.gpu().check("sharing")?;
            let options = model.options();
            Ok((model.gpu().clone(), options.head.then(|| model.shared_model()), options.storage))
        };
        self.serving.call(parts).await
    }
}
