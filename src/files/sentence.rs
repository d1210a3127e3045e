//! Folders of sentence embedders: a model folder, and what `sentence-transformers` says about vectors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::{
    CONFIG_FILE, LIMITS_FILE, MODULES_FILE, PROMPTS_FILE, TOKENIZER_CONFIG_FILE, module_folders,
};
use super::{ModelFolder, Weights};
use crate::error::quoted;
use crate::models::{Dense, DenseActivation, Pooling, Poolings, Residual, VectorStep};
use crate::store::{Disk, Store, read_json, read_settings};
use crate::{Error, Result};

/// A model folder with what turns its hidden states into one vector per text.
#[derive(Debug)]
pub struct SentenceFolder {
    /// The encoder.
    pub model: ModelFolder,
    /// How tokens become a text.
    pub pooling: Poolings,
    /// Whether the tokens of a prompt are pooled too.
    pub include_prompt: bool,
    /// What is done with pooled vectors, up to a last division by their length.
    pub steps: Arc<[VectorStep]>,
    /// Whether vectors are at last divided by their length.
    pub normalize: bool,
    /// How many numbers of a vector are kept, where the folder says so.
    pub dimensions: Option<usize>,
    /// How many tokens of a text are seen at most, `[CLS]` and `[SEP]` counted.
    pub max_tokens: usize,
    /// Whether texts are lower-cased before they are tokenized.
    pub lower_case: bool,
    /// What may be put in front of texts, by its name.
    pub prompts: BTreeMap<String, String>,
    /// The name of the prompt that is put in front of each text where none is asked for.
    pub default_prompt: Option<String>,
    /// Files of weights beside those of the encoder, by their names in the folder.
    pub further_weights: Vec<(String, Weights)>,
    /// Whether `sentence-transformers` described the folder, or all of this is by default.
    pub described: bool,
    /// What had to be guessed, because a small file is not there; for people.
    pub guesses: Vec<String>,
    /// The settings of its pooling, where they are not there, so that the mean is a guess.
    pub lacks_pooling: Option<PathBuf>,
}

/// A module of `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Module {
    /// The name of its class.
    fn class(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }
}

impl SentenceFolder {
    /// Reads a folder with a `modules.json`, or a mere model folder: then the mean over the tokens, divided by its
    /// length.
    ///
    /// # Errors
    /// As [`ModelFolder::load`]; [`Error::File`] for a module or a pooling that is not known here.
    pub fn load(dir: impl AsRef<Path>) -> Result<SentenceFolder> {
        Self::load_on(&Disk, dir)
    }

    /// [`SentenceFolder::load`] from a given store.
    ///
    /// # Errors
    /// As [`SentenceFolder::load`].
    pub fn load_on(store: &dyn Store, dir: impl AsRef<Path>) -> Result<SentenceFolder> {
        Self::load_with(store, dir, true)
    }

    /// [`SentenceFolder::load_on`]; without `verify` the files are not compared with the folder's checksums.
    ///
    /// # Errors
    /// As [`SentenceFolder::load`].
    pub fn load_with(store: &dyn Store, dir: impl AsRef<Path>, verify: bool) -> Result<SentenceFolder> {
        let dir = &described_in(store, dir.as_ref());
        let path = dir.join(MODULES_FILE);
        let modules: Vec<Module> =
            if store.exists(&path) { read_json(store, &path, "a list of modules")? } else { Vec::new() };
        let model_dir = inside(dir, &path, modules.first().map_or("", |module| &module.path))?;
        if let [first, ..] = modules.as_slice()
            && first.class() != "Transformer"
        {
            return Err(Error::file(path, "a Transformer as the first module", quoted(first.class())));
        }
        let model = ModelFolder::load_with(store, &model_dir, verify)?;
        let mut found = SentenceFolder {
            pooling: Pooling::Mean.into(),
            include_prompt: true,
            steps: Arc::default(),
            normalize: true,
            dimensions: None,
            max_tokens: model.config.max_position_embeddings,
            lower_case: false,
            prompts: BTreeMap::new(),
            default_prompt: None,
            further_weights: Vec::new(),
            described: !modules.is_empty(),
            guesses: Vec::new(),
            lacks_pooling: None,
            model,
        };
        // A cross-encoder's modules are its model alone.
        let scores = modules.len() == 1 && found.model.config.is_classifier();
        found.described &= !scores;
        if scores {
            found.read_limits(store, &model_dir)?;
            found.read_prompts(store, &dir.join(PROMPTS_FILE))?;
        }
        if found.described {
            found.read_modules(store, dir, &path, modules.get(1..).unwrap_or_default())?;
            found.read_limits(store, &model_dir)?;
            found.read_prompts(store, &dir.join(PROMPTS_FILE))?;
        }
        Ok(found)
    }

    /// The folder for who cannot tell a person what was guessed: its pooling is not.
    ///
    /// # Errors
    /// [`Error::File`] where the settings of the pooling are not there.
    pub fn with_its_pooling(self) -> Result<SentenceFolder> {
        match &self.lacks_pooling {
            Some(path) => Err(Error::file(
                path,
                "the settings of the pooling that `modules.json` names",
                "no such file",
            )),
            None => Ok(self),
        }
    }

    /// Whether a folder has the files of a model, whatever is in them.
    pub fn is_whole(dir: impl AsRef<Path>) -> bool {
        let dir = dir.as_ref();
        let modules = Disk.read(&dir.join(MODULES_FILE)).map(|modules| module_folders(&modules));
        let encoder = modules.ok().and_then(|folders| folders.into_iter().next()).unwrap_or_default();
        ModelFolder::is_whole(dir.join(encoder))
    }

    /// The length of a vector before it is cut.
    pub fn full_width(&self) -> usize {
        let pooled = self.pooling.width(self.model.config.hidden_size);
        self.steps.iter().fold(pooled, |width, step| match step {
            VectorStep::Dense(dense) => dense.outputs(),
            VectorStep::Normalize => width,
        })
    }

    /// The length of a vector.
    pub fn width(&self) -> usize {
        self.dimensions.unwrap_or(usize::MAX).min(self.full_width())
    }

    /// What is put in front of each text where nothing else is asked for.
    pub fn prompt(&self) -> &str {
        let prompt = self.default_prompt.as_ref().and_then(|name| self.prompts.get(name));
        prompt.map_or("", String::as_str)
    }

    /// The prompt of a name.
    ///
    /// # Errors
    /// [`Error::Config`], naming those that there are, where there is none of the name.
    pub fn prompt_named(&self, name: &str) -> Result<&str> {
        let prompt = self.prompts.get(name).map(String::as_str);
        prompt.ok_or_else(|| {
            let known: Vec<String> = self.prompts.keys().map(|name| quoted(name)).collect();
            let expected = match known.as_slice() {
                [] => "no name, as the model has no prompts".to_owned(),
                known => format!("one of the model's prompts, {}", known.join(", ")),
            };
            Error::config("prompt-name", expected, quoted(name))
        })
    }

    /// The modules behind the encoder.
    fn read_modules(&mut self, store: &dyn Store, dir: &Path, path: &Path, modules: &[Module]) -> Result<()> {
        let mut modules = modules.iter();
        let pooling = modules.next();
        let Some(pooling) = pooling.filter(|module| module.class() == "Pooling") else {
            let found = pooling.map_or("no module".to_owned(), |module| quoted(module.class()));
            return Err(Error::file(path, "a Pooling behind the Transformer", found));
        };
        self.read_pooling(store, &inside(dir, path, &pooling.path)?.join(CONFIG_FILE))?;
        let mut steps = Vec::new();
        for module in modules {
            let folder = inside(dir, path, &module.path)?;
            match module.class() {
                "Normalize" => {
                    of_a_sentence(&read_settings(store, &folder.join(CONFIG_FILE))?, &folder)?;
                    steps.push(VectorStep::Normalize);
                }
                "Dense" => {
                    let (dense, weights) = dense(store, &folder)?;
                    self.steps = steps.into();
                    let width = self.full_width();
                    if dense.inputs() != width {
                        let expected =
                            format!("`in_features` to be {width}, as many numbers as are there before");
                        let found = dense.inputs().to_string();
                        return Err(Error::file(folder.join(CONFIG_FILE), expected, found));
                    }
                    steps = self.steps.to_vec();
                    steps.push(VectorStep::Dense(dense));
                    let file = weights.path().file_name().unwrap_or_default().to_string_lossy();
                    self.further_weights.push((format!("{}/{file}", module.path), weights));
                }
                // It does nothing but in training.
                "Dropout" => {}
                other => {
                    let expected = "a Dense, a Normalize or a Dropout behind the Pooling";
                    return Err(Error::file(path, expected, quoted(other)));
                }
            }
        }
        self.normalize = steps.last() == Some(&VectorStep::Normalize);
        if self.normalize {
            steps.pop();
        }
        self.steps = steps.into();
        Ok(())
    }

    /// The pooling of a `1_Pooling/config.json`: names, or one flag for each kind.
    fn read_pooling(&mut self, store: &dyn Store, path: &Path) -> Result<()> {
        if !store.exists(path) {
            self.lacks_pooling = Some(path.to_owned());
            let path = path.display();
            self.guesses.push(format!("{path} is not there: vectors are the mean over the tokens"));
            return Ok(());
        }
        let settings: Map<String, Value> = read_json(store, path, "the settings of a pooling")?;
        let width = self.model.config.hidden_size;
        for key in ["word_embedding_dimension", "embedding_dimension"] {
            if let Some(found) = settings.get(key).filter(|value| value.as_u64() != Some(width as u64)) {
                let expected = format!("`{key}` to be {width}, the model's width");
                return Err(Error::file(path, expected, found.to_string()));
            }
        }
        self.include_prompt = settings.get("include_prompt") != Some(&Value::Bool(false));
        self.pooling = poolings(&settings, path)?;
        Ok(())
    }

    /// How long texts may be.
    fn read_limits(&mut self, store: &dyn Store, dir: &Path) -> Result<()> {
        let settings = read_settings(store, &dir.join(LIMITS_FILE))?;
        let tokenizer = read_settings(store, &dir.join(TOKENIZER_CONFIG_FILE))?;
        self.lower_case = settings.get("do_lower_case") == Some(&Value::Bool(true));
        let given = settings.get("max_seq_length").filter(|value| !value.is_null());
        let limit = match given {
            Some(value) => value.as_u64().filter(|&tokens| tokens >= 3).ok_or_else(|| {
                let path = dir.join(LIMITS_FILE);
                Error::file(path, "`max_seq_length` to be at least 3", value.to_string())
            })?,
            // Without a limit of its own a tokenizer has an enormous one, written as a float.
            None => tokenizer.get("model_max_length").and_then(Value::as_u64).unwrap_or(u64::MAX).max(3),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let config = &self.model.config;
        // Where positions are relative, a given limit may exceed the context of pretraining.
        self.max_tokens = if given.is_some() && !config.is_bounded() {
            limit
        } else {
            limit.min(config.max_position_embeddings)
        };
        if given.is_none() && tokenizer.get("model_max_length").is_none() {
            let limits = dir.join(LIMITS_FILE);
            let (limits, tokens) = (limits.display(), self.max_tokens);
            self.guesses.push(format!(
                "{limits} does not say how long texts may be: {tokens} tokens are seen, as many as the model has positions"
            ));
        }
        Ok(())
    }

    /// What is put in front of texts.
    fn read_prompts(&mut self, store: &dyn Store, path: &Path) -> Result<()> {
        let settings = read_settings(store, path)?;
        if let Some(prompts) = settings.get("prompts").filter(|prompts| !prompts.is_null()) {
            let Value::Object(prompts) = prompts else {
                return Err(Error::file(path, "`prompts` to be texts by their names", prompts.to_string()));
            };
            for (name, prompt) in prompts {
                // Python takes one without a text for an empty one.
                let text = if prompt.is_null() { Some("") } else { prompt.as_str() };
                let text = text.ok_or_else(|| {
                    Error::file(path, format!("the prompt {} to be a text", quoted(name)), prompt.to_string())
                })?;
                self.prompts.insert(name.clone(), text.to_owned());
            }
        }
        if let Some(name) = settings.get("default_prompt_name").and_then(Value::as_str) {
            if !self.prompts.contains_key(name) {
                return Err(Error::file(path, format!("a prompt called {}", quoted(name)), "none"));
            }
            self.default_prompt = Some(name.to_owned());
        }
        if let Some(dimensions) = settings.get("truncate_dim").filter(|value| !value.is_null()) {
            let width = self.full_width();
            let fits = dimensions.as_u64().and_then(|value| usize::try_from(value).ok());
            let fits = fits.filter(|value| (1..=width).contains(value));
            self.dimensions = Some(fits.ok_or_else(|| {
                Error::file(path, format!("`truncate_dim` to be 1 to {width}"), dimensions.to_string())
            })?);
        }
        Ok(())
    }
}

/// The poolings that the settings of a pooling name.
fn poolings(settings: &Map<String, Value>, path: &Path) -> Result<Poolings> {
    let known = || Pooling::ALL.map(|pooling| quoted(pooling.sentence_transformers()[0])).join(", ");
    let wrong = |found: String| Error::file(path, format!("poolings of {}", known()), found);
    let named = |name: &Value| {
        let name = name.as_str().ok_or_else(|| wrong(name.to_string()))?;
        let mut all = Pooling::ALL.into_iter();
        all.find(|pooling| pooling.sentence_transformers()[0] == name).ok_or_else(|| wrong(quoted(name)))
    };
    let list: Vec<Pooling> = match settings.get("pooling_mode").filter(|value| !value.is_null()) {
        Some(Value::Array(names)) => names.iter().map(named).collect::<Result<_>>()?,
        Some(name) => vec![named(name)?],
        None => {
            let set = |key: &str| settings.get(key) == Some(&Value::Bool(true));
            let flags = Pooling::ALL.map(|pooling| pooling.sentence_transformers()[1]);
            let mut others = settings.keys().filter(|key| key.starts_with("pooling_mode_") && set(key));
            if let Some(other) = others.find(|key| !flags.contains(&key.as_str())) {
                return Err(wrong(quoted(other)));
            }
            let listed = Pooling::ALL.into_iter().filter(|pooling| set(pooling.sentence_transformers()[1]));
            let listed: Vec<Pooling> = listed.collect();
            // As `sentence-transformers` does.
            if listed.is_empty() { vec![Pooling::Mean] } else { listed }
        }
    };
    Poolings::new(&list).map_err(|_| wrong(format!("{} of them", list.len())))
}

/// Checks that a module works on the vectors of texts, which most leave unsaid.
fn of_a_sentence(settings: &Map<String, Value>, folder: &Path) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        let other = settings.get(key).filter(|value| !value.is_null() && **value != "sentence_embedding");
        if let Some(other) = other {
            let expected = format!("`{key}` to be \"sentence_embedding\"");
            return Err(Error::file(folder.join(CONFIG_FILE), expected, other.to_string()));
        }
    }
    Ok(())
}

/// The layer of a folder of a Dense module.
fn dense(store: &dyn Store, folder: &Path) -> Result<(Dense, Weights)> {
    let path = folder.join(CONFIG_FILE);
    let settings: Map<String, Value> = read_json(store, &path, "the settings of a Dense module")?;
    of_a_sentence(&settings, folder)?;
    let size = |key: &str| {
        let value = settings.get(key).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
        value.filter(|&value| value > 0).ok_or_else(|| {
            let found = settings.get(key).map_or("none".to_owned(), Value::to_string);
            Error::file(&path, format!("`{key}` to be a number of at least 1"), found)
        })
    };
    let shape = [size("out_features")?, size("in_features")?];
    // Left out, it is Python's default.
    let class = settings.get("activation_function").and_then(Value::as_str).unwrap_or("Tanh");
    let class = class.rsplit('.').next().unwrap_or_default();
    let activation = DenseActivation::of_class(class).ok_or_else(|| {
        let expected = "`activation_function` to be Identity, Tanh, ReLU, GELU, SiLU or Sigmoid";
        Error::file(&path, expected, quoted(class))
    })?;
    let weights = Weights::open_folder(store, folder)?;
    let tensor = |name: &str, shape: &[usize]| {
        if weights.shape(name) != Some(shape) {
            let found = weights.shape(name).map_or("none".to_owned(), |shape| format!("{shape:?}"));
            return Err(Error::file(weights.path(), format!("`{name}` of shape {shape:?}"), found));
        }
        weights.f32(name)
    };
    let weight = tensor("linear.weight", &shape)?;
    let has_bias = settings.get("bias") != Some(&Value::Bool(false));
    let bias = has_bias.then(|| tensor("linear.bias", &shape[..1])).transpose()?;
    let residual = match settings.get("use_residual") == Some(&Value::Bool(true)) {
        false => Residual::None,
        true if shape[0] == shape[1] => Residual::Input,
        true => Residual::Projected(tensor("residual.weight", &shape)?),
    };
    Ok((Dense::new(shape, weight, bias, activation, residual)?, weights))
}

/// The folder that says how vectors are made with a model's: itself, or one above it that has it as its encoder.
pub(super) fn described_in(store: &dyn Store, dir: &Path) -> PathBuf {
    if store.exists(&dir.join(MODULES_FILE)) {
        return dir.to_path_buf();
    }
    let of = |dir: &Path| {
        let is_encoder_of = |above: &&Path| {
            let modules = store.read(&above.join(MODULES_FILE)).ok();
            let first = modules.and_then(|modules| module_folders(&modules).into_iter().next());
            first.is_some_and(|first| !first.is_empty() && above.join(first) == dir)
        };
        // Few names of modules have several parts.
        dir.ancestors().skip(1).take(3).find(is_encoder_of).map(Path::to_path_buf)
    };
    // What stands above `.` is known by its whole name alone.
    let whole = || std::path::absolute(dir).ok().map(|whole| whole.components().collect::<PathBuf>());
    of(dir).or_else(|| of(&whole()?)).unwrap_or_else(|| dir.to_path_buf())
}

/// A folder that `modules.json` names: the folder itself, or one in it.
fn inside(dir: &Path, modules: &Path, name: &str) -> Result<PathBuf> {
    let mut path = dir.to_path_buf();
    if name.is_empty() || name == "." {
        return Ok(path);
    }
    for part in name.trim_start_matches("./").trim_end_matches('/').split('/') {
        if part.is_empty() || part.starts_with('.') || part.contains(['\\', ':', '\0']) {
            return Err(Error::file(modules, "modules in the folder itself", quoted(name)));
        }
        path.push(part);
    }
    Ok(path)
}
