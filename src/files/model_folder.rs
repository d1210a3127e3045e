//! A Hugging Face model folder: `config.json`, `model.safetensors`, `tokenizer.json` and a `README.md` card.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::check::{check_tensors, check_vocabulary, listed, tokenizer_vocabulary};
use super::header::foreign;
use super::list::{
    CARD_FILE, CONFIG_FILE, MODEL_FILE, MODULES_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, WeightFiles,
    module_folders,
};
use super::names::from_hugging_face;
use super::shards::complete;
use super::weights::Weights;
use super::writer::TensorSource;
use crate::json::weigh;
use crate::models::Config;
use crate::store::{Aside, Disk, Store, checksums};
use crate::text::{Companions, SpecialTokens, Tokenizer, VOCABULARY_FILE, special_token_ids, tokenizer_json};
use crate::{Error, Result};

/// A model read from a folder: its files fit each other, its weights are still on disk.
///
/// ```
/// # use wgrad::text::{Tokenizer, TokenizerOptions};
/// use wgrad::files::{ModelFolder, TensorSource};
/// use wgrad::models::Config;
/// use wgrad::nn::initial_values;
/// use wgrad::store::Disk;
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
/// ModelFolder::save(&Disk, folder, &config, &tokenizer, values, "# A model with random weights")?;
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
    /// Tensors of its files that are none of the model's, such as those of a head that is unknown here.
    pub left_out: Vec<String>,
    /// What has changed in its files for people, such as the card, since they were saved.
    pub changed: Vec<String>,
    /// Its `tokenizer.json`, or the `vocab.txt` that stands for it, whose vocabulary has at most `vocab_size` tokens.
    pub tokenizer: PathBuf,
    /// That file's bytes, with the cleaning that its `tokenizer_config.json` asks for.
    pub tokenizer_json: Vec<u8>,
    /// The special tokens that the files beside it name.
    pub special_tokens: SpecialTokens,
}

/// A tokenizer as a folder holds it.
#[derive(Debug)]
pub struct SavedTokenizer<'a> {
    /// The bytes of the `tokenizer.json`.
    pub json: &'a [u8],
    /// What its special tokens are called, which `tokenizer_config.json` says.
    pub special_tokens: SpecialTokens,
}

impl<'a> From<&'a Tokenizer> for SavedTokenizer<'a> {
    fn from(tokenizer: &'a Tokenizer) -> Self {
        SavedTokenizer { json: tokenizer.json(), special_tokens: tokenizer.special_tokens().clone() }
    }
}

impl<'a> From<&'a Vec<u8>> for SavedTokenizer<'a> {
    /// The special tokens are those that the file names by itself.
    fn from(json: &'a Vec<u8>) -> Self {
        let special_tokens = SpecialTokens::of(&serde_json::from_slice(json).unwrap_or_default());
        SavedTokenizer { json, special_tokens }
    }
}

impl ModelFolder {
    /// Reads a folder, of this crate or of a Hugging Face BERT, or that of the encoder in a sentence embedder's, and checks its files against each other and, where this
    /// crate wrote them, against their checksums. NaN and infinity are refused when the weights are read.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::File`] naming the file that is missing, broken or contradicts another.
    pub fn load(dir: impl AsRef<Path>) -> Result<ModelFolder> {
        Self::load_on(&Disk, dir)
    }

    /// [`ModelFolder::load`] from a given store.
    ///
    /// # Errors
    /// As [`ModelFolder::load`].
    pub fn load_on(store: &dyn Store, dir: impl AsRef<Path>) -> Result<ModelFolder> {
        Self::load_with(store, dir, true)
    }

    /// [`ModelFolder::load_on`]; without `verify` the files are not compared with the folder's checksums.
    ///
    /// # Errors
    /// As [`ModelFolder::load`].
    pub fn load_with(store: &dyn Store, dir: impl AsRef<Path>, verify: bool) -> Result<ModelFolder> {
        let dir = &encoder_folder(store, dir.as_ref());
        require_files(store, dir)?;
        let changed = if verify { checksums::verify(store, dir, &NEEDED, |_| true)? } else { Vec::new() };
        let config_path = dir.join(CONFIG_FILE);
        let config = json_bytes(store, &config_path)?;
        let companions = Companions::read(store, dir)?;
        let mut tokenizer = dir.join(TOKENIZER_FILE);
        let json = if store.exists(&tokenizer) {
            json_bytes(store, &tokenizer)?
        } else {
            tokenizer = dir.join(VOCABULARY_FILE);
            tokenizer_json(&store.read(&tokenizer)?, &tokenizer, &companions)?
        };
        // Before the configuration looks into it for its special tokens.
        serde_json::from_slice::<serde::de::IgnoredAny>(&json)
            .map_err(|error| Error::file(&tokenizer, "a tokenizer.json", error.to_string()))?;
        let (json, special_tokens) = (companions.overrule(json), companions.roles());
        let tokens = special_token_ids(&json, &special_tokens);
        let mut config = Config::from_json_with(&config, &config_path, &tokens)?;

        let (weights, left_out) = from_hugging_face(Weights::open_folder(store, dir)?, &mut config)?;
        check_tensors(&config.parameters(), weights.shapes(), weights.path())?;
        check_vocabulary(&config, tokenizer_vocabulary(&json, &tokenizer)?, &tokenizer)?;
        let path = dir.to_path_buf();
        let tokenizer_json = json;
        Ok(ModelFolder {
            path,
            config,
            weights,
            left_out,
            changed,
            tokenizer,
            tokenizer_json,
            special_tokens,
        })
    }

    /// Its tokenizer, ready to use.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::with_roles(self.tokenizer_json.clone(), &self.tokenizer, &self.special_tokens)
    }

    /// What a person should know of the folder; none where all of it is used.
    pub fn note(&self) -> Option<String> {
        let names: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
        let class = self.config.architectures.first().map_or("model", String::as_str);
        let tensors = if names.len() == 1 { "tensor is" } else { "tensors are" };
        let path = self.weights.path().display();
        let note = || {
            format!("{path}: {} {tensors} no part of a {class} and left out: {}", names.len(), listed(&names))
        };
        let left_out = (!names.is_empty()).then(note);
        let notes: Vec<String> = left_out.into_iter().chain(self.changed.iter().cloned()).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
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
    pub fn save<'a>(
        store: &dyn Store,
        dir: impl AsRef<Path>,
        config: &Config,
        tokenizer: impl Into<SavedTokenizer<'a>>,
        tensors: TensorSource,
        card: &str,
    ) -> Result<()> {
        let dir = dir.as_ref();
        config.validate()?;
        check_tensors(&config.parameters(), tensors.shapes(), dir.join(MODEL_FILE))?;
        let SavedTokenizer { json, special_tokens } = tokenizer.into();
        let path = dir.join(TOKENIZER_FILE);
        check_vocabulary(config, tokenizer_vocabulary(json, &path)?, &path)?;

        store.create_dir_all(dir)?;
        let mut small = vec![
            (CONFIG_FILE, config.to_json().into_bytes()),
            (TOKENIZER_FILE, json.to_vec()),
            (TOKENIZER_CONFIG_FILE, tokenizer_config(config, &special_tokens).into_bytes()),
            (CARD_FILE, card.as_bytes().to_vec()),
        ];
        small.extend(config.family().python().map(|(name, code)| (name, code.into())));
        // The largest comes first, because it is the one that a full disk refuses.
        let mut weights = Aside::begin(store, &dir.join(MODEL_FILE))?;
        tensors.write(weights.sink())?;
        let mut written = vec![(MODEL_FILE, weights.sink().finish()?)];
        let mut files = Vec::new();
        for (name, bytes) in &small {
            let mut file = Aside::begin(store, &dir.join(name))?;
            file.sink().put(bytes)?;
            written.push((name, file.sink().finish()?));
            files.push(file);
        }
        files.push(weights);
        checksums::replacing(store, dir, || {
            files.into_iter().try_for_each(Aside::rename)?;
            store.sync_dir(dir)?;
            Ok(written)
        })
    }
}

/// What the list of checksums of a model's folder must have: all models that are saved here are such.
const NEEDED: [&str; 3] = [CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE];

/// What Python needs to know of a tokenizer beside its `tokenizer.json`.
fn tokenizer_config(config: &Config, special_tokens: &SpecialTokens) -> String {
    let mut value = json!({"tokenizer_class": "PreTrainedTokenizerFast"});
    for (role, token) in special_tokens.roles() {
        if let Some(token) = token {
            value[role] = json!(token);
        }
    }
    if config.type_vocab_size > 1 {
        // Without this Python would take both texts of a pair for the first.
        value["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
    }
    if config.is_bounded() {
        value["model_max_length"] = json!(config.max_position_embeddings);
    }
    format!("{value:#}\n")
}

/// The bytes of a file of JSON; what failed downloads leave in its place is called by name.
fn json_bytes(store: &dyn Store, path: &Path) -> Result<Vec<u8>> {
    let bytes = store.read(path)?;
    if let Some(found) = foreign(&bytes) {
        return Err(Error::file(path, "a file of JSON", found));
    }
    weigh(&bytes).map_err(|(expected, found)| Error::file(path, expected, found))?;
    Ok(bytes.to_vec())
}

/// Where the encoder of a folder lies: some sentence embedders have it in a folder of its own.
pub fn encoder_folder(store: &dyn Store, dir: &Path) -> PathBuf {
    let modules = || store.read(&dir.join(MODULES_FILE)).ok();
    let first = || module_folders(&modules()?).into_iter().next();
    let apart = if store.exists(&dir.join(CONFIG_FILE)) { None } else { first() };
    let apart = apart.map(|first| dir.join(first)).filter(|apart| store.exists(&apart.join(CONFIG_FILE)));
    apart.unwrap_or_else(|| dir.to_path_buf())
}

/// Says what a folder lacks, and knows the usual reasons.
fn require_files(store: &dyn Store, dir: &Path) -> Result<()> {
    let expected = format!("a model folder with {CONFIG_FILE}, {MODEL_FILE} and {TOKENIZER_FILE}");
    if !store.is_dir(dir) {
        let found = if store.exists(dir) { "a file" } else { "nothing there" };
        return Err(Error::file(dir, expected, found));
    }
    let missing: Vec<&str> = [CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE]
        .into_iter()
        .filter(|name| !store.exists(&dir.join(name)))
        .filter(|name| *name != MODEL_FILE || WeightFiles::of(|name| store.exists(&dir.join(name))).is_none())
        .filter(|name| *name != TOKENIZER_FILE || !store.exists(&dir.join(VOCABULARY_FILE)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let found = format!("no {}", missing.join(", no "));
    Err(Error::file(dir, expected, found))
}
