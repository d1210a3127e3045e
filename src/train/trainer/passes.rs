//! What is recorded for a shape of batches: a pass each for learning, first and further, and for measuring.

use super::{BatchShape, Engine, Losses, Objective, Pass, Recorded};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::Recording;
use crate::nn::Dropouts;
use crate::ops::dropout::Key;
use crate::ops::reduce::{broadcast, sum_into};
use crate::tensor::DType;

impl<O: Objective> Engine<O> {
    /// Waits until the device is done with recordings that were given up.
    pub(super) fn settle(&self) -> Result<()> {
        self.gpu.wait("making room for a recording")
    }

    /// Records forward and backward of a shape, with the memory of what is recorded `beside` it, and says how many bytes it
    /// holds beyond that.
    pub(super) fn record(
        &self,
        shape: BatchShape,
        beside: Option<&Recorded<O::Buffers>>,
    ) -> Result<(Recorded<O::Buffers>, u64)> {
        let buffers = self.objective.buffers(&self.gpu, &self.model, shape)?;
        let count = if self.options.dropout > 0.0 { self.objective.dropout_keys(shape) } else { 0 };
        let keys = (0..count).map(|_| Key::new(&self.gpu)).collect::<Result<Vec<_>>>()?;
        let mut graph = Graph::training(&self.gpu).overwriting_gradients();
        if let Some(beside) = beside {
            graph.recorder().share(&beside.begin);
        }
        let before = self.gpu.allocated();
        let begin = self.pass(graph, &buffers, &keys)?;
        let bytes = self.gpu.allocated().saturating_sub(before);
        let recorded = Recorded {
            buffers,
            keys,
            begin,
            learn: None,
            measure: None,
            #[cfg(not(target_arch = "wasm32"))]
            pieces: None,
        };
        Ok((recorded, bytes))
    }

    /// What is replayed for `pass`, recorded if it is not yet.
    pub(super) fn recording<'a>(
        &self,
        recorded: &'a mut Recorded<O::Buffers>,
        pass: Pass,
    ) -> Result<&'a Recording> {
        let Recorded { buffers, keys, begin, learn, measure, .. } = recorded;
        let (place, mut graph, keys) = match pass {
            Pass::Begin => return Ok(begin),
            Pass::Learn => (learn, Graph::training(&self.gpu), &keys[..]),
            Pass::Measure => (measure, Graph::inference(&self.gpu), &[][..]),
        };
        let recording = match place.take() {
            Some(recording) => recording,
            None => {
                graph.recorder().share(begin);
                self.pass(graph, buffers, keys)?
            }
        };
        Ok(place.insert(recording))
    }

    /// Records forward, and backward if `graph` has a tape.
    fn pass(&self, graph: Graph, buffers: &O::Buffers, keys: &[Key]) -> Result<Recording> {
        let mut graph = graph.with_storage(self.options.storage);
        let graph_ref = &mut graph;
        let rate = self.options.dropout;
        let dropouts = keys
            .iter()
            .map(|key| Ok(Dropouts { hidden: rate, attention: rate, key: key.tensor(graph_ref)? }));
        let dropouts = dropouts.collect::<Result<Vec<_>>>()?;
        let Losses { loss, correct } = self.objective.record(graph_ref, &self.model, buffers, &dropouts)?;
        let answers = loss.shape().elements();
        let proof = graph_ref.input(&self.proof, [1], DType::F32)?;
        let correct = correct.iter().map(|correct| (correct, self.totals.correct()));
        for (values, total) in [(&loss, self.totals.loss())].into_iter().chain(correct) {
            let total = graph_ref.recorder().bind(&total);
            sum_into(graph_ref, values.view(), [answers, 1], total, true)?;
        }
        if loss.needs_gradient() {
            let scale = graph_ref.input(self.loss_scale.clone(), [1], DType::F32)?;
            let d_loss = broadcast(graph_ref, &scale, answers)?;
            graph_ref.backward(&loss, d_loss)?;
            self.model.parameters.clear_unwritten(graph_ref);
        }
        self.totals.arrive(graph_ref, &proof)?;
        graph.finish(&self.gpu, if loss.needs_gradient() { "training step" } else { "evaluation" })
    }
}
