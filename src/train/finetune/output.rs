//! What a finetuning run leaves: the model's folder, with predictions and a picture of the loss.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::FinetuneReport;
use super::best::Best;
use super::card::card;
use super::setup::Setup;
use crate::Result;
use crate::data::task::Task;
use crate::files::list::{LIMITS_FILE, MODULES_FILE, TOKENIZER_CONFIG_FILE};
use crate::files::{ModelFolder, TensorSource};
use crate::models::Pooling;
use crate::store::{Store, checksums, read_json, write_atomic, write_json};
use crate::tensor::DType;
use crate::train::run::log::draw;
use crate::viz::loss_curve::LossCurve;

/// How tokens become the vector of a text, for `sentence-transformers`.
const POOLING_FILE: &str = "1_Pooling/config.json";

/// Writes the model's folder. The weights come last, with the card: a folder that has them is whole.
pub(super) fn save(
    store: &dyn Store,
    setup: &Setup<'_>,
    best: &Best,
    report: &FinetuneReport,
    picture: &LossCurve,
) -> Result<()> {
    let (out, config) = (&setup.options.out, &setup.config);
    let kept = best.folder(out);
    for name in best.predictions() {
        let from = kept.join(&name);
        let bytes = store.read(&from)?;
        write_atomic(store, &out.join(name), |sink| sink.put(&bytes))?;
    }
    draw(store, out, picture)?;
    if setup.options.task == Task::Contrastive {
        sentence_files(store, setup)?;
    }
    let weights = best.weights(store, out)?;
    let shapes = config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let tensors = TensorSource::new(shapes, |name| Ok(Cow::Owned(weights.f32(name)?)));
    let tensors = if setup.options.saved_as == DType::F16 { tensors.as_f16() } else { tensors };
    let card = card(setup, best, report).render(config);
    ModelFolder::save(store, out, config, &setup.tokenizer, tensors, &card)?;
    let predictions: Vec<String> = best.predictions().collect();
    let settings = [TOKENIZER_CONFIG_FILE, MODULES_FILE, LIMITS_FILE, POOLING_FILE];
    let names: Vec<&str> = predictions.iter().map(String::as_str).chain(settings).collect();
    checksums::replacing(store, out, || {
        limit_length(store, &out.join(TOKENIZER_CONFIG_FILE), setup.options.recipe.max_length)?;
        checksums::digests(store, out, &names)
    })
}

/// Tells Python, and `evaluate` and `predict`, at which length texts are truncated.
fn limit_length(store: &dyn Store, path: &Path, tokens: usize) -> Result<()> {
    let mut settings: Map<String, Value> = read_json(store, path, "settings in JSON")?;
    settings.insert("model_max_length".into(), json!(tokens));
    write_json(store, path, &settings)
}

/// What `sentence-transformers` reads beside the model.
fn sentence_files(store: &dyn Store, setup: &Setup<'_>) -> Result<()> {
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
    let mut pooling = Map::new();
    pooling.insert("word_embedding_dimension".into(), json!(setup.config.hidden_size));
    for kind in Pooling::ALL {
        let [_, flag] = kind.sentence_transformers();
        pooling.insert(flag.into(), json!(setup.pooling == kind));
    }
    let limits = json!({"max_seq_length": setup.options.recipe.max_length, "do_lower_case": false});
    for folder in ["1_Pooling", "2_Normalize"] {
        store.create_dir_all(&out.join(folder))?;
    }
    write_json(store, &out.join(MODULES_FILE), &modules)?;
    write_json(store, &out.join(POOLING_FILE), &pooling)?;
    write_json(store, &out.join(LIMITS_FILE), &limits)
}
