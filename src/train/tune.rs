//! Measures which forms of kernels a device is faster with.

use super::benchmark::{Work, rounds};
use super::statistics::median;
use super::workload::Workload;
use crate::Result;
use crate::gpu::{AdapterKind, Capabilities, Choices, Gpu};
use crate::ops::attention::{Form, Heads};
use crate::ops::choices::{ALL, Choice, LONG_ATTENTION, SHORT_ATTENTION};

/// How much faster than the form that is taken by rule another one must be, each time that both were measured.
const WORTH_IT: f64 = 1.03;

/// How often both forms are measured, one after the other.
const PAIRS: usize = 2;

/// Steps that are not counted: drivers compile in the first, and the second is cut into submissions that are waited for.
const UNCOUNTED: usize = 1;

/// Steps with one form.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What was chosen.
    pub choice: Choice,
    /// The form.
    pub form: &'static str,
    /// T of the sequences.
    pub tokens: usize,
    /// The median of each time that it was measured, in seconds.
    pub seconds: [f64; PAIRS],
    /// Whether it is the one that was taken.
    pub taken: bool,
}

/// What was chosen, and by which measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// A form for all of which the device can compute more than one.
    pub choices: Choices,
    /// Both forms of each, in the order in which they were measured.
    pub trials: Vec<Trial>,
}

/// Measures whole steps of pretraining `workload` with both forms of everything that there is to choose, for about
/// `seconds` and `steps` steps at least each time, on devices that `open` opens with those choices: the times of a kernel by itself say little of
/// what it does to its neighbours. `progress` is told both forms of each choice.
///
/// # Errors
/// Those of `open`; as [`rounds`].
pub async fn tune(
    open: impl AsyncFn(&Choices) -> Result<Gpu>,
    workload: &Workload,
    (seconds, steps): (f64, usize),
    mut progress: impl FnMut(&[Trial; 2]),
) -> Result<Tuned> {
    let device = open(&Choices::default()).await?.capabilities().clone();
    let storage = workload.precision.storage();
    let mut tuned = Tuned { choices: Choices::rules(), trials: Vec::new() };
    for choice in ALL {
        let workload = match choice.tokens {
            Some(tokens) => workload.clone().with_tokens(tokens),
            None => workload.clone(),
        };
        let model = &workload.model;
        let (heads, size) = (model.num_attention_heads, model.head_size());
        let (sequences, tokens) = (workload.sequences, workload.tokens);
        let attention = choice == SHORT_ATTENTION || choice == LONG_ATTENTION;
        let heads = Heads { sequences, tokens, heads, padding: 0 };
        let taken = |form| {
            let choices = Choices::default().with(choice.name, form);
            Form::choose(&Capabilities { choices, ..device.clone() }, heads, size, storage)
        };
        let fit = choice.forms.iter().all(|form| choice.fits(form, &device, storage));
        if !fit || (attention && taken(choice.forms[0]) == taken(choice.forms[1])) {
            continue;
        }
        // What else there is to choose is the first form by rule, wherever the device can compute both.
        let fused = Form::by_rule(&device, heads, size, storage) == Form::Fused;
        let by_rule = usize::from(attention && fused);
        let mut times = [[0.0; PAIRS]; 2];
        for pair in 0..PAIRS {
            for (form, times) in choice.forms.iter().zip(&mut times) {
                let gpu = open(&tuned.choices.with(choice.name, form)).await?;
                let least = UNCOUNTED + steps;
                let speed = rounds(&gpu, Work::Step, &workload, seconds, least, false, |_| ()).await?;
                times[pair] = median(&speed.rounds[UNCOUNTED..]).unwrap_or(f64::INFINITY);
            }
        }
        let other = 1 - by_rule;
        let better = times[by_rule].iter().zip(&times[other]).all(|(rule, other)| *rule > WORTH_IT * other);
        let best = if better { other } else { by_rule };
        let trial = |at: usize| Trial {
            choice,
            form: choice.forms[at],
            tokens,
            seconds: times[at],
            taken: at == best,
        };
        let trials = [trial(0), trial(1)];
        progress(&trials);
        tuned.choices = tuned.choices.with(choice.name, choice.forms[best]);
        tuned.trials.extend(trials);
    }
    Ok(tuned)
}

/// Steps of a preset's shapes that are large enough for the device to be busy with.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when no preset has the name.
pub fn workload(preset: &str, kind: AdapterKind) -> Result<Workload> {
    let rows = match kind {
        AdapterKind::Gpu => 4096,
        // Enough to see the order of the forms in a minute.
        AdapterKind::Cpu => 512,
    };
    Workload::preset(preset, rows)
}
