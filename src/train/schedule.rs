//! Learning rates and batch sizes over a run: from the index of an optimizer step to what it does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Into how many equal parts the notebook's run is divided. Learning rate and batch size change between them.
const MACROBATCHES: u64 = 256;
/// The notebook's batch doubles at the start of these macrobatches.
const DOUBLINGS: [u64; 6] = [4, 8, 16, 32, 64, 128];

/// How the learning rate goes with progress t, the share of the budget that is used up, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// `(2t if t < 0.5 else 2(1-t)) · (1-t)`, constant within each of 256 macrobatches m at `t = (m + 0.5)/256`: the
    /// notebook's. The highest it gets is half of the given learning rate.
    Notebook,
    /// Full after the warm-up, then linear to 0 at the end.
    #[default]
    Linear,
    /// Full after the warm-up, then half a cosine to 0 at the end.
    Cosine,
    /// Linear from 0 to full at three quarters of the budget, then linear to 0 (Cramming's `triangle2`), taken
    /// in the middle of each step.
    Triangle2,
    /// Full after the warm-up, then linear to 0 over the last quarter of the budget, or over `decay_steps`.
    Trapezoid,
    /// Full after the warm-up. It can be prolonged, and from any of its checkpoints a trapezoid leads to 0.
    Constant,
}

/// How the batch size goes over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ramp {
    /// The same at every step.
    #[default]
    Constant,
    /// Doubled at 4, 8, 16, 32, 64 and 128 of 256 parts of the budget: the notebook's, from 32 to 2048.
    Notebook,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// Optimizer steps.
    Steps(u64),
    /// Training sequences; rounded up so that every batch is whole.
    Sequences(u64),
}

macro_rules! named {
    ($type:ident, $field:literal, $($variant:ident => $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$variant => $name),+ })
            }
        }
        impl FromStr for $type {
            type Err = Error;
            fn from_str(name: &str) -> Result<Self> {
                match name {
                    $($name => Ok($type::$variant),)+
                    _ => Err(Error::config($field, concat!("one of", $(" `", $name, "`"),+), format!("`{name}`"))),
                }
            }
        }
    };
}

named!(Schedule, "schedule", Notebook => "notebook", Linear => "linear", Cosine => "cosine",
    Triangle2 => "triangle2", Trapezoid => "trapezoid", Constant => "constant");
named!(Ramp, "ramp", Constant => "constant", Notebook => "notebook");

/// What a run's steps follow from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PlanConfig {
    /// The shape of the learning rate.
    pub schedule: Schedule,
    /// Over how many last steps a trapezoid falls; the last quarter of the budget where none is given.
    pub decay_steps: Option<u64>,
    /// The full learning rate.
    pub learning_rate: f64,
    /// Over this many first steps the learning rate is also scaled by 1/n, 2/n, … up to 1.
    pub warmup_steps: u64,
    /// Sequences per optimizer step, at the start where there is a ramp.
    pub batch_sequences: u64,
    /// How the batch size goes.
    pub ramp: Ramp,
    /// How long the run is.
    pub budget: Budget,
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Counted from 0.
    pub index: u64,
    /// How many sequences the run has seen before this step.
    pub first_sequence: u64,
    /// How many sequences this step takes.
    pub sequences: u64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The share of the run's sequences seen before this step, from 0 to less than 1.
    pub progress: f64,
}

/// A stretch of the run with one batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    first_step: u64,
    first_sequence: u64,
    batch: u64,
}

/// A whole run, laid out: every step is a function of its index.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    config: PlanConfig,
    phases: Vec<Phase>,
    /// The sequences of which the macrobatches are 256 parts.
    nominal: u64,
    steps: u64,
}

impl Plan {
    /// Lays out a run.
    ///
    /// # Errors
    /// [`Error::Config`] for a budget or batch of zero, a learning rate that is no positive number, a warm-up as
    /// long as the run, a decay that is longer or that the schedule does not have, or numbers too large to count.
    pub fn new(config: PlanConfig) -> Result<Self> {
        if !(config.learning_rate > 0.0 && config.learning_rate.is_finite()) {
            return Err(Error::config("learning_rate", "a positive number", config.learning_rate));
        }
        let batch = config.batch_sequences;
        if batch == 0 || batch > 1 << 32 {
            return Err(Error::config("batch_sequences", "1 to 4294967296", batch));
        }
        // Far from where sequences times 256, or steps times the largest batch, would overflow.
        let (field, length, limit) = match config.budget {
            Budget::Steps(steps) => ("steps", steps, (1 << 48) / (64 * batch)),
            Budget::Sequences(sequences) => ("sequences", sequences, 1 << 48),
        };
        if length == 0 || length > limit {
            return Err(Error::config(field, format!("1 to {limit}"), length));
        }
        let nominal = match (config.budget, config.ramp) {
            (Budget::Sequences(sequences), _) => sequences,
            (Budget::Steps(steps), Ramp::Constant) => steps * batch,
            // The fewest sequences that take as many steps; never more than with the largest batch throughout.
            (Budget::Steps(steps), Ramp::Notebook) => {
                let (mut low, mut high) = (1, steps * batch * 64);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if lay(config.ramp, batch, middle).1 < steps { low = middle + 1 } else { high = middle }
                }
                low
            }
        };
        let (phases, laid) = lay(config.ramp, batch, nominal);
        let steps = match config.budget {
            Budget::Steps(steps) => steps,
            Budget::Sequences(_) => laid,
        };
        if config.warmup_steps >= steps {
            let expected = format!("fewer than the run's {steps} steps");
            return Err(Error::config("warmup_steps", expected, config.warmup_steps));
        }
        if let Some(decay) = config.decay_steps {
            if config.schedule != Schedule::Trapezoid {
                let expected =
                    format!("nothing with the schedule `{}`: `trapezoid` has them", config.schedule);
                return Err(Error::config("decay_steps", expected, decay));
            }
            if decay == 0 || decay > steps {
                return Err(Error::config("decay_steps", format!("1 to {steps}, the run's steps"), decay));
            }
        }
        Ok(Self { config, phases, nominal, steps })
    }

    /// How many optimizer steps the run has.
    pub fn total_steps(&self) -> u64 {
        self.steps
    }

    /// How many sequences the run sees, repeats counted.
    pub fn total_sequences(&self) -> u64 {
        self.sequences_before(self.steps)
    }

    /// The largest batch of the run, in sequences.
    pub fn largest_batch(&self) -> u64 {
        self.batch(self.steps - 1)
    }

    /// Step `index`, counted from 0; `None` after the last.
    pub fn step(&self, index: u64) -> Option<Step> {
        (index < self.steps).then(|| {
            let first_sequence = self.sequences_before(index);
            Step {
                index,
                first_sequence,
                sequences: self.batch(index),
                learning_rate: self.config.learning_rate * self.warmup(index) * self.shape(index),
                progress: self.share(first_sequence as f64),
            }
        })
    }

    /// The steps from `index` on, in order.
    pub fn steps_from(&self, index: u64) -> impl Iterator<Item = Step> + '_ {
        (index..self.steps).filter_map(|index| self.step(index))
    }

    fn phase(&self, index: u64) -> &Phase {
        // The first phase starts at step 0, so there is always one.
        &self.phases[self.phases.partition_point(|phase| phase.first_step <= index).saturating_sub(1)]
    }

    fn batch(&self, index: u64) -> u64 {
        self.phase(index).batch
    }

    fn sequences_before(&self, index: u64) -> u64 {
        let phase = self.phase(index);
        phase.first_sequence + (index - phase.first_step) * phase.batch
    }

    fn share(&self, sequences: f64) -> f64 {
        sequences / self.total_sequences() as f64
    }

    fn warmup(&self, index: u64) -> f64 {
        if index >= self.config.warmup_steps {
            return 1.0;
        }
        (index + 1) as f64 / self.config.warmup_steps as f64
    }

    /// The schedule's factor at a step, without the warm-up.
    fn shape(&self, index: u64) -> f64 {
        let first = self.sequences_before(index);
        // Progress since the warm-up's end, from 0 to 1.
        let since = || {
            let end = self.sequences_before(self.config.warmup_steps);
            first.saturating_sub(end) as f64 / (self.total_sequences() - end) as f64
        };
        match self.config.schedule {
            Schedule::Notebook => {
                let macrobatch = (first * MACROBATCHES / self.nominal).min(MACROBATCHES - 1);
                let t = (macrobatch as f64 + 0.5) / MACROBATCHES as f64;
                2.0 * t.min(1.0 - t) * (1.0 - t)
            }
            Schedule::Linear => 1.0 - since(),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * since()).cos()),
            Schedule::Triangle2 => {
                let t = self.share(first as f64 + 0.5 * self.batch(index) as f64);
                (t / 0.75).min((1.0 - t) / 0.25)
            }
            Schedule::Trapezoid => {
                let t = self.share(first as f64 + 0.5 * self.batch(index) as f64);
                let decay = match self.config.decay_steps {
                    Some(steps) => 1.0 - self.share(self.sequences_before(self.steps - steps) as f64),
                    None => 0.25,
                };
                ((1.0 - t) / decay).min(1.0)
            }
            Schedule::Constant => 1.0,
        }
    }
}

/// The phases of a run over at least `sequences`, and its number of steps. A batch may reach past the
/// end of the part that it starts in.
fn lay(ramp: Ramp, batch: u64, sequences: u64) -> (Vec<Phase>, u64) {
    let mut phases = vec![Phase { first_step: 0, first_sequence: 0, batch }];
    let mut now = phases[0];
    let doublings: &[u64] = if ramp == Ramp::Notebook { &DOUBLINGS } else { &[] };
    for at in doublings.iter().map(|&m| m * sequences / MACROBATCHES).chain([sequences]) {
        let steps = at.saturating_sub(now.first_sequence).div_ceil(now.batch);
        now.first_step += steps;
        now.first_sequence += steps * now.batch;
        now.batch *= 2;
        phases.push(now);
    }
    // What was pushed last starts at the end of the run. A phase without steps gives way to the one after it.
    phases.pop();
    let steps = now.first_step;
    phases.retain(|phase| phase.first_step < steps);
    phases.reverse();
    phases.dedup_by_key(|phase| phase.first_step);
    phases.reverse();
    (phases, steps)
}
