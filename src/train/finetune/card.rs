//! The model card of a finetuned model.

use super::FinetuneReport;
use super::best::Best;
use super::recipe::Rates;
use super::setup::Setup;
use crate::data::task::{Kind, Table};
use crate::files::{ModelCard, Score};
use crate::tensor::DType;
use crate::train::run::card::{adamw, named, rounded};
use crate::train::run::job::name;

/// The card of the model of `best`.
pub(super) fn card(setup: &Setup<'_>, best: &Best, report: &FinetuneReport) -> ModelCard {
    let options = setup.options;
    let base = options.model.path.file_name().map_or("a model".into(), |name| name.to_string_lossy());
    let purpose = match options.task.kind() {
        Kind::Classes => format!("to tell {} apart", setup.config.labels.join(", ")),
        Kind::Labels => format!("to give a text any of {}", setup.config.labels.join(", ")),
        Kind::Words => format!("to give every word one of {}", setup.config.labels.join(", ")),
        Kind::Number => "to give a number to texts".to_owned(),
        Kind::Vector => "to embed texts".to_owned(),
    };
    let file = |table: &Table| {
        let first = table.path.file_name().unwrap_or_default().to_string_lossy();
        match table.others.len() {
            0 => first.into_owned(),
            more => format!("{first} and {more} more"),
        }
    };
    let mut data =
        vec![format!("{}: {} texts or pairs to learn from", file(&options.train), setup.train.count())];
    for ((set, prepared), (_, table)) in setup.evals.iter().zip(&options.evals) {
        data.push(format!("{}: {} to measure on ({set})", file(table), prepared.count()));
    }
    let scores = best.measured.iter().flat_map(|(set, measured)| {
        let loss = measured.loss.map(|loss| ("loss", loss));
        let scores = measured.scores.iter().filter_map(|(metric, value)| Some((metric.name(), (*value)?)));
        let task = format!("{} ({set})", options.task);
        scores.chain(loss).map(move |(metric, value)| Score {
            task: task.clone(),
            metric: metric.to_owned(),
            value: rounded(value),
        })
    });
    let mut scores: Vec<Score> = scores.collect();
    if report.seeds.len() > 1 {
        let seeds = report.seeds.len();
        scores.extend(report.median.iter().filter_map(|(set, metric, value)| {
            let (task, metric) =
                (format!("{} ({set})", options.task), format!("{metric}, median of {seeds} seeds"));
            Some(Score { task, metric, value: rounded((*value)?) })
        }));
    }
    ModelCard {
        name: name(&options.out),
        summary: format!("{base} finetuned {purpose}."),
        data,
        recipe: recipe(setup, best, report),
        scores,
        ..ModelCard::default()
    }
}

fn recipe(setup: &Setup<'_>, best: &Best, report: &FinetuneReport) -> Vec<(String, String)> {
    let recipe = &setup.options.recipe;
    let rates = match &recipe.rates {
        Rates::Cosine { peak, warmup } => format!("{peak:e}, {}% warm-up, then a cosine", 100.0 * warmup),
        Rates::PerEpoch(rates) => {
            let rates: Vec<_> = rates.iter().map(|rate| format!("{rate:e}")).collect();
            format!("{} by epoch", rates.join(", "))
        }
    };
    let mut rows = vec![
        ("task", setup.options.task.to_string()),
        ("recipe", recipe.name.to_string()),
        ("epochs", format!("{}, the best of {}", best.epoch, recipe.epochs)),
        ("batch", recipe.batch.to_string()),
        ("learning rate", rates),
    ];
    rows.extend(recipe.optimizer.rows(adamw(&recipe.optimizer).1));
    rows.extend(setup.class_weights().map(|weights| ("class weights", weights)));
    rows.extend([
        ("dropout", recipe.dropout.to_string()),
        ("longest text", format!("{} tokens", recipe.max_length)),
        ("seed", best.seed.to_string()),
    ]);
    let negatives = setup.train.negatives.len();
    if negatives > 0 {
        rows.push(("hard negatives", format!("{negatives} for each pair, beside those in the batch")));
    }
    if report.interrupted {
        rows.push(("state", "stopped before its end".to_owned()));
    }
    if report.skipped_steps > 0 {
        rows.push(("skipped steps", report.skipped_steps.to_string()));
    }
    if recipe.blocks > 1 && !recipe.wire.is_f32() {
        rows.push(("gradients travel as", recipe.wire.to_string()));
    }
    if setup.options.storage == DType::F16 {
        rows.push(("precision", "mixed: activations as f16".to_owned()));
    }
    rows.push(("device", report.device.clone()));
    named(rows)
}
