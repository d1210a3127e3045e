//! What a finetuning run takes, before it begins.

use super::FinetuneOptions;
use super::setup::Setup;
use crate::Result;
use crate::data::task::batches;
use crate::gpu::Gpu;
use crate::ops::measure::settle_speed;
use crate::train::estimate::{Estimate, Run};
use crate::train::fit::{Fit, search};
use crate::train::options::Memory;

/// The largest of `sizes`, which fall, as the micro-batch with which the run fits the memory of `gpu` and the budget it was
/// opened with: as [`crate::train::fit::largest`], for the longest texts that the run has.
///
/// # Errors
/// As [`crate::train::fit::largest`]; those of settings and texts.
pub fn largest(gpu: &Gpu, options: &FinetuneOptions, sizes: &[u64], recomputed: bool) -> Result<Fit> {
    let setup = Setup::new(options)?;
    let layers = setup.fit().layers(setup.config.num_hidden_layers, recomputed);
    search(sizes, layers, |fit| plan(gpu, &setup, fit))
}

/// What the run takes on the device and how long it lasts. Everything is planned, and allocated for a moment, as in the run;
/// then its largest batch is learned from for about `budget` seconds, two steps at least, by a model with first values.
///
/// # Errors
/// As [`largest`]; [`crate::Error::Training`] when a step had no finite loss.
pub async fn estimate(gpu: &Gpu, options: &FinetuneOptions, budget: f64) -> Result<Estimate> {
    let setup = Setup::new(options)?;
    settle_speed(gpu).await?;
    let (fit, recipe) = (setup.fit(), &options.recipe);
    let memory = plan(gpu, &setup, fit)?;
    // Every epoch pads its texts about alike.
    let (mut tokens, mut computed) = (0, 0);
    for chosen in batches(&setup.train.lengths(), recipe.batch, options.seeds[0], 0) {
        for batch in setup.micro_batches(&chosen) {
            tokens += batch.texts.iter().map(|text| text.ids.len()).sum::<usize>();
            computed += batch.tokens * batch.texts.len();
        }
    }
    let batch = setup.largest(fit);
    let count = setup.part(fit).min(setup.train.count());
    let at_once = count.div_ceil(fit.micro_batch as usize) as f64;
    let epochs = recipe.epochs * options.seeds.len() as u64;
    let like_it = computed as f64 / (batch.tokens * batch.texts.len()) as f64;
    let run = Run {
        parameters: setup.config.parameter_count(),
        micro_batch: fit.micro_batch.min(count as u64),
        at_once,
        micro_batches: epochs as f64 * like_it * at_once,
        flops_per_token: setup.config.body_flops(batch.tokens),
        steps: epochs * setup.steps_per_epoch(),
        sequences: epochs * setup.train.count() as u64,
        tokens: epochs as f64 * tokens as f64,
        learning_rate: recipe.rates.at(0, epochs * setup.steps_per_epoch(), 0),
    };
    let mut trainer = setup.untrained(gpu, fit)?;
    trainer.trainer().model().initialize(options.seeds[0])?;
    run.measure(&mut trainer, memory, &[batch], budget).await
}

/// What the run takes on the device at most, and that it can be had: learning from its largest batch, or measuring, for which
/// the recordings of learning give way.
fn plan(gpu: &Gpu, setup: &Setup<'_>, fit: Fit) -> Result<Memory> {
    let mut engine = setup.untrained(gpu, fit)?;
    let learning = engine.trainer().planned()?;
    engine.trainer_mut().give_up_recordings()?;
    let idle = engine.trainer().memory().transient;
    let measuring = setup.try_measuring(gpu, &engine.trainer().shared_model())?;
    let more = (idle + measuring).saturating_sub(learning.transient);
    Ok(Memory { transient: learning.transient + more, total: learning.total + more, ..learning })
}
