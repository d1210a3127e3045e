//! How fast a device trains and embeds.

use std::sync::Arc;

use web_time::Instant;

use super::engine::StepEngine;
use super::objective::{Classes, MaskedTokens, Targets, TextBatch};
use super::options::TrainerOptions;
use super::statistics::median;
use super::trainer::Trainer;
use super::workload::Workload;
use crate::data::Batch;
use crate::data::task::Encoded;
use crate::gpu::{Gpu, Timing};
use crate::infer::{Readout, Sequence, Session};
use crate::models::{Freeze, Learning, Model, Pooling, ProblemType, WordTable};
use crate::ops::measure::{filling, settle_speed};
use crate::optim::OptimizerOptions;
use crate::tensor::DType;
use crate::{Error, Result};

/// Small, so that the weights of a measurement stay where gradients are finite.
const LEARNING_RATE: f64 = 1e-4;

/// What the recipe of finetuning drops by default.
const DROPOUT: f32 = 0.1;

/// What is done with the texts of a [`Workload`], again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A step of pretraining.
    Step,
    /// A step of finetuning on two classes, with dropout of 0.1.
    Finetune,
    /// Vectors: the mean over the tokens, of length 1.
    Embed,
}

/// What a measurement gave. Times are in seconds.
#[derive(Debug, Clone)]
pub struct Speed {
    /// The first round, with making the model, recording and compiling.
    pub first: f64,
    /// Each round after it.
    pub rounds: Vec<f64>,
    /// The least time until one of them was handed to the driver; not told of [`Work::Embed`], which reads while it submits.
    pub submit: Option<f64>,
    /// The most bytes that buffers and textures took at once.
    pub peak_bytes: u64,
    /// Each command of one more round, where that was asked for.
    pub profile: Vec<Timing>,
}

impl Speed {
    /// The median of the rounds' times.
    pub fn median(&self) -> f64 {
        median(&self.rounds).unwrap_or(f64::NAN)
    }
}

/// A text that is there already.
struct Text(Vec<u32>);

impl Sequence for Text {
    fn ids(&self) -> &[u32] {
        &self.0
    }
}

/// Something to do again and again.
enum Runner {
    Step(Box<Trainer<MaskedTokens>>, Batch),
    Finetune(Box<Trainer<Classes>>, TextBatch),
    Embed(Box<Session>, Vec<Text>),
}

impl Runner {
    fn new(gpu: &Gpu, work: Work, workload: &Workload) -> Result<Self> {
        let batch = workload.batch();
        let texts = batch.input_ids.chunks(workload.tokens).map(<[u32]>::to_vec);
        let storage = workload.precision.storage();
        let halves = |model: Model| if storage == DType::F16 { model.with_weights_f16() } else { Ok(model) };
        Ok(match work {
            Work::Step => {
                let trainer = Trainer::pretraining(gpu, workload.model.clone(), workload.options())?;
                Runner::Step(Box::new(trainer), batch)
            }
            Work::Finetune => {
                let labels = ["no", "yes"].map(String::from).to_vec();
                let problem = ProblemType::SingleLabelClassification;
                let config = workload.model.classifier(labels, problem, Pooling::Cls, true);
                let optimizer = OptimizerOptions::default();
                let (division, recompute) = (optimizer.division(), workload.recompute);
                let learning = Learning { division, freeze: Freeze::Nothing, recompute };
                let model = halves(Model::trained(gpu, config, learning)?)?;
                model.initialize(0)?;
                let options = TrainerOptions { storage, dropout: DROPOUT, optimizer, seed: 0 };
                let encoded = |ids| Encoded { ids, types: Vec::new(), truncated: 0 };
                let texts: Vec<Encoded> = texts.map(encoded).collect();
                let targets = Targets::Classes((0..2).cycle().take(texts.len()).collect());
                let batch = TextBatch { tokens: workload.tokens, texts, targets };
                Runner::Finetune(Box::new(Trainer::new(gpu, model, Classes, options)?), batch)
            }
            Work::Embed => {
                let config = workload.model.encoder();
                let width = config.hidden_size;
                // As in a model that is loaded, the table of words stays on the CPU.
                let words = WordTable::new(move |ids| {
                    let row = |&id: &u32| (0..width).map(move |c| filling(id as usize * width + c));
                    Ok(ids.iter().flat_map(row).collect())
                });
                let model = halves(Model::with_words(gpu, config, words)?)?;
                model.initialize(0)?;
                Runner::Embed(
                    Box::new(Session::new(gpu, Arc::new(model), storage)),
                    texts.map(Text).collect(),
                )
            }
        })
    }

    /// Does it once, and gives the seconds until it was handed to the driver. `round` is told in errors.
    async fn run(&mut self, round: u64) -> Result<Option<f64>> {
        let clock = Instant::now();
        let (submit, report) = match self {
            Runner::Step(trainer, batch) => {
                let step = trainer.begin_step(std::slice::from_ref(batch), LEARNING_RATE)?;
                (clock.elapsed().as_secs_f64(), trainer.finish_step(step).await?)
            }
            Runner::Finetune(trainer, batch) => {
                let step = trainer.begin_step(std::slice::from_ref(batch), LEARNING_RATE)?;
                (clock.elapsed().as_secs_f64(), trainer.finish_step(step).await?)
            }
            Runner::Embed(session, texts) => {
                let readout = Readout::Vector { pooling: Pooling::Mean.into(), normalize: true };
                session.compute(readout, texts, &mut |_| {}).await?;
                return Ok(None);
            }
        };
        if report.skipped || !report.loss.is_finite() {
            let message = format!("a loss of {} and a gradient of {}", report.loss, report.gradient_norm);
            return Err(Error::Training { step: round, message });
        }
        Ok(Some(submit))
    }

    /// Hands it to the driver once, without a look at what comes back.
    async fn submit(&mut self) -> Result<()> {
        match self {
            Runner::Step(trainer, batch) => {
                trainer.submit(std::slice::from_ref(batch), LEARNING_RATE)?;
            }
            Runner::Finetune(trainer, batch) => {
                trainer.submit(std::slice::from_ref(batch), LEARNING_RATE)?;
            }
            Runner::Embed(..) => {
                self.run(0).await?;
            }
        }
        Ok(())
    }
}

/// Does `work` for about `budget` seconds, `least` times at least, after the first time. `progress` is told the seconds of each round.
/// With `profile`, the commands of one more round are listed, each dispatch timed where the device
/// [can](Gpu::has_timestamps).
///
/// # Errors
/// As [`Trainer::pretraining`]; [`Error::Training`] when a step had no finite loss, as one of broken kernels has.
pub async fn rounds(
    gpu: &Gpu,
    work: Work,
    workload: &Workload,
    budget: f64,
    least: usize,
    profile: bool,
    mut progress: impl FnMut(f64),
) -> Result<Speed> {
    settle_speed(gpu).await?;
    let began = Instant::now();
    let mut runner = Runner::new(gpu, work, workload)?;
    let mut speed =
        Speed { first: 0.0, rounds: Vec::new(), submit: None, peak_bytes: 0, profile: Vec::new() };
    let mut round = 0;
    while speed.rounds.len() < least.max(1) || speed.rounds.iter().sum::<f64>() < budget {
        round += 1;
        let clock = Instant::now();
        let submit = runner.run(round).await?;
        if round == 1 {
            speed.first = began.elapsed().as_secs_f64();
            progress(speed.first);
        } else {
            let least = speed.submit.unwrap_or(f64::INFINITY);
            speed.submit = submit.map(|submit| submit.min(least));
            speed.rounds.push(clock.elapsed().as_secs_f64());
            progress(clock.elapsed().as_secs_f64());
        }
    }
    speed.peak_bytes = gpu.peak_allocated();
    if profile {
        match gpu.has_timestamps() {
            true => gpu.start_profile()?,
            false => gpu.start_list(),
        }
        runner.run(round + 1).await?;
        speed.profile = gpu.take_profile().await?;
    }
    Ok(speed)
}

/// The commands of one round, on a device that need not compute anything: what comes back is not looked at.
///
/// # Errors
/// As [`Trainer::pretraining`].
pub async fn commands(gpu: &Gpu, work: Work, workload: &Workload) -> Result<Vec<Timing>> {
    let mut runner = Runner::new(gpu, work, workload)?;
    // Recordings that are made at the first use do more then.
    runner.submit().await?;
    gpu.start_list();
    runner.submit().await?;
    gpu.take_profile().await
}
