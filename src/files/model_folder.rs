//! A Hugging Face model folder: `config.json`, `model.safetensors`, `tokenizer.json` and a `README.md` card.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::MODEL_FILE;
use super::atomic::{Disk, FileSystem, write_file};
use super::check::{check_tensors, check_vocabulary, special_tokens, tokenizer_vocabulary};
use super::header::{foreign, refuse_pickle};
use super::names::from_hugging_face;
use super::shards::{INDEX_FILE, complete};
use super::weights::Weights;
use super::writer::TensorSource;
use crate::models::{Config, ModelType, PositionEmbedding};
use crate::{Error, Result};

/// The architecture `wgrad` in PyTorch, for `transformers`.
const MODELING_FILE: &str = "modeling_wgrad.py";

/// Where a folder is put together.
const STAGING: &str = ".partial";

/// A model read from a folder: its files fit each other, its weights are still on disk.
///
/// ```
/// # use wgrad::text::{Tokenizer, TokenizerOptions};
/// use wgrad::models::{Config, init::initial_values};
/// use wgrad::files::{ModelFolder, TensorSource};
///
/// # fn main() -> wgrad::Result<()> {
/// # let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// # let tokenizer = Tokenizer::train(["a dog barks"].map(|text| Ok(text.to_owned())), &options)?;
/// # let specials = *tokenizer.specials();
/// # let config = Config { vocab_size: tokenizer.vocab_size(), pad_token_id: specials.pad, cls_token_id: specials.cls,
/// #     sep_token_id: specials.sep, mask_token_id: specials.mask, ..Config::preset("micro")? };
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let specs = config.parameters();
/// let shapes = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
/// let values = TensorSource::new(shapes, |name| {
///     let spec = specs.iter().find(|spec| spec.name == name);
///     Ok(spec.map(|spec| initial_values(spec, 0)).unwrap_or_default().into())
/// });
/// ModelFolder::save(folder, &config, tokenizer.json(), values, "# A model with random weights")?;
///
/// let model = ModelFolder::load(folder)?;
/// assert_eq!(model.config, config);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// The model's shape.
    pub config: Config,
    /// Its tensors, named and shaped as [`Config::parameters`] says.
    pub weights: Weights,
    /// Its `tokenizer.json`, whose vocabulary has `vocab_size` tokens.
    pub tokenizer: PathBuf,
    /// That file's bytes.
    pub tokenizer_json: Vec<u8>,
}

impl ModelFolder {
    /// Reads a folder, of this crate or of a Hugging Face BERT, and checks its files against each other. NaN and
    /// infinity are refused when the weights are read.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::File`] naming the file that is missing, broken or contradicts another.
    pub fn load(dir: impl AsRef<Path>) -> Result<ModelFolder> {
        Self::load_on(&Disk, dir)
    }

    /// [`ModelFolder::load`] from a given file system.
    ///
    /// # Errors
    /// As [`ModelFolder::load`].
    pub fn load_on(fs: &dyn FileSystem, dir: impl AsRef<Path>) -> Result<ModelFolder> {
        let dir = dir.as_ref();
        require_files(fs, dir)?;
        let config_path = dir.join("config.json");
        let config = read_json(fs, &config_path)?;
        let tokenizer = dir.join("tokenizer.json");
        let json = read_json(fs, &tokenizer)?;
        // Before the configuration looks into it for its special tokens.
        serde_json::from_slice::<serde::de::IgnoredAny>(&json)
            .map_err(|error| Error::file(&tokenizer, "a tokenizer.json", error.to_string()))?;
        let mut config = Config::from_json_with(&config, &config_path, &special_tokens(&json))?;

        let weights = from_hugging_face(Weights::open_folder_on(fs, dir)?, &mut config)?;
        check_tensors(&config.parameters(), weights.shapes(), weights.path())?;
        check_vocabulary(&config, tokenizer_vocabulary(&json, &tokenizer)?, &tokenizer)?;
        Ok(ModelFolder { path: dir.to_path_buf(), config, weights, tokenizer, tokenizer_json: json })
    }

    /// Whether a folder has the files of a model, whatever is in them.
    pub fn is_whole(dir: impl AsRef<Path>) -> bool {
        require_files(&Disk, dir.as_ref()).is_ok() && complete(&Disk, dir.as_ref())
    }

    /// Writes a folder that [`ModelFolder::load`] accepts; `card` is the text of its `README.md`.
    ///
    /// All files are written and synced aside, then renamed into place, weights last. One process at a time may
    /// save to a folder.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] when the parts do not fit each other, [`Error::Io`] when the disk
    /// refuses; a model that was in the folder is then untouched.
    pub fn save(
        dir: impl AsRef<Path>,
        config: &Config,
        tokenizer_json: &[u8],
        tensors: TensorSource,
        card: &str,
    ) -> Result<()> {
        Self::save_on(&Disk, dir, config, tokenizer_json, tensors, card)
    }

    /// [`ModelFolder::save`] on a given file system.
    ///
    /// # Errors
    /// As [`ModelFolder::save`].
    pub fn save_on(
        fs: &dyn FileSystem,
        dir: impl AsRef<Path>,
        config: &Config,
        tokenizer_json: &[u8],
        tensors: TensorSource,
        card: &str,
    ) -> Result<()> {
        let dir = dir.as_ref();
        config.validate()?;
        check_tensors(&config.parameters(), tensors.shapes(), dir.join(MODEL_FILE))?;
        let tokenizer = dir.join("tokenizer.json");
        check_vocabulary(config, tokenizer_vocabulary(tokenizer_json, &tokenizer)?, &tokenizer)?;

        let staging = dir.join(STAGING);
        let saved = || -> Result<()> {
            if fs.exists(&staging) {
                fs.remove_dir_all(&staging).map_err(Error::io(&staging, "remove"))?;
            }
            fs.create_dir_all(&staging).map_err(Error::io(&staging, "create the folder"))?;
            let mut small = vec![
                ("config.json", config.to_json().into_bytes()),
                ("tokenizer.json", tokenizer_json.to_vec()),
                ("tokenizer_config.json", tokenizer_config(config).into_bytes()),
                ("README.md", card.as_bytes().to_vec()),
            ];
            if config.model_type == ModelType::Wgrad {
                small.push((MODELING_FILE, include_bytes!("modeling_wgrad.py").to_vec()));
            }
            write_file(fs, &staging.join(MODEL_FILE), |sink| tensors.write(sink))?;
            for (name, bytes) in &small {
                write_file(fs, &staging.join(name), |sink| sink.put(bytes))?;
            }
            for name in small.iter().map(|(name, _)| *name).chain([MODEL_FILE]) {
                let path = dir.join(name);
                fs.rename(&staging.join(name), &path)
                    .map_err(Error::io(&path, "rename the finished file to"))?;
            }
            fs.sync_dir(dir).map_err(Error::io(dir, "sync"))
        }();
        // The folder is good without this; the next save removes what stays.
        let _ = fs.remove_dir_all(&staging);
        saved
    }
}

/// What Python needs to know of a tokenizer beside its `tokenizer.json`.
fn tokenizer_config(config: &Config) -> String {
    let mut value = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    });
    if config.type_vocab_size > 1 {
        // Without this Python would take both texts of a pair for the first.
        value["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
    }
    if config.position_embedding_type == PositionEmbedding::Absolute {
        value["model_max_length"] = json!(config.max_position_embeddings);
    }
    format!("{value:#}\n")
}

/// The bytes of a file of JSON; what failed downloads leave in its place is called by name.
fn read_json(fs: &dyn FileSystem, path: &Path) -> Result<Vec<u8>> {
    let bytes = fs.read(path).map_err(Error::io(path, "read"))?.to_vec();
    match foreign(&bytes) {
        Some(found) => Err(Error::file(path, "a file of JSON", found)),
        None => Ok(bytes),
    }
}

/// Says what a folder lacks, and knows the usual reasons.
fn require_files(fs: &dyn FileSystem, dir: &Path) -> Result<()> {
    let expected = format!("a model folder with config.json, {MODEL_FILE} and tokenizer.json");
    if !fs.is_dir(dir) {
        let found = if fs.exists(dir) { "a file" } else { "nothing there" };
        return Err(Error::file(dir, expected, found));
    }
    let missing: Vec<&str> = ["config.json", MODEL_FILE, "tokenizer.json"]
        .into_iter()
        .filter(|name| !fs.exists(&dir.join(name)))
        .filter(|name| *name != MODEL_FILE || !fs.exists(&dir.join(INDEX_FILE)))
        .collect();
    if missing.contains(&MODEL_FILE) {
        let pickle = dir.join("pytorch_model.bin");
        if fs.exists(&pickle) {
            return refuse_pickle(&pickle);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut found = format!("no {}", missing.join(", no "));
    if missing == ["tokenizer.json"] && fs.exists(&dir.join("vocab.txt")) {
        found += ", only a vocab.txt; in Python, `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` writes it";
    }
    Err(Error::file(dir, expected, found))
}
