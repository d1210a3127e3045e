//! How good the model of a trainer or of a folder is.

use std::sync::Arc;

use super::answers::Answers;
use super::prepare::Prepared;
use super::score::{Scores, score, score_pairs};
use super::setup::Setup;
use crate::Result;
use crate::data::task::{Kind, Task};
use crate::gpu::Gpu;
use crate::infer::{Readout, Session};
use crate::models::{Model, Pooling};
use crate::tensor::DType;
use crate::train::run::Event;
use crate::train::run::job::Progress;

/// The scores of each set by its name, and the predictions of each as a table.
pub(super) type Measured = (Vec<(String, Scores)>, Vec<String>);

impl Setup<'_> {
    /// Measures a model on every set. What that takes on the device is given back before the next step, which may need it.
    pub(super) async fn measure(
        &self,
        gpu: &Gpu,
        model: Arc<Model>,
        progress: Progress<'_>,
    ) -> Result<Measured> {
        let mut session = Session::new(gpu, model, DType::F32);
        let (mut measured, mut predictions) = (Vec::new(), Vec::new());
        for (name, set) in &self.evals {
            let total = set.count();
            let mut tell = |done| progress(Event::Measuring { done, total });
            let measured_as = (self.options.task, self.pooling);
            let (result, answers) = score_set(measured_as, &mut session, set, &mut tell).await?;
            measured.push((name.clone(), result));
            predictions.push(answers.tsv(&self.config.labels));
        }
        Ok((measured, predictions))
    }

    /// Bytes that measuring takes on the device beside the model, at the least, and that they can be had.
    pub(super) fn try_measuring(&self, gpu: &Gpu, model: &Arc<Model>) -> Result<u64> {
        let readout = readout(self.options.task, self.pooling);
        let mut most = 0;
        for texts in self.evals.iter().flat_map(|(_, set)| [&set.texts, &set.partners]) {
            let before = gpu.allocated();
            let mut session = Session::new(gpu, Arc::clone(model), DType::F32);
            session.prepare(readout, texts)?;
            most = most.max(gpu.allocated().saturating_sub(before));
        }
        Ok(most)
    }
}

/// What is read of each text of a task.
fn readout(task: Task, pooling: Pooling) -> Readout {
    match task.kind() {
        Kind::Vector => Readout::Vector { pooling: pooling.into(), normalize: true },
        Kind::Classes | Kind::Labels | Kind::Number => Readout::Head,
        Kind::Words => Readout::TokenClasses,
    }
}

/// What the model of `session` says of a set of `task`, and how good that is.
pub(super) async fn score_set(
    (task, pooling): (Task, Pooling),
    session: &mut Session,
    set: &Prepared,
    progress: &mut dyn FnMut(usize),
) -> Result<(Scores, Answers)> {
    let readout = readout(task, pooling);
    let texts = session.compute(readout, &set.texts, progress).await?;
    if task.kind() != Kind::Vector {
        let labels = &session.model().config.labels;
        let measured = score(task, &texts, &set.targets, labels);
        return Ok((measured, Answers::of(texts, &set.targets, labels.len())));
    }
    let partners = session.compute(readout, &set.partners, progress).await?;
    let measured = score_pairs(&texts, &partners, &set.targets);
    Ok((measured, Answers::of_pairs(&texts, &partners, &set.targets)))
}
