//! Training runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::{Device, Files, settings};
use crate::data::Dataset;
use crate::train::metrics::Columns;
use crate::train::pretrain::RECIPE;
use crate::train::{Event, Precision, RunOptions, Settings, TrainConfig, Trainer, pretrain as train};
use crate::{Error, Result};

/// Asks a run to stop after the steps under way, one or two.
#[wasm_bindgen]
#[derive(Default)]
pub struct Stop(Arc<AtomicBool>);

#[wasm_bindgen]
impl Stop {
    /// Not asked yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As `wgrad pretrain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainSettings {
    /// The folder of the run.
    out: PathBuf,
    /// The folder of its data.
    data: PathBuf,
    /// A recipe's name, for a new run.
    #[serde(default)]
    preset: Option<String>,
    /// `key=value`.
    #[serde(default)]
    set: Vec<String>,
    /// Go on from the newest checkpoint.
    #[serde(default)]
    resume: bool,
    /// Go on although recipe or data have changed.
    #[serde(default)]
    allow_changes: bool,
    /// What the data is, for the model card.
    #[serde(default)]
    about_data: Option<String>,
}

impl TrainSettings {
    fn recipe(&self, files: &Files, dataset: &Dataset) -> Result<TrainConfig> {
        let mut settings = match &self.preset {
            Some(preset) => Settings::preset(preset)?,
            None => {
                let path = self.out.join(RECIPE);
                let text = files.0.get(&path).ok_or_else(|| {
                    Error::file(&path, "the recipe of a run to go on with, or `preset` for a new one", "none")
                })?;
                Settings::json(&String::from_utf8_lossy(&text), &path)?
            }
        };
        self.set.iter().try_for_each(|assignment| settings.set(assignment))?;
        settings.for_data(dataset)
    }
}

/// How many steps the recipe in a file leads to.
#[wasm_bindgen]
pub fn total_steps(files: &Files, recipe: &str) -> Result<f64> {
    let path = Path::new(recipe);
    let text = files.0.get(path).ok_or_else(|| Error::file(path, "the recipe of a run", "none"))?;
    let recipe = Settings::json(&String::from_utf8_lossy(&text), path)?.config()?;
    Ok(recipe.plan()?.total_steps() as f64)
}

/// Trains, and leaves in `files` what `wgrad pretrain` leaves in a folder. `on_event` is called with JSON; the
/// result is the summary as JSON.
#[wasm_bindgen]
pub async fn pretrain(
    device: &Device,
    files: &Files,
    options: &str,
    stop: &Stop,
    on_event: js_sys::Function,
) -> Result<String> {
    let asked: TrainSettings = settings(options)?;
    let dataset = Arc::new(Dataset::open_on(&files.0, &[&asked.data])?);
    let mut recipe = asked.recipe(files, &dataset)?;
    let mut other_precision = false;
    let tell = |event: &Value| {
        // A listener that throws must not end the run.
        let _ = on_event.call1(&JsValue::NULL, &JsValue::from_str(&event.to_string()));
    };
    // A run of a computer goes on here too: masters, sums and the optimizer's state are f32 in either precision.
    if recipe.precision == Precision::Mixed && !device.gpu().capabilities().f16 {
        let text = "this adapter has no f16, in which the run was begun: it goes on in f32";
        tell(&json!({ "event": "warning", "text": text }));
        recipe.precision = Precision::F32;
        other_precision = true;
    }
    let mut options = RunOptions::new(recipe, dataset, &asked.out);
    options.store = Arc::new(files.0.clone());
    options.resume = asked.resume;
    options.allow_changes = asked.allow_changes;
    options.other_precision = other_precision;
    options.data.extend(asked.about_data);
    let open = async |config: &TrainConfig| {
        let gpu = device.working().await?;
        Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options())
    };
    let mut progress = |event: Event<'_>| tell(&described(event));
    let summary = train(&options, open, &mut progress, &stop.0).await?;
    Ok(super::json(&summary))
}

fn described(event: Event<'_>) -> Value {
    let path = |path: &Path| path.display().to_string();
    match event {
        Event::Ready { step, total_steps, device, parameters, unigram_entropy } => json!({
            "event": "ready", "step": step, "total_steps": total_steps, "device": device,
            "parameters": parameters, "unigram_entropy": unigram_entropy,
        }),
        Event::Step(row) => json!({ "event": "step", "row": Columns::Pretraining.json(row) }),
        Event::Measuring { done, total } => json!({ "event": "measuring", "done": done, "total": total }),
        Event::Checkpoint { step, path: at } => {
            json!({ "event": "checkpoint", "step": step, "path": path(at) })
        }
        Event::Warning(text) => json!({ "event": "warning", "text": text }),
        Event::DeviceLost { step, error } => {
            json!({ "event": "device-lost", "step": step, "text": error.to_string() })
        }
    }
}
