//! A model on a device: its configuration and its parameters.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::config::Config;
use super::encoder::{Encoder, Hidden, Probe};
use super::heads::{Heads, MaskedHead, Targets};
use super::inputs::Inputs;
use super::learning::{Freeze, Learning};
use super::words::WordTable;
use crate::autograd::Graph;
use crate::gpu::Gpu;
use crate::nn::{Context, Dropouts, Parameter, ParameterSpec, Parameters, initial_values};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::gather_rows::gather_rows;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// A model on a device: what it computes, and its weights.
#[derive(Debug)]
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
    /// See [`Learning::recompute`].
    recompute: Range<usize>,
}

impl Model {
    /// Makes room for the parameters of `config`; all are zero. Those of a `trained` model have gradients.
    ///
    /// # Errors
    /// As [`Config::validate`] and [`Parameters::new`].
    pub fn new(gpu: &Gpu, config: Config, trained: bool) -> Result<Self> {
        Self::build(gpu, config, trained.then(Learning::default), None)
    }

    /// [`Model::new`] for training as `learning` says.
    ///
    /// # Errors
    /// As [`Model::new`]; [`Error::Config`] for more layers than there are.
    pub fn trained(gpu: &Gpu, config: Config, learning: Learning) -> Result<Self> {
        let layers = config.num_hidden_layers;
        learning.freeze.check(layers)?;
        if learning.recompute > layers {
            return Err(Error::config("recompute", format!("up to {layers} layers"), learning.recompute));
        }
        Self::build(gpu, config, Some(learning), None)
    }

    /// [`Model::new`] for a model that is not trained and whose word embeddings stay in `words`, so that they take no
    /// memory of the device, however many there are. Where the same table is the decoder of the masked-language-model
    /// head, its logits are computed on the CPU: see [`Model::decode`].
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_words(gpu: &Gpu, config: Config, words: WordTable) -> Result<Self> {
        Self::build(gpu, config, None, Some(Arc::new(words)))
    }

    fn build(
        gpu: &Gpu,
        config: Config,
        learning: Option<Learning>,
        words: Option<Arc<WordTable>>,
    ) -> Result<Self> {
        config.validate()?;
        let (declarations, encoder, heads) = config.declare();
        let elsewhere = words.as_ref().map(|_| encoder.words().table);
        let Learning { division, freeze, recompute } = learning.unwrap_or_default();
        let frozen = match freeze {
            Freeze::Nothing => None,
            Freeze::Embeddings | Freeze::Layers(_) => encoder.ends().get(freeze.layers()),
        };
        let learns =
            |parameter: Parameter| learning.is_some() && !frozen.is_some_and(|&end| parameter.is_before(end));
        let parameters = Parameters::new(gpu, &declarations, elsewhere, division, learns)?;
        let elsewhere = elsewhere.map_or(&[][..], |table| declarations.of(table));
        let specs = declarations.specs().iter().filter(|spec| !elsewhere.contains(spec)).cloned().collect();
        // Of what is not trained nothing is kept.
        let recompute = freeze.layers()..freeze.layers() + recompute;
        Ok(Model { config, parameters, words, specs, encoder, heads, recompute })
    }

    /// Keeps the parameters as f16 too, for recordings of mixed precision.
    ///
    /// # Errors
    /// As [`Parameters::with_weights_f16`].
    pub fn with_weights_f16(self) -> Result<Self> {
        Ok(Model { parameters: self.parameters.with_weights_f16()?, ..self })
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
        self.layers(graph, inputs, None, |model, graph, index, x| {
            model.encoder.layer(index, &mut model.context(graph, None), x, inputs, None)
        })
    }

    /// [`Model::encode`] with dropout, for training: layers are recomputed as [`Learning::recompute`] says.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_with(
        self: &Arc<Self>,
        graph: &mut Graph,
        inputs: &Inputs,
        dropouts: Option<&Dropouts>,
    ) -> Result<Hidden> {
        self.layers(graph, inputs, dropouts, |_, graph, index, x| {
            let (model, inputs) = (Arc::clone(self), inputs.clone());
            let (x, dropouts) = (x.clone(), dropouts.cloned());
            let layer = move |graph: &mut Graph| {
                let context = &mut model.context(graph, dropouts.as_ref());
                model.encoder.layer(index, context, &x, &inputs, None)
            };
            if self.recompute.contains(&index) { graph.recompute(layer) } else { layer(graph) }
        })
    }

    /// Records the encoder, each layer by `layer`.
    fn layers(
        &self,
        graph: &mut Graph,
        inputs: &Inputs,
        dropouts: Option<&Dropouts>,
        mut layer: impl FnMut(&Self, &mut Graph, usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Hidden> {
        let embeddings = self.encoder.embed(&mut self.context(graph, dropouts), inputs)?;
        let (mut x, mut layers) = (embeddings.clone(), Vec::new());
        for index in 0..self.config.num_hidden_layers {
            x = layer(self, graph, index, &x)?;
            layers.push(x.clone());
        }
        let last = self.encoder.finish(&mut self.context(graph, dropouts), &x)?;
        Ok(Hidden { embeddings, layers, last })
    }

    /// [`Model::encode`], with `probe` called after the attention of each layer, first to last.
    ///
    /// # Errors
    /// As [`Model::encode`], and those of `probe`.
    pub fn encode_probed(&self, graph: &mut Graph, inputs: &Inputs, probe: &mut Probe) -> Result<Hidden> {
        self.layers(graph, inputs, None, |model, graph, index, x| {
            model.encoder.layer(index, &mut model.context(graph, None), x, inputs, Some(&mut *probe))
        })
    }

    /// `[M, V']`: for each of `rows [M]` of `hidden [N, C]` the logits of all tokens. V' is the vocabulary rounded
    /// up to a multiple of 4; the columns beyond it are unspecified.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a masked-language-model head.
    pub fn masked_logits(&self, graph: &mut Graph, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        self.heads.masked()?.logits(&mut self.context(graph, None), hidden, rows)
    }

    /// Whether the masked-language-model head ends in a table that is not on the device, so that [`Model::decode`] takes
    /// the place of [`Model::masked_logits`].
    pub fn decodes_on_cpu(&self) -> bool {
        let tied = |head: &MaskedHead| head.decoder.weight == self.encoder.words().table;
        self.words.is_some() && self.heads.masked.as_ref().is_some_and(tied)
    }

    /// `[M, C]`: `rows [M]` of `hidden [N, C]` as the decoder of the masked-language-model head takes them.
    ///
    /// # Errors
    /// As [`Model::masked_logits`].
    pub fn masked_states(&self, graph: &mut Graph, hidden: &Tensor, rows: &Tensor) -> Result<Tensor> {
        self.heads.masked()?.transformed(&mut self.context(graph, None), hidden, rows)
    }

    /// The logits `[M, V]` of what [`Model::masked_states`] computed, by the table on the CPU.
    ///
    /// # Errors
    /// Those of reading the table and the device; [`Error::Config`] for a model whose table is on the device.
    pub async fn decode(&self, states: &[f32]) -> Result<Vec<Vec<f32>>> {
        let (width, vocabulary) = (self.config.embedding_width(), self.config.vocab_size);
        let table = self.words.as_ref().filter(|_| self.decodes_on_cpu());
        let table = table.ok_or_else(|| Error::config("word embeddings", "a table on the CPU", "none"))?;
        let bias = match self.heads.masked()?.decoder.bias {
            Some(bias) => self.parameters.values(bias).await?,
            None => vec![0.0; vocabulary],
        };
        // Rows of the table that are decoded at a time.
        const PART: usize = 1024;
        let ids: Vec<u32> = (0..vocabulary as u32).collect();
        let part = |ids: &[u32]| -> Result<Vec<Vec<f32>>> {
            let rows = table.rows(ids)?;
            let product = |state: &[f32], row: &[f32]| {
                state.iter().zip(row).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
            };
            let logits = |state: &[f32]| {
                let rows = rows.chunks_exact(width).zip(ids);
                rows.map(|(row, &id)| (product(state, row) + f64::from(bias[id as usize])) as f32).collect()
            };
            Ok(states.chunks_exact(width).map(logits).collect())
        };
        let parts = ids.par_chunks(PART).map(part).collect::<Result<Vec<_>>>()?;
        let whole = |state: usize| parts.iter().flat_map(|part| part[state].iter().copied()).collect();
        Ok((0..states.len() / width).map(whole).collect())
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

    /// The logits of the classes of single tokens, `[M, K']` as [`Model::classify`] has them: of `rows [M]` of `hidden
    /// [N, C]`, of which `u32::MAX` takes none, or of all.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a head that classifies.
    pub fn classify_tokens(
        &self,
        graph: &mut Graph,
        hidden: &Tensor,
        rows: Option<&Tensor>,
        dropouts: Option<&Dropouts>,
    ) -> Result<Tensor> {
        let read = rows.map(|rows| gather_rows(graph, hidden, rows)).transpose()?;
        let read = read.unwrap_or_else(|| hidden.clone());
        self.heads.classify_rows(&mut self.context(graph, dropouts), read)
    }
}
