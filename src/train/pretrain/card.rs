//! The model card of a run.

use super::{RunOptions, Summary};
use crate::data::Split;
use crate::files::{ModelCard, Score};
use crate::train::run::card::{adamw, named, rounded};
use crate::train::run::job::{Common, name};

/// The card of a model that was trained.
pub(super) fn card(options: &RunOptions, common: &Common, summary: &Summary) -> ModelCard {
    let scores = [
        ("loss (nats per masked token)", summary.eval_loss),
        ("accuracy (share of masked tokens)", summary.eval_accuracy),
        ("unigram entropy (nats), the loss of guessing by frequency", summary.unigram_entropy),
    ];
    let score = |(metric, value): (&str, Option<f64>)| {
        Some(Score { task: "held-out text".to_owned(), metric: metric.to_owned(), value: rounded(value?) })
    };
    let mut recipe = vec![("steps", format!("{} of {}", summary.steps, summary.total_steps))];
    recipe.push(("sequences", summary.sequences.to_string()));
    recipe.push(("tokens", summary.tokens.to_string()));
    let mut recipe = named(recipe);
    recipe.extend(settings(options));
    if summary.skipped_steps > 0 {
        recipe.push(("skipped steps".to_owned(), summary.skipped_steps.to_string()));
    }
    if !summary.device.is_empty() {
        recipe.push(("device".to_owned(), summary.device.clone()));
    }
    let state = if summary.interrupted { "unfinished pretraining run" } else { "pretraining run" };
    let from = &options.config.from;
    let origin = from.as_ref().map_or(String::new(), |name| format!(" that went on from {name}"));
    ModelCard {
        name: common.name(),
        base_model: from.clone(),
        summary: format!(
            "A BERT encoder from a {state}{origin}, to be finetuned or to fill in masked words."
        ),
        data: data(options),
        recipe,
        scores: scores.into_iter().filter_map(score).collect(),
        ..ModelCard::default()
    }
}

/// The card of a model before its first step.
pub(super) fn initial_card(options: &RunOptions) -> ModelCard {
    let from = &options.config.from;
    ModelCard {
        name: name(&options.out),
        base_model: from.clone(),
        summary: match from {
            Some(name) => format!("The weights a pretraining run starts from: those of {name}."),
            None => "The weights a pretraining run starts from: nothing is learned yet.".to_owned(),
        },
        recipe: named(vec![("seed", options.config.seed.to_string())]),
        ..ModelCard::default()
    }
}

fn data(options: &RunOptions) -> Vec<String> {
    let dataset = &options.dataset;
    let part = |split| format!("{} sequences ({} tokens)", dataset.len(split), dataset.tokens(split));
    let mut lines = options.data.clone();
    lines.push(format!(
        "{} to train on, {} held out, of at most {} tokens each",
        part(Split::Train),
        part(Split::HeldOut),
        dataset.seq_len()
    ));
    lines
}

fn settings(options: &RunOptions) -> Vec<(String, String)> {
    let config = &options.config;
    let optimizer = &config.optimizer;
    let mut rows: Vec<_> = config.from.iter().map(|name| ("started from", name.clone())).collect();
    rows.extend([
        ("learning rate", format!("{:e}", config.learning_rate)),
        ("schedule", format!("{}, {} warm-up steps", config.schedule, config.warmup_steps)),
        ("batch", format!("{} sequences, ramp {}", config.batch_sequences, config.ramp)),
    ]);
    #[cfg(not(target_arch = "wasm32"))]
    rows.extend(config.sync.map(|sync| ("local steps", sync.to_string())));
    #[cfg(not(target_arch = "wasm32"))]
    rows.extend(
        (config.blocks > 1 && !config.wire.is_f32())
            .then(|| ("gradients travel as", config.wire.to_string())),
    );
    rows.extend(optimizer.rows(adamw(optimizer).1));
    rows.extend([
        ("gradient norm clipped at", optimizer.clip.to_string()),
        (
            "masking",
            format!(
                "{}% of tokens ({}% [MASK], {}% random), {:?} objective",
                percent(config.masking.rate),
                percent(config.masking.mask),
                percent(config.masking.random),
                config.masking.objective
            )
            .to_lowercase()
            .replace("[mask]", "[MASK]"),
        ),
        ("seed", config.seed.to_string()),
    ]);
    named(rows)
}

fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 1e2
}
