//! Pretraining that starts from a model: its losses against PyTorch's on the same batches, which
//! `tests/golden/going_on.py` computed, and what becomes of the model.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::program::{command, error, stderr, stdout};
use tempfile::TempDir;
use wgrad::files::ModelFolder;

/// The text of `going_on.py`.
fn text() -> String {
    let word = |i: usize, j: usize| format!("w{}", 5 + (i * i + 3 * j * (1 + i % 4)) % 40);
    let line = |i: usize| (0..6 + i % 9).map(|j| word(i, j)).collect::<Vec<_>>().join(" ");
    (0..200).map(|i| line(i) + "\n").collect()
}

fn golden(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if name == "hugging_face" { all.join(name) } else { all.join("families").join(name) }
}

fn run(place: &TempDir, arguments: &[&str]) -> Output {
    command(arguments).current_dir(place.path()).output().unwrap()
}

/// A place with the text prepared for a model.
fn place(model: &Path) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("text.txt"), text()).unwrap();
    let model = model.to_str().unwrap();
    let prepare = ["data", "prepare", "text.txt", "--tokenizer", model, "--seq-len", "20", "--out", "data"];
    stdout(&run(&place, &prepare));
    place
}

const SETTINGS: [&str; 8] = [
    "--set",
    "batch_sequences=8",
    "--set",
    "micro_batch=4",
    "--set",
    "learning_rate=2e-3",
    "--set",
    "warmup_steps=5",
];

/// Goes on from `model` for some steps.
fn pretrain(place: &TempDir, model: &str, steps: &str, more: &[&str]) -> Output {
    let start = ["pretrain", "--from", model, "--data", "data", "--out", "out", "--steps", steps];
    run(place, &[&start, &SETTINGS[..], more].concat())
}

/// The losses of the steps in a run's metrics.
fn losses(folder: &Path) -> Vec<f64> {
    let rows = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let rows = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    rows.filter(|row| row["step"] != 0).map(|row| row["loss"].as_f64().unwrap()).collect()
}

#[test]
fn every_family_goes_on_as_in_pytorch() {
    if common::gpu().is_none() {
        return;
    }
    let file = fs::read(golden("hugging_face").with_file_name("going_on.json")).unwrap();
    let golden_losses: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&file).unwrap();
    assert_eq!(golden_losses.len(), 8);
    for (name, expected) in golden_losses {
        let model = golden(&name);
        let place = place(&model);
        stdout(&pretrain(&place, model.to_str().unwrap(), "50", &["--precision", "f32"]));
        let found = losses(&place.path().join("out"));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-3, "{name}, step {}: {found}, {expected}", step + 1);
        }
        // Something was learned, so that the comparison is of more than the first weights.
        assert!(expected[45..].iter().sum::<f64>() < 0.95 * expected[..5].iter().sum::<f64>(), "{name}");

        let out = ModelFolder::load(place.path().join("out")).unwrap();
        let before = ModelFolder::load(&model).unwrap();
        assert_eq!(out.config, before.config, "{name}");
        assert!(out.tokenizer().unwrap().is_of(&before.tokenizer_json), "{name}");
        let card = fs::read_to_string(place.path().join("out/README.md")).unwrap();
        let model = model.display();
        assert!(card.contains(&format!("base_model: \"{model}\"")), "{card}");
        assert!(card.contains(&format!("| started from | {model} |")), "{card}");
    }
}

#[test]
fn a_run_goes_on_from_a_run_and_resumes_without_it() {
    if common::gpu().is_none() {
        return;
    }
    // Of the second the device pads weights and moments, and files do not.
    ["roberta", "bert_heads_of_10"].into_iter().for_each(goes_on_and_resumes);
}

fn goes_on_and_resumes(name: &str) {
    let model = golden(name);
    let place = place(&model);
    stdout(&pretrain(&place, model.to_str().unwrap(), "6", &[]));
    fs::rename(place.path().join("out"), place.path().join("first")).unwrap();
    // What a run left is a model like any other.
    stdout(&pretrain(&place, "first", "6", &["--set", "checkpoint.every=3"]));
    let whole = losses(&place.path().join("out"));

    // The model is not needed any more once the run has a checkpoint.
    let checkpoints = place.path().join("out/checkpoints");
    fs::remove_dir_all(checkpoints.join("step-00000006")).unwrap();
    fs::remove_file(place.path().join("out/model.safetensors")).unwrap();
    fs::rename(place.path().join("first"), place.path().join("elsewhere")).unwrap();
    let resume = ["pretrain", "--resume", "--data", "data", "--out", "out"];
    stdout(&run(&place, &resume));
    assert_eq!(losses(&place.path().join("out")), whole);
    // Without a checkpoint it is.
    fs::remove_dir_all(&checkpoints).unwrap();
    fs::create_dir(&checkpoints).unwrap();
    let said = stderr(&run(&place, &resume));
    assert!(said.contains("first"), "{said}");
}

#[test]
fn the_first_weights_are_the_models() {
    let model = golden("hugging_face");
    let place = place(&model);
    stdout(&pretrain(&place, model.to_str().unwrap(), "50", &["--init-only"]));
    let (out, before) =
        (ModelFolder::load(place.path().join("out")).unwrap(), ModelFolder::load(&model).unwrap());
    for spec in before.config.parameters() {
        assert_eq!(out.weights.f32(&spec.name).unwrap(), before.weights.f32(&spec.name).unwrap());
    }
    let card = fs::read_to_string(place.path().join("out/README.md")).unwrap();
    assert!(card.contains("starts from: those of "), "{card}");
}

#[test]
fn what_cannot_be_gone_on_from_is_told() {
    let model = golden("hugging_face");
    let place = place(&model);
    let told = |name: &str, more: &[&str]| error(&pretrain(&place, name, "6", more), 1);
    let classes = golden("distilbert_classes");
    let said = told(classes.to_str().unwrap(), &[]);
    assert!(
        said.contains("a masked-language-model head") && said.contains("DistilBertForSequence"),
        "{said}"
    );
    let other = golden("roberta");
    let said = told(other.to_str().unwrap(), &[]);
    assert!(said.contains("data made with the model's tokenizer"), "{said}");
    // Of the same family, with the same special tokens, and other words.
    let said = told(golden("bert_relu").to_str().unwrap(), &[]);
    assert!(said.contains("`wgrad data prepare --tokenizer "), "{said}");
    let said = told(model.to_str().unwrap(), &["--set", "model.hidden_size=80"]);
    assert!(said.contains("model.hidden_size") && said.contains("40, the model's"), "{said}");
    let said = told("no/such-folder/there", &[]);
    assert!(said.contains("nothing there"), "{said}");
}

#[test]
fn a_loss_that_explodes_has_an_exit_code_of_its_own() {
    if common::gpu().is_none() {
        return;
    }
    let model = golden("hugging_face");
    let place = place(&model);
    let model = model.to_str().unwrap();
    let output = pretrain(&place, model, "40", &["--set", "learning_rate=1", "--set", "warmup_steps=0"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("error: step 40: the loss has exploded: ") && said.contains("no model was saved"),
        "{said}"
    );
    assert!(!place.path().join("out/model.safetensors").exists());
}

#[test]
fn special_tokens_that_another_file_names_come_along() {
    let model = tempfile::tempdir().unwrap();
    let whole = golden("bert_relu");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(whole.join(name), model.path().join(name)).unwrap();
    }
    let tokenizer = fs::read_to_string(whole.join("tokenizer.json")).unwrap();
    fs::write(model.path().join("tokenizer.json"), tokenizer.replace("[MASK]", "{hide}")).unwrap();
    fs::write(model.path().join("special_tokens_map.json"), r#"{"mask_token": "{hide}"}"#).unwrap();
    let place = place(model.path());
    let output = pretrain(&place, model.path().to_str().unwrap(), "9", &["--init-only"]);
    stdout(&output);
    let left = ModelFolder::load(place.path().join("out")).unwrap();
    assert_eq!(left.special_tokens.mask.as_deref(), Some("{hide}"));
}
