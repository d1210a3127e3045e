//! A model on a device: its configuration and its parameters.

use std::sync::Arc;

use super::config::Config;
use super::init::initial_values;
use super::parameters::ParameterSpec;
use super::words::WordTable;
use crate::gpu::Gpu;
use crate::nn::{Declaration, Division, Parameters};
use crate::{Error, Result};

/// A BERT on a device.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its weights on the device.
    pub parameters: Parameters,
    /// Its word embeddings, where they stay on the CPU and are none of the parameters.
    pub words: Option<Arc<WordTable>>,
}

impl Model {
    /// Makes room for the parameters of `config`; all are zero. Those of a `trained` model have gradients.
    ///
    /// # Errors
    /// As [`Config::validate`] and [`Parameters::new`].
    pub fn new(gpu: &Gpu, config: Config, trained: bool) -> Result<Self> {
        Self::build(gpu, config, Division::default(), trained, None)
    }

    /// [`Model::new`] for training by an optimizer that updates alike what `division` puts together.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn trained(gpu: &Gpu, config: Config, division: Division) -> Result<Self> {
        Self::build(gpu, config, division, true, None)
    }

    /// [`Model::new`] for a model that is not trained and whose word embeddings stay in `words`, so that they take no
    /// memory of the device, however many there are.
    ///
    /// # Errors
    /// As [`Model::new`]; [`Error::Config`] where the same table is a head's output layer.
    pub fn with_words(gpu: &Gpu, config: Config, words: WordTable) -> Result<Self> {
        if config.guesses() && config.tie_word_embeddings {
            let expected = "false, for word embeddings that stay on the CPU";
            return Err(Error::config("tie_word_embeddings", expected, true));
        }
        Self::build(gpu, config, Division::default(), false, Some(Arc::new(words)))
    }

    fn build(
        gpu: &Gpu,
        config: Config,
        division: Division,
        trained: bool,
        words: Option<Arc<WordTable>>,
    ) -> Result<Self> {
        config.validate()?;
        // Queries, keys and values are one product, their biases one sum.
        let mut groups: Vec<Vec<Declaration>> = Vec::new();
        for spec in config.parameters().into_iter().filter(|spec| is_on_device(spec, &words)) {
            let joins = [".self.key.", ".self.value."].iter().any(|part| spec.name.contains(part))
                && !spec.name.ends_with(".distance_embedding.weight");
            let declaration = Declaration { name: spec.name, shape: spec.shape, role: spec.role };
            match groups.last_mut().filter(|_| joins) {
                Some(group) => group.push(declaration),
                None => groups.push(vec![declaration]),
            }
        }
        let parameters = Parameters::new(gpu, &groups, division, trained)?;
        Ok(Model { config, parameters, words })
    }

    /// Keeps the parameters as f16 too, for recordings of mixed precision.
    ///
    /// # Errors
    /// As [`Parameters::with_halves`].
    pub fn with_halves(self) -> Result<Self> {
        Ok(Model { parameters: self.parameters.with_halves()?, ..self })
    }

    /// Gives every parameter on the device its starting values.
    ///
    /// # Errors
    /// As [`Parameters::write`].
    pub fn initialize(&self, seed: u64) -> Result<()> {
        for spec in self.specs() {
            self.parameters.write(&spec.name, &initial_values(&spec, seed))?;
        }
        Ok(())
    }

    /// Gives every parameter on the device the values that `read` has for its name.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Shape`] for another number of values.
    pub fn load(&self, mut read: impl FnMut(&str) -> Result<Vec<f32>, Error>) -> Result<()> {
        for spec in self.specs() {
            self.parameters.write(&spec.name, &read(&spec.name)?)?;
        }
        Ok(())
    }

    /// The parameters on the device.
    fn specs(&self) -> impl Iterator<Item = ParameterSpec> {
        self.config.parameters().into_iter().filter(|spec| is_on_device(spec, &self.words))
    }
}

/// Whether a parameter is on the device of a model with such word embeddings.
fn is_on_device(spec: &ParameterSpec, words: &Option<Arc<WordTable>>) -> bool {
    words.is_none() || spec.name != Config::WORD_EMBEDDINGS
}
