//! A model on a device: its configuration and its parameters.

use std::sync::Arc;

use super::config::Config;
use super::encoder::{Encoder, Hidden, Probe};
use super::heads::{Heads, Targets};
use super::inputs::Inputs;
use super::words::WordTable;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::nn::{Context, Division, Dropouts, ParameterSpec, Parameters, initial_values};
use crate::ops::cross_entropy::CrossEntropy;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// A model on a device: what it computes, and its weights.
pub struct Model {
    /// Its shape.
    pub config: Config,
    /// Its weights on the device.
    pub parameters: Parameters,
    /// Its word embeddings, where they stay on the CPU and are none of the parameters.
    pub words: Option<Arc<WordTable>>,
    /// The parameters that are on the device.
    specs: Vec<ParameterSpec>,
    encoder: Box<dyn Encoder>,
    heads: Heads,
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
        let (declarations, encoder, heads) = config.declare();
        let elsewhere = words.as_ref().map(|_| encoder.words().table);
        let parameters = Parameters::new(gpu, &declarations, elsewhere, division, trained)?;
        let elsewhere = elsewhere.map_or(&[][..], |table| declarations.of(table));
        let specs = declarations.specs().iter().filter(|spec| !elsewhere.contains(spec)).cloned().collect();
        Ok(Model { config, parameters, words, specs, encoder, heads })
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
        for spec in &self.specs {
            self.parameters.write(&spec.name, &initial_values(spec, seed))?;
        }
        Ok(())
    }

    /// Gives every parameter on the device the values that `read` has for its name.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Shape`] for another number of values.
    pub fn load(&self, mut read: impl FnMut(&str) -> Result<Vec<f32>, Error>) -> Result<()> {
        for spec in &self.specs {
            self.parameters.write(&spec.name, &read(&spec.name)?)?;
        }
        Ok(())
    }

    fn context<'a>(&'a self, graph: &'a mut Graph, dropouts: Option<&'a Dropouts>) -> Context<'a> {
        Context { graph, parameters: &self.parameters, dropouts }
    }

    /// Records the encoder.
    ///
    /// # Errors
    /// [`Error::Shape`] when the inputs do not fit the model.
    pub fn encode(&self, graph: &mut Graph, inputs: &Inputs) -> Result<Hidden> {
        self.encode_with(graph, inputs, None)
    }

    /// [`Model::encode`] with dropout.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_with(
        &self,
        graph: &mut Graph,
        inputs: &Inputs,
        dropouts: Option<&Dropouts>,
    ) -> Result<Hidden> {
        self.encoder.forward(&mut self.context(graph, dropouts), inputs, None)
    }

    /// [`Model::encode`], with `probe` called after the attention of each layer, first to last.
    ///
    /// # Errors
    /// As [`Model::encode`], and those of `probe`.
    pub fn encode_probed(&self, graph: &mut Graph, inputs: &Inputs, probe: &mut Probe) -> Result<Hidden> {
        self.encoder.forward(&mut self.context(graph, None), inputs, Some(probe))
    }

    /// `[M, V']`: for each of `rows [M]` of `hidden [N, C]` the logits of all tokens. V' is the vocabulary rounded
    /// up to a multiple of 4; the columns beyond it are unspecified.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a masked-language-model head.
    pub fn masked_logits(&self, graph: &mut Graph, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        self.heads.masked()?.logits(&mut self.context(graph, None), hidden, rows)
    }

    /// The weighted cross entropy of each target in nats `[M]`, and whether each guess was right `[M]` (1 or 0).
    /// However many targets there are, the logits are computed in chunks that one binding holds.
    ///
    /// # Errors
    /// As [`Model::masked_logits`].
    pub fn masked_loss(&self, graph: &mut Graph, hidden: &Tensor, targets: &Targets) -> Result<CrossEntropy> {
        self.heads.masked()?.loss(&mut self.context(graph, None), hidden, targets)
    }

    /// `tanh(linear(x))` of each of `rows [B]` of `hidden [N, C]`: the first token of each sequence. The result is
    /// `[B, C]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a pooler.
    pub fn pooled(&self, graph: &mut Graph, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        self.heads.pooled(&mut self.context(graph, None), hidden, rows)
    }

    /// The logits of the classes, or the number, for each of B texts with hidden states `[B·T, C]`. x is what
    /// `config.classifier_pooling` makes of a text, of which it reads `slots`: see [`super::Pooling::slots`]. With a
    /// pooler (Devlin et al. 2018) the result is `linear(dropout(tanh(linear(x))))`, else `linear(dropout(x))`:
    /// `[B, K']` with the number of labels rounded up to a multiple of 4; the columns beyond are unspecified.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without such a head.
    pub fn classify(
        &self,
        graph: &mut Graph,
        hidden: &Tensor,
        slots: &Tensor,
        dropouts: Option<&Dropouts>,
    ) -> Result<Tensor> {
        let pooling = self.config.classifier_pooling;
        self.heads.classify(&mut self.context(graph, dropouts), pooling, hidden, slots)
    }
}
