//! A model on a device: its configuration and its parameters.

use super::config::Config;
use super::init::initial_values;
use crate::gpu::Gpu;
use crate::nn::{Declaration, Parameters};
use crate::{Error, Result};

/// A BERT on a device.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its weights.
    pub parameters: Parameters,
}

impl Model {
    /// Makes room for the parameters of `config`; all are zero. Those of a `trained` model have gradients.
    ///
    /// # Errors
    /// As [`Config::validate`] and [`Parameters::new`].
    pub fn new(gpu: &Gpu, config: Config, trained: bool) -> Result<Self> {
        config.validate()?;
        // Queries, keys and values are one product, their biases one sum.
        let mut groups: Vec<Vec<Declaration>> = Vec::new();
        for spec in config.parameters() {
            let joins = [".self.key.", ".self.value."].iter().any(|part| spec.name.contains(part))
                && !spec.name.ends_with(".distance_embedding.weight");
            let declaration = Declaration { name: spec.name, shape: spec.shape, decay: spec.decay };
            match groups.last_mut().filter(|_| joins) {
                Some(group) => group.push(declaration),
                None => groups.push(vec![declaration]),
            }
        }
        let parameters = Parameters::new(gpu, &groups, trained)?;
        Ok(Model { config, parameters })
    }

    /// Keeps the parameters as f16 too, for recordings of mixed precision.
    ///
    /// # Errors
    /// As [`Parameters::with_halves`].
    pub fn with_halves(self) -> Result<Self> {
        Ok(Model { parameters: self.parameters.with_halves()?, ..self })
    }

    /// Gives every parameter its starting values.
    ///
    /// # Errors
    /// As [`Parameters::write`].
    pub fn initialize(&self, seed: u64) -> Result<()> {
        for spec in self.config.parameters() {
            self.parameters.write(&spec.name, &initial_values(&spec, seed))?;
        }
        Ok(())
    }

    /// Gives every parameter the values that `read` has for its name.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Shape`] for another number of values.
    pub fn load(&self, mut read: impl FnMut(&str) -> Result<Vec<f32>, Error>) -> Result<()> {
        for spec in self.config.parameters() {
            self.parameters.write(&spec.name, &read(&spec.name)?)?;
        }
        Ok(())
    }
}
