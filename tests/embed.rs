//! Sentence embeddings against `sentence-transformers`: a small random folder always, all-MiniLM-L6-v2 where it was
//! fetched. `tests/golden/sentences.py` makes the files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use wgrad::files::SentenceFolder;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{EmbedOptions, Embedder, cosine};
use wgrad::models::Pooling;
use wgrad::tensor::DType;

/// The least cosine allowed between two vectors of one text.
const ALIKE: f64 = 0.99999;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn texts() -> Vec<String> {
    serde_json::from_slice(&fs::read(golden("sentences.json")).unwrap()).unwrap()
}

/// What sentence-transformers computed.
struct Expected(Vec<u8>);

impl Expected {
    fn open(name: &str) -> Self {
        Expected(fs::read(golden(name)).unwrap())
    }

    /// Vectors, row after row, and their length.
    fn vectors(&self, name: &str) -> (Vec<f32>, usize) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values = match tensor.dtype() {
            Dtype::F16 => {
                tensor.data().as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            _ => bytemuck::pod_collect_to_vec(tensor.data()),
        };
        (values, tensor.shape()[1])
    }

    /// The token ids of each text.
    fn tokens(&self) -> Vec<Vec<u32>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let read = |name| -> Vec<u32> { bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data()) };
        let (ids, starts) = (read("tokens"), read("starts"));
        starts.windows(2).map(|pair| ids[pair[0] as usize..pair[1] as usize].to_vec()).collect()
    }
}

fn same(embedder: &mut Embedder, expected: &Expected, name: &str) {
    let texts = texts();
    assert_eq!(texts.len(), 200);
    for (text, ids) in texts.iter().zip(expected.tokens()) {
        assert_eq!(embedder.tokenize(text).unwrap().ids, ids, "{text:?}");
    }
    let mut reported = Vec::new();
    let found = pollster::block_on(embedder.embed(&texts, &mut |done| reported.push(done))).unwrap();
    let (vectors, width) = expected.vectors(name);
    assert_eq!((found.width, found.rows().len()), (width, 200));
    for ((text, found), expected) in texts.iter().zip(found.rows()).zip(vectors.chunks(width)) {
        let alike = cosine(found, expected);
        assert!(alike >= ALIKE, "{name}: {alike} for {text:?}");
        let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let (a, b) = (norm(found), norm(expected));
        assert!((a - b).abs() <= 1e-3 * b, "{name}: length {a} for {b}, {text:?}");
    }
    assert!(reported.is_sorted() && reported.last() == Some(&200));
    assert!(found.truncated >= 1);
    assert!(found.tokens >= 200 * 2);
}

fn small(gpu: &Gpu, change: impl FnOnce(&mut EmbedOptions)) -> Embedder {
    let folder = SentenceFolder::load(golden("sentence_transformers")).unwrap();
    let mut options = EmbedOptions::from(&folder);
    change(&mut options);
    Embedder::open(gpu, &folder, options).unwrap()
}

#[test]
fn a_sentence_transformers_folder_gives_its_vectors() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let expected = Expected::open("sentence_transformers.safetensors");
        let mut embedder = small(&gpu, |_| {});
        assert_eq!((embedder.options().max_tokens, embedder.options().pooling), (32, Pooling::Mean.into()));
        assert!(embedder.options().normalize);
        same(&mut embedder, &expected, "normalized");
        same(&mut small(&gpu, |options| options.normalize = false), &expected, "mean");
        let first = |options: &mut EmbedOptions| {
            (options.pooling, options.normalize) = (Pooling::Cls.into(), false);
        };
        same(&mut small(&gpu, first), &expected, "cls");
    }
}

fn nearly_same(exact: &mut Embedder, halves: &mut Embedder, texts: &[String]) {
    let [exact, halves] =
        [exact, halves].map(|embedder| pollster::block_on(embedder.embed(texts, &mut |_| {})).unwrap());
    for ((a, b), text) in exact.rows().zip(halves.rows()).zip(texts) {
        assert!(cosine(a, b) >= 0.9995, "{} for {text:?}", cosine(a, b));
        assert_ne!(a, b);
    }
}

/// f16 is storage: the vectors stay within what half the digits allow.
#[test]
fn vectors_in_f16_are_nearly_those_in_f32() {
    let Some(gpu) = common::gpu() else { return };
    if !common::has_f16(&gpu) {
        return;
    }
    nearly_same(&mut small(&gpu, |_| {}), &mut small(&gpu, |options| options.storage = DType::F16), &texts());
}

#[test]
fn all_minilm_gives_its_vectors() {
    let Some(path) = common::minilm() else { return };
    let Some(gpu) = common::gpu() else { return };
    let folder = SentenceFolder::load(path).unwrap();
    let mut embedder = Embedder::open(&gpu, &folder, EmbedOptions::from(&folder)).unwrap();
    assert_eq!(embedder.options().max_tokens, 256);
    same(&mut embedder, &Expected::open("minilm.safetensors"), "normalized");
    if gpu.capabilities().f16 {
        let options = EmbedOptions { storage: DType::F16, ..EmbedOptions::from(&folder) };
        // The odd ones are the first; all of them would take a minute.
        nearly_same(&mut embedder, &mut Embedder::open(&gpu, &folder, options).unwrap(), &texts()[..40]);
    }
}

/// A vector depends on its text alone: not on the texts beside it, their order or their number.
#[test]
fn a_text_has_one_vector() {
    let Some(gpu) = common::gpu() else { return };
    let mut embedder = small(&gpu, |_| {});
    let texts = texts();
    let mut embed = |texts: &[&str]| pollster::block_on(embedder.embed(texts, &mut |_| {})).unwrap().values;
    let some: Vec<&str> = texts.iter().map(String::as_str).take(40).collect();
    let together = embed(&some);
    let mut backwards = some.clone();
    backwards.reverse();
    let backwards = embed(&backwards);
    for (index, text) in some.iter().enumerate() {
        let vector = &together[index * 40..][..40];
        assert!(cosine(&embed(&[text]), vector) >= ALIKE, "{text:?}");
        assert!(cosine(&backwards[(39 - index) * 40..][..40], vector) >= ALIKE, "{text:?}");
    }
    assert!(embed(&[]).is_empty());
}

#[test]
fn fault_18_blank_texts_have_finite_vectors_of_length_one() {
    let Some(gpu) = common::gpu() else { return };
    let mut embedder = small(&gpu, |_| {});
    let found = pollster::block_on(embedder.embed(&["", " \n", "\u{200b}\0"], &mut |_| {})).unwrap();
    for row in found.rows() {
        let norm: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-5);
    }
    assert_eq!(embedder.tokenize("").unwrap().ids.len(), 2);
}

#[test]
fn fault_19_and_21_long_texts_are_cut_and_counted() {
    let Some(gpu) = common::gpu() else { return };
    let mut embedder = small(&gpu, |_| {});
    let tokens = embedder.tokenize(&"a ".repeat(100)).unwrap();
    assert_eq!((tokens.ids.len(), tokens.truncated), (32, 70));
    assert_eq!(tokens.ids.last(), embedder.tokenize("").unwrap().ids.last());
    let exact = embedder.tokenize(&"a ".repeat(30)).unwrap();
    assert_eq!((exact.ids.len(), exact.truncated), (32, 0));
    // A million combining marks, and a cut inside a character.
    let marks = "e\u{301}".repeat(1 << 20);
    let texts = [marks.as_str(), &"a ".repeat(31), "short"];
    let found = pollster::block_on(embedder.embed(&texts, &mut |_| {})).unwrap();
    assert!(found.truncated >= 1 && found.values.iter().all(|value| value.is_finite()));
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(gpu) = common::gpu() else { return };
    let folder = SentenceFolder::load(golden("sentence_transformers")).unwrap();
    for max_tokens in [0, 2, 49] {
        let options = EmbedOptions { max_tokens, ..EmbedOptions::from(&folder) };
        let error = Embedder::open(&gpu, &folder, options).err().unwrap().to_string();
        assert!(error.contains("max-tokens: expected 3 to 48"), "{error}");
    }
}

/// The golden folder with one of its JSON files changed.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = golden("sentence_transformers");
    for folder in ["", "1_Pooling", "2_Normalize"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), dir.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let path = dir.path().join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
    dir
}

#[test]
fn fault_13_modules_and_poolings_that_are_not_known() {
    let refused = |file: &str, change: &dyn Fn(&mut Value), because: &str| {
        let dir = changed(file, change);
        let message = SentenceFolder::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains(because) && message.contains(file), "{message}");
    };
    let modules = "modules.json";
    refused(modules, &|m| m[1]["type"] = json!("a.b.WeightedLayerPooling"), "`WeightedLayerPooling`");
    refused(modules, &|m| m[2]["type"] = json!("sentence_transformers.models.LSTM"), "`LSTM`");
    refused(modules, &|m| m[0]["type"] = json!("a.BoW"), "a Transformer as the first module, found `BoW`");
    refused(modules, &|m| m[1]["path"] = json!("../1_Pooling"), "modules in the folder itself");
    refused(modules, &|m| m[0]["path"] = json!("/etc"), "modules in the folder itself");
    refused(modules, &|m| *m = json!({"a": 1}), "a list of modules");
    refused(modules, &|m| m.as_array_mut().unwrap().truncate(1), "a Pooling");
    let pooling = "1_Pooling/config.json";
    refused(pooling, &|p| p["pooling_mode"] = json!("median"), "`lasttoken`, found `median`");
    refused(pooling, &|p| p["pooling_mode"] = json!([]), "found 0 of them");
    refused(pooling, &|p| p["pooling_mode"] = json!(vec!["cls"; 9]), "found 9 of them");
    refused(
        pooling,
        &|p| *p = json!({"pooling_mode_median_tokens": true}),
        "found `pooling_mode_median_tokens`",
    );
    refused(pooling, &|p| p["embedding_dimension"] = json!(41), "`embedding_dimension` to be 40");
    let limits = "sentence_bert_config.json";
    refused(limits, &|l| l["max_seq_length"] = json!(2), "`max_seq_length` to be at least 3");
    let prompts = "config_sentence_transformers.json";
    refused(prompts, &|p| p["default_prompt_name"] = json!("other"), "a prompt called `other`");
}

#[test]
fn older_and_shorter_folders_load() {
    let dir = changed("1_Pooling/config.json", |pooling| {
        *pooling = json!({"word_embedding_dimension": 40, "pooling_mode_cls_token": true,
                          "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false});
    });
    assert_eq!(SentenceFolder::load(dir.path()).unwrap().pooling, Pooling::Cls.into());
    let dir = changed("sentence_bert_config.json", |limits| {
        *limits = json!({"max_seq_length": 16, "do_lower_case": true});
    });
    let folder = SentenceFolder::load(dir.path()).unwrap();
    assert!(folder.max_tokens == 16 && folder.lower_case && folder.normalize && folder.described);
    let dir = changed("modules.json", |modules| modules.as_array_mut().unwrap().truncate(2));
    assert!(!SentenceFolder::load(dir.path()).unwrap().normalize);
    let dir = changed("config_sentence_transformers.json", |settings| {
        *settings = json!({"default_prompt_name": "query", "prompts": {"query": "query: "}});
    });
    assert_eq!(SentenceFolder::load(dir.path()).unwrap().prompt(), "query: ");
    fs::remove_file(dir.path().join("modules.json")).unwrap();
    let folder = SentenceFolder::load(dir.path()).unwrap();
    assert!(!folder.described && folder.normalize && folder.prompt().is_empty());
    assert_eq!((folder.max_tokens, folder.pooling), (48, Pooling::Mean.into()));
}

/// A `vocab.txt` says all of BERT's tokenizer: the ids of 200 texts are those of the `tokenizer.json`.
#[test]
fn a_vocabulary_stands_for_a_tokenizer() {
    let dir = changed("modules.json", |_| {});
    let path = dir.path().join("tokenizer.json");
    let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let vocab = file["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<&String> = vocab.keys().collect();
    tokens.sort_by_key(|token| vocab[*token].as_u64());
    let lines: Vec<&str> = tokens.into_iter().map(String::as_str).collect();
    fs::write(dir.path().join("vocab.txt"), lines.join("\n") + "\n").unwrap();
    fs::remove_file(path).unwrap();
    let [given, made] = [golden("sentence_transformers"), dir.path().to_path_buf()]
        .map(|folder| SentenceFolder::load(folder).unwrap().model.tokenizer().unwrap());
    assert_eq!(made.vocab_size(), given.vocab_size());
    for text in texts() {
        let ids = |tokenizer: &wgrad::text::Tokenizer| tokenizer.encode_with_specials(&text).unwrap();
        assert_eq!(ids(&made), ids(&given), "{text:?}");
    }
}
