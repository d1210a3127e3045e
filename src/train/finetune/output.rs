//! What a finetuning run leaves: the model's folder, with predictions and a picture of the loss.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::FinetuneReport;
use super::best::Best;
use super::card::card;
use super::setup::Setup;
use crate::data::task::Task;
use crate::files::atomic::{Disk, FileSystem, write_atomic};
use crate::files::{ModelFolder, TensorSource};
use crate::models::Pooling;
use crate::tensor::DType;
use crate::train::run::PICTURE;
use crate::viz::loss_curve::LossCurve;
use crate::{Error, Result};

/// Writes the model's folder. The weights come last, with the card: a folder that has them is whole.
pub(super) fn save(
    fs: &dyn FileSystem,
    setup: &Setup<'_>,
    best: &Best,
    report: &FinetuneReport,
    picture: &LossCurve,
) -> Result<()> {
    let (out, config) = (&setup.options.out, &setup.config);
    let kept = best.folder(out);
    for name in best.predictions() {
        let from = kept.join(&name);
        let bytes = fs.read(&from).map_err(Error::io(&from, "read"))?;
        write_atomic(fs, &out.join(name), |sink| sink.put(&bytes))?;
    }
    put(&out.join(PICTURE), &picture.svg())?;
    if setup.options.task == Task::Contrastive {
        sentence_files(setup)?;
    }
    let weights = best.weights(fs, out)?;
    let shapes = config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let tensors = TensorSource::new(shapes, |name| Ok(Cow::Owned(weights.f32(name)?)));
    let tensors = if setup.options.saved_as == DType::F16 { tensors.halves() } else { tensors };
    let card = card(setup, best, report).render(config);
    ModelFolder::save_on(fs, out, config, setup.tokenizer.json(), tensors, &card)?;
    limit_length(&out.join("tokenizer_config.json"), setup.options.recipe.max_length)
}

/// Tells Python, and `evaluate` and `predict`, where texts are truncated.
fn limit_length(path: &Path, tokens: usize) -> Result<()> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let mut settings: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(path, "settings in JSON", error.to_string()))?;
    settings.insert("model_max_length".into(), json!(tokens));
    put(path, &pretty(&Value::Object(settings)))
}

/// What `sentence-transformers` reads beside the model.
fn sentence_files(setup: &Setup<'_>) -> Result<()> {
    let out = &setup.options.out;
    let module = |index: usize, name: &str, path: &str| {
        let kind = format!("sentence_transformers.models.{name}");
        json!({"idx": index, "name": index.to_string(), "path": path, "type": kind})
    };
    let modules = json!([
        module(0, "Transformer", ""),
        module(1, "Pooling", "1_Pooling"),
        module(2, "Normalize", "2_Normalize"),
    ]);
    let pooling = json!({
        "word_embedding_dimension": setup.config.hidden_size,
        "pooling_mode_cls_token": setup.pooling == Pooling::Cls,
        "pooling_mode_mean_tokens": setup.pooling == Pooling::Mean,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
    });
    let limits = json!({"max_seq_length": setup.options.recipe.max_length, "do_lower_case": false});
    for folder in ["1_Pooling", "2_Normalize"] {
        let path = out.join(folder);
        std::fs::create_dir_all(&path).map_err(Error::io(&path, "create the folder"))?;
    }
    put(&out.join("modules.json"), &pretty(&modules))?;
    put(&out.join("1_Pooling/config.json"), &pretty(&pooling))?;
    put(&out.join("sentence_bert_config.json"), &pretty(&limits))
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn put(path: &Path, text: &str) -> Result<()> {
    write_atomic(&Disk, path, |sink| sink.put(text.as_bytes())).map(drop)
}
