//! The model card of a finetuned model.

use super::job::Job;
use super::recipe::Rates;
use super::run::{Best, FinetuneReport};
use crate::checkpoint::{ModelCard, Score};
use crate::data::task::{Kind, Table};

/// The card of the model of `best`.
pub(super) fn card(job: &Job<'_>, best: &Best, report: &FinetuneReport) -> ModelCard {
    let options = job.options;
    let name = std::path::absolute(&options.out).unwrap_or_else(|_| options.out.clone());
    let name = name.file_name().map_or("model".into(), |name| name.to_string_lossy());
    let base = options.model.path.file_name().map_or("a model".into(), |name| name.to_string_lossy());
    let purpose = match options.task.kind() {
        Kind::Classes => format!("to tell {} apart", job.config.labels.join(", ")),
        Kind::Number => "to give a number to texts".to_owned(),
        Kind::Vector => "to embed texts".to_owned(),
    };
    let file = |table: &Table| table.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut data =
        vec![format!("{}: {} texts or pairs to learn from", file(&options.train), job.train.len())];
    for ((set, prepared), (_, table)) in job.evals.iter().zip(&options.evals) {
        data.push(format!("{}: {} to measure on ({set})", file(table), prepared.len()));
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
        name: name.into_owned(),
        summary: format!("{base} finetuned {purpose}."),
        data,
        recipe: recipe(job, best, report),
        scores,
        ..ModelCard::default()
    }
}

fn recipe(job: &Job<'_>, best: &Best, report: &FinetuneReport) -> Vec<(String, String)> {
    let recipe = &job.options.recipe;
    let [beta1, beta2] = recipe.optimizer.betas;
    let rates = match &recipe.rates {
        Rates::Cosine { peak, warmup } => format!("{peak:e}, {}% warm-up, then a cosine", 100.0 * warmup),
        Rates::PerEpoch(rates) => {
            let rates: Vec<_> = rates.iter().map(|rate| format!("{rate:e}")).collect();
            format!("{} by epoch", rates.join(", "))
        }
    };
    let mut rows = vec![
        ("task", job.options.task.to_string()),
        ("recipe", recipe.name.to_string()),
        ("epochs", format!("{}, the best of {}", best.epoch, recipe.epochs)),
        ("batch", recipe.batch.to_string()),
        ("learning rate", rates),
        (
            "AdamW",
            format!(
                "betas {beta1} and {beta2}, eps {:e}, decay {}",
                recipe.optimizer.eps, recipe.optimizer.weight_decay
            ),
        ),
        ("dropout", recipe.dropout.to_string()),
        ("longest text", format!("{} tokens", recipe.max_length)),
        ("seed", best.seed.to_string()),
    ];
    if report.interrupted {
        rows.push(("state", "stopped before its end".to_owned()));
    }
    if report.skipped_steps > 0 {
        rows.push(("skipped steps", report.skipped_steps.to_string()));
    }
    rows.push(("device", report.device.clone()));
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// To four digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
