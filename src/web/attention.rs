//! Where a model looks.

use js_sys::Float32Array;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::{Device, Files, Serving, json};
use crate::Result;
use crate::files::ModelFolder;
use crate::infer::attention::{self, AttendedToken, AttentionReader};

/// A model that is looked into.
#[wasm_bindgen]
pub struct Attention(Serving<AttentionReader>);

/// Where it looks in one text.
#[wasm_bindgen]
pub struct AttentionMap(attention::Attention);

/// What goes with the numbers.
#[derive(Serialize)]
struct About<'a> {
    layers: usize,
    heads: usize,
    tokens: &'a [AttendedToken],
    truncated: usize,
}

#[wasm_bindgen]
impl AttentionMap {
    /// Layers, heads, tokens and how many of those were cut off, as JSON.
    pub fn about(&self) -> String {
        let attention::Attention { probabilities, tokens, truncated } = &self.0;
        let (layers, heads) = (probabilities.layers, probabilities.heads);
        json(&About { layers, heads, tokens, truncated: *truncated })
    }

    /// `[L, H, T, T]`: from the token of a row to that of a column.
    pub fn values(&self) -> Float32Array {
        Float32Array::from(self.0.probabilities.values.as_slice())
    }
}

#[wasm_bindgen]
impl Attention {
    /// Loads a folder.
    pub async fn open(device: &Device, files: &Files, folder: &str) -> Result<Attention> {
        let folder = ModelFolder::load_on(&files.0, folder)?;
        let gpu = device.working().await?;
        Ok(Attention(Serving::new("attention", AttentionReader::open(&gpu, &folder)?)))
    }

    /// Where it looks in `text`, or in the pair of `text` and `second`.
    pub async fn read(&self, text: &str, second: Option<String>) -> Result<AttentionMap> {
        self.0.call(async |reader| Ok(AttentionMap(reader.read(text, second.as_deref()).await?))).await
    }
}
