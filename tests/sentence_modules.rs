//! Modules behind an encoder against `sentence-transformers`: poolings, linear layers, prompts, cut vectors.
//! `tests/golden/sentence_modules.py` makes the vectors.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::program::{command, stderr, stdout};
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use wgrad::files::{ModelFolder, SentenceFolder};
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{EmbedOptions, Embedder};
use wgrad::models::{Pooling, Poolings};
use wgrad::tensor::DType;

const PROMPT: &str = "query: the old bridge ";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn texts() -> Vec<String> {
    let all: Vec<String> = serde_json::from_slice(&fs::read(golden("sentences.json")).unwrap()).unwrap();
    all.into_iter().step_by(8).collect()
}

fn tensor(name: &str) -> (Vec<f32>, Vec<usize>) {
    let bytes = fs::read(golden("sentence_modules.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (bytemuck::pod_collect_to_vec(tensor.data()), tensor.shape().to_vec())
}

/// The golden folder with other modules behind its encoder: a type, a folder, its settings, and the layer whose weights
/// it has.
struct Folder(tempfile::TempDir);

type Module<'a> = (&'a str, &'a str, Value, Option<&'a str>);

impl Folder {
    fn with(modules: &[Module]) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let from = golden("sentence_transformers");
        for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
            }
        }
        let mut list = vec![
            json!({"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}),
        ];
        for (index, (kind, path, settings, layer)) in modules.iter().enumerate() {
            let kind = format!("sentence_transformers.models.{kind}");
            list.push(json!({"idx": index + 1, "name": (index + 1).to_string(), "path": path, "type": kind}));
            let folder = dir.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            if !settings.is_null() {
                fs::write(folder.join("config.json"), settings.to_string()).unwrap();
            }
            if let Some(layer) = layer {
                weights(layer, &folder.join("model.safetensors"));
            }
        }
        let folder = Folder(dir);
        folder.write("modules.json", json!(list));
        folder
    }

    fn write(&self, file: &str, value: Value) {
        fs::write(self.0.path().join(file), value.to_string()).unwrap();
    }

    fn load(&self) -> SentenceFolder {
        SentenceFolder::load(self.0.path()).unwrap()
    }

    /// Compares its vectors with those of a name.
    fn gives(&self, gpu: &Gpu, name: &str) {
        self.gives_as(gpu, name, |_| {});
    }

    fn gives_as(&self, gpu: &Gpu, name: &str, change: impl FnOnce(&mut EmbedOptions)) {
        let folder = self.load();
        let mut options = EmbedOptions::from(&folder);
        change(&mut options);
        close(gpu, &folder, options, name, 2e-6);
    }

    fn refused(&self, because: &str) {
        let message = SentenceFolder::load(self.0.path()).unwrap_err().to_string();
        assert!(message.contains(because), "{message}");
    }
}

/// Writes the weights of a layer of the golden file.
fn weights(layer: &str, path: &Path) {
    let names = ["linear.weight", "linear.bias", "residual.weight"];
    let bytes = fs::read(golden("sentence_modules.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = names.iter().filter_map(|name| {
        let tensor = file.tensor(&format!("layer {layer} {name}")).ok()?;
        Some((*name, TensorView::new(tensor.dtype(), tensor.shape().to_vec(), tensor.data()).unwrap()))
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn close(gpu: &Gpu, folder: &SentenceFolder, options: EmbedOptions, name: &str, bound: f32) {
    let mut embedder = Embedder::open(gpu, folder, options).unwrap();
    let found = pollster::block_on(embedder.embed(&texts(), &mut |_| {})).unwrap();
    let (expected, shape) = tensor(name);
    assert_eq!((found.rows().len(), found.width, embedder.width()), (shape[0], shape[1], shape[1]), "{name}");
    for ((found, expected), text) in found.rows().zip(expected.chunks(shape[1])).zip(texts()) {
        let length = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= bound * length, "{name}: off by {off} of {length} for {text:?}");
    }
}

fn pooling(mode: Value) -> Value {
    json!({"embedding_dimension": 40, "pooling_mode": mode, "include_prompt": true})
}

fn mean() -> Module<'static> {
    ("Pooling", "1_Pooling", pooling(json!("mean")), None)
}

#[test]
fn every_pooling_and_several_at_once() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for pooling_mode in Pooling::ALL {
            let [mode, flag] = pooling_mode.sentence_transformers();
            let folder = Folder::with(&[("Pooling", "1_Pooling", pooling(json!(mode)), None)]);
            assert_eq!(folder.load().pooling, Poolings::from(pooling_mode));
            folder.gives(&gpu, mode);
            // Older versions write flags.
            let folder = Folder::with(&[("Pooling", "1_Pooling", json!({flag: true}), None)]);
            assert_eq!(folder.load().pooling, Poolings::from(pooling_mode));
            let without = json!({"pooling_mode": mode, "include_prompt": false});
            let folder = Folder::with(&[("Pooling", "1_Pooling", without, None)]);
            folder
                .gives_as(&gpu, &format!("{mode} without prompt"), |options| options.prompt = PROMPT.into());
        }
        let several = pooling(json!(["cls", "max", "weightedmean"]));
        Folder::with(&[("Pooling", "1_Pooling", several, None)]).gives(&gpu, "several");
        // The order of flags is that of the library, whatever theirs is.
        let flags = json!({"pooling_mode_weightedmean_tokens": true, "pooling_mode_max_tokens": true,
            "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
        Folder::with(&[("Pooling", "1_Pooling", flags, None)]).gives(&gpu, "several");
        let other = pooling(json!(["lasttoken", "mean"]));
        Folder::with(&[("Pooling", "1_Pooling", other, None)]).gives(&gpu, "other order");
    }
}

#[test]
fn poolings_in_f16_are_nearly_those_in_f32() {
    let Some(gpu) = common::gpu() else { return };
    if !common::has_f16(&gpu) {
        return;
    }
    let folder =
        Folder::with(&[("Pooling", "1_Pooling", pooling(json!(["cls", "max", "weightedmean"])), None)]);
    let folder = folder.load();
    let options = EmbedOptions { storage: DType::F16, ..EmbedOptions::from(&folder) };
    close(&gpu, &folder, options, "several", 2e-3);
}

#[test]
fn layers_behind_a_pooling() {
    let Some(gpu) = common::gpu() else { return };
    let layer = |widths: [usize; 2], activation: &str| {
        let activation = format!("torch.nn.modules.{activation}");
        json!({"in_features": widths[0], "out_features": widths[1], "bias": true, "activation_function": activation})
    };
    let dense = |path, widths, activation, name| ("Dense", path, layer(widths, activation), Some(name));
    let normalize = ("Normalize", "3_Normalize", Value::Null, None);
    let tanh = dense("2_Dense", [40, 13], "activation.Tanh", "tanh");
    let folder = Folder::with(&[mean(), tanh.clone(), normalize.clone()]);
    folder.gives(&gpu, "dense");
    let loaded = folder.load();
    assert!(loaded.normalize && loaded.width() == 13 && loaded.further_weights.len() == 1);
    // The list of modules says what they are and where, not the names of folders.
    let (settings, name) = (tanh.2.clone(), tanh.3);
    let elsewhere =
        [("Pooling", "pool", pooling(json!("mean")), None), ("Dense", "layers/out", settings, name)];
    Folder::with(&[elsewhere[0].clone(), elsewhere[1].clone(), normalize.clone()]).gives(&gpu, "dense");
    let mut gelu = dense("2_Dense", [80, 24], "activation.GELU", "gelu");
    gelu.2["bias"] = json!(false);
    let both = ("Pooling", "1_Pooling", pooling(json!(["cls", "mean"])), None);
    let identity = dense("4_Dense", [24, 40], "linear.Identity", "identity");
    Folder::with(&[both, gelu, normalize.clone(), identity]).gives(&gpu, "two layers");
    let mut residual = dense("4_Dense", [40, 10], "activation.ReLU", "residual");
    residual.2["use_residual"] = json!(true);
    Folder::with(&[mean(), normalize.clone(), residual]).gives(&gpu, "residual");

    let changed = |key: &str, value: Value, because: &str| {
        let mut wrong = tanh.clone();
        wrong.2[key] = value;
        Folder::with(&[mean(), wrong]).refused(because);
    };
    changed(
        "in_features",
        json!(41),
        "2_Dense/model.safetensors: expected `linear.weight` of shape [13, 41], found [13, 40]",
    );
    changed("out_features", json!(0), "`out_features` to be a number of at least 1, found 0");
    changed("activation_function", json!("os.system"), "`activation_function` to be Identity");
    changed(
        "module_input_name",
        json!("token_embeddings"),
        "`module_input_name` to be \"sentence_embedding\"",
    );
    let two = ("Pooling", "1_Pooling", pooling(json!(["cls", "mean"])), None);
    Folder::with(&[two, tanh.clone()]).refused("2_Dense/config.json: expected `in_features` to be 80");
    let pickled = Folder::with(&[mean(), ("Dense", "2_Dense", tanh.2.clone(), None)]);
    let message = SentenceFolder::load(pickled.0.path()).unwrap_err().to_string();
    assert!(message.contains("2_Dense/model.safetensors"), "{message}");
    // A pooling of another width than the layer takes.
    let loaded = folder.load();
    let both = Poolings::new(&[Pooling::Cls, Pooling::Mean]).unwrap();
    let options = EmbedOptions { pooling: both, ..EmbedOptions::from(&loaded) };
    let message = Embedder::open(&gpu, &loaded, options).unwrap_err().to_string();
    assert!(message.contains("takes 80 numbers, found one that takes 40"), "{message}");
}

#[test]
fn prompts_have_names() {
    let Some(gpu) = common::gpu() else { return };
    let folder = Folder::with(&[mean()]);
    let prompts = json!({"query": PROMPT, "document": "", "none": null});
    let settings = |default: Value| json!({"prompts": prompts, "default_prompt_name": default});
    folder.write("config_sentence_transformers.json", settings(json!("query")));
    folder.gives(&gpu, "prompt");
    folder.write("config_sentence_transformers.json", settings(Value::Null));
    folder.gives(&gpu, "mean");
    let loaded = folder.load();
    let named = loaded.prompt_named("query").unwrap().to_owned();
    folder.gives_as(&gpu, "prompt", |options| options.prompt = named);
    assert_eq!((loaded.prompt(), loaded.prompt_named("none").unwrap()), ("", ""));
    let message = loaded.prompt_named("passage").unwrap_err().to_string();
    assert!(
        message.contains("one of the model's prompts, `document`, `none`, `query`, found `passage`"),
        "{message}"
    );
    folder.write("config_sentence_transformers.json", json!({"prompts": ["a"]}));
    folder.refused("`prompts` to be texts by their names");
    folder.write("config_sentence_transformers.json", json!({"prompts": {"query": 1}}));
    folder.refused("the prompt `query` to be a text, found 1");
}

#[test]
fn vectors_are_cut_and_then_normalized() {
    let Some(gpu) = common::gpu() else { return };
    let folder = Folder::with(&[mean(), ("Normalize", "2_Normalize", Value::Null, None)]);
    folder.gives_as(&gpu, "cut", |options| options.dimensions = Some(11));
    folder.write("config_sentence_transformers.json", json!({"truncate_dim": 11}));
    folder.gives(&gpu, "cut");
    assert_eq!(folder.load().width(), 11);
    folder.write("config_sentence_transformers.json", json!({"truncate_dim": 41}));
    folder.refused("`truncate_dim` to be 1 to 40, found 41");
    folder.write("config_sentence_transformers.json", json!({}));
    let loaded = folder.load();
    let options = EmbedOptions { dimensions: Some(41), ..EmbedOptions::from(&loaded) };
    let message = Embedder::open(&gpu, &loaded, options).unwrap_err().to_string();
    assert!(message.contains("dimensions: expected 1 to 40, the length of a vector, found 41"), "{message}");
}

#[test]
fn what_is_guessed_is_said() {
    let folder = Folder::with(&[("Pooling", "1_Pooling", Value::Null, None)]);
    for file in ["sentence_bert_config.json", "tokenizer_config.json"] {
        fs::remove_file(folder.0.path().join(file)).unwrap();
    }
    // Who cannot say it does without.
    let refused = folder.load().with_its_pooling().unwrap_err().to_string();
    assert!(refused.contains("1_Pooling/config.json: expected the settings of the pooling"), "{refused}");
    let guesses = folder.load().guesses;
    assert!(
        guesses.len() == 2 && guesses[0].contains("1_Pooling/config.json is not there: vectors are the mean")
    );
    assert!(guesses[1].contains("48 tokens are seen"), "{guesses:?}");
    assert!(Folder::with(&[mean()]).load().guesses.is_empty());
}

/// Folders of older versions keep the encoder apart.
#[test]
fn an_encoder_in_a_folder_of_its_own() {
    let Some(gpu) = common::gpu() else { return };
    let folder = Folder::with(&[mean()]);
    let apart = folder.0.path().join("0_Transformer");
    fs::create_dir(&apart).unwrap();
    for entry in fs::read_dir(folder.0.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        if entry.path().is_file() && name != "modules.json" && name != "config_sentence_transformers.json" {
            fs::rename(entry.path(), apart.join(name)).unwrap();
        }
    }
    let mut modules: Value =
        serde_json::from_slice(&fs::read(folder.0.path().join("modules.json")).unwrap()).unwrap();
    modules[0]["path"] = json!("0_Transformer");
    folder.write("modules.json", modules);
    folder.gives(&gpu, "mean");
    assert!(SentenceFolder::is_whole(folder.0.path()));
    // Who asks for the model alone finds it, and by it how vectors are made.
    let model = ModelFolder::load(folder.0.path()).unwrap();
    assert_eq!(model.path, apart);
    let described = SentenceFolder::load(&model.path).unwrap();
    assert!(described.described && described.lacks_pooling.is_none());
    assert_eq!(described.model.path, apart);

    // So do the commands, and what they write is a model like any other.
    let place = tempfile::tempdir().unwrap();
    let pairs: String = (0..12).map(|i| format!("the dog {i}\tthe cat {i}\t0.{}\n", i % 10)).collect();
    fs::write(place.path().join("pairs.tsv"), format!("sentence1\tsentence2\tscore\n{pairs}")).unwrap();
    let name = folder.0.path().to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = command(arguments).current_dir(place.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    let columns = ["--text-column", "sentence1", "--pair-column", "sentence2", "--label-column", "score"];
    let task = [
        "finetune",
        "--task",
        "regress",
        "--train",
        "pairs.tsv",
        "--eval",
        "pairs.tsv",
        "--epochs",
        "1",
        "--max-length",
        "32",
    ];
    run(&[&task[..], &columns, &["--model", name, "--seeds", "1", "--out", "tuned"]].concat());
    run(&[&["evaluate", "--task", "contrastive", "--model", name, "--eval", "pairs.tsv"][..], &columns]
        .concat());
    let before = run(&["embed", "--model", name, "the dog"]);
    run(&["trim", "--model", name, "--layers", "2", "--out", "trimmed"]);
    let trimmed = SentenceFolder::load(place.path().join("trimmed")).unwrap();
    assert!(trimmed.described && trimmed.max_tokens == described.max_tokens);
    assert_eq!(trimmed.model.path, place.path().join("trimmed"));
    assert_eq!(run(&["embed", "--model", "trimmed", "the dog"]), before);
}
