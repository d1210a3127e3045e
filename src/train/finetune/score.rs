//! From a model's outputs to answers, loss and scores. Knows no GPU.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::entities::EntityCounts;
use super::scores::{self, Metric};
use crate::data::task::Task;
use crate::infer::{argmax, softmax};
use crate::train::metrics::Row;
use crate::train::objective::Targets;

/// How good answers are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Scores {
    /// Mean cross entropy in nats, or mean squared error; none in contrastive training.
    pub loss: Option<f64>,
    /// The task's measures, the one that decides first; none where one is undefined.
    pub scores: Vec<(Metric, Option<f64>)>,
}

impl Scores {
    /// The measure that decides; an undefined one is worse than any other.
    pub fn main(&self) -> f64 {
        self.scores.first().and_then(|(_, value)| *value).unwrap_or(f64::NEG_INFINITY)
    }

    /// Enters it into a row of the metrics.
    pub(super) fn enter(&self, row: &mut Row) {
        row.eval_loss = self.loss;
        for (metric, value) in &self.scores {
            let place = match metric {
                Metric::Accuracy => &mut row.eval_accuracy,
                Metric::F1 => &mut row.f1,
                Metric::Matthews => &mut row.matthews,
                Metric::Pearson => &mut row.pearson,
                Metric::Spearman => &mut row.spearman,
                Metric::Recall => &mut row.recall,
                // The table of a run keeps the columns it has always had.
                Metric::MicroF1 => &mut row.f1,
                Metric::ExactMatch => &mut row.eval_accuracy,
                Metric::Precision | Metric::MacroF1 => continue,
            };
            *place = *value;
        }
    }
}

/// The measures of a task, the one that decides first.
pub(super) fn metrics(task: Task) -> &'static [Metric] {
    match task {
        Task::Cola => &[Metric::Matthews, Metric::Accuracy],
        Task::Mrpc | Task::Qqp => &[Metric::F1, Metric::Accuracy],
        Task::Sst2 | Task::Mnli | Task::Qnli | Task::Rte | Task::Wnli => &[Metric::Accuracy],
        Task::Stsb | Task::Regress => &[Metric::Pearson, Metric::Spearman],
        Task::Classify => &[Metric::Accuracy, Metric::F1, Metric::Matthews],
        Task::MultiLabel => &[Metric::MicroF1, Metric::MacroF1, Metric::ExactMatch],
        Task::Tokens => &[Metric::F1, Metric::Precision, Metric::Recall, Metric::Accuracy],
        Task::Contrastive => &[Metric::Recall],
    }
}

/// Measures `outputs`, the logits of the classes of each text or of each of its tokens, or its number; `names` are those of
/// the classes.
///
/// F1 is that of class 1 where the model has two classes, else the mean over classes; of tokens that of entities.
pub(super) fn score(task: Task, outputs: &[Vec<f32>], targets: &Targets, names: &[String]) -> Scores {
    match targets {
        Targets::Classes(actual) => {
            let predicted: Vec<u32> = outputs.iter().map(|logits| argmax(logits) as u32).collect();
            let two = outputs.first().is_some_and(|logits| logits.len() == 2);
            let score = |metric: &Metric| match metric {
                Metric::F1 if two => scores::f1(&predicted, actual, 1),
                Metric::F1 => scores::macro_f1(&predicted, actual),
                Metric::Matthews => scores::matthews(&predicted, actual),
                _ => scores::accuracy(&predicted, actual),
            };
            let loss = |(logits, &class): (&Vec<f32>, &u32)| cross_entropy(logits, class);
            Scores {
                loss: Some(mean(outputs.iter().zip(actual).map(loss))),
                scores: metrics(task).iter().map(|metric| (*metric, Some(score(metric)))).collect(),
            }
        }
        Targets::Numbers(actual) => {
            let predicted: Vec<f64> = outputs.iter().map(|output| f64::from(output[0])).collect();
            let errors = predicted.iter().zip(actual).map(|(p, a)| (p - f64::from(*a)).powi(2));
            Scores { loss: Some(mean(errors)), scores: correlations(&predicted, actual) }
        }
        Targets::Labels(actual) => {
            let predicted: Vec<Vec<u32>> = outputs.iter().map(|logits| likely(logits)).collect();
            let loss = |(logits, actual): (&Vec<f32>, &Vec<u32>)| binary_cross_entropy(logits, actual);
            let [micro, macro_f1, exact] = scores::label_sets(&predicted, actual, names.len());
            let scores = [(Metric::MicroF1, micro), (Metric::MacroF1, macro_f1), (Metric::ExactMatch, exact)];
            Scores {
                loss: Some(mean(outputs.iter().zip(actual).map(loss))),
                scores: scores.map(|(metric, value)| (metric, Some(value))).to_vec(),
            }
        }
        Targets::Tokens(actual) => score_tokens(outputs, actual, names),
        Targets::Pairs => Scores::default(),
    }
}

/// Measures the logits of every token of each text against the places and classes of those that are labelled.
fn score_tokens(outputs: &[Vec<f32>], actual: &[Vec<(u32, u32)>], names: &[String]) -> Scores {
    let (mut losses, mut right) = (Vec::new(), 0);
    let [mut predicted, mut expected]: [Vec<Vec<&str>>; 2] = Default::default();
    let name = |class: u32| names.get(class as usize).map_or("O", String::as_str);
    for (logits, labels) in outputs.iter().zip(actual) {
        let [mut given, mut there]: [Vec<&str>; 2] = Default::default();
        for &(place, class) in labels {
            let logits = token(logits, place, names.len());
            let guess = argmax(logits) as u32;
            losses.push(cross_entropy(logits, class));
            right += usize::from(guess == class);
            given.push(name(guess));
            there.push(name(class));
        }
        predicted.push(given);
        expected.push(there);
    }
    let accuracy = (Metric::Accuracy, Some(right as f64 / losses.len().max(1) as f64));
    let loss = Some(mean(losses.into_iter()));
    if !tells_entities(names) {
        // The first score chooses the best epoch: it must be one that there is.
        return Scores { loss, scores: vec![accuracy] };
    }
    let [precision, recall, f1] = EntityCounts::of(&predicted, &expected).scores().map(Some);
    let entities = [(Metric::F1, f1), (Metric::Precision, precision), (Metric::Recall, recall)];
    Scores { loss, scores: entities.into_iter().chain([accuracy]).collect() }
}

/// Whether tags say where entities are: by a letter before a hyphen, as `B-PER` does.
pub(super) fn tells_entities(names: &[String]) -> bool {
    names.iter().any(|name| matches!(name.split_once('-'), Some(("B" | "I" | "E" | "S", _))))
}

/// The logits of one token among those of a text, which has `labels` to a token.
pub(super) fn token(logits: &[f32], place: u32, labels: usize) -> &[f32] {
    &logits[place as usize * labels..][..labels]
}

/// The labels that are rather there than not.
pub(super) fn likely(logits: &[f32]) -> Vec<u32> {
    (0..).zip(logits).filter(|(_, logit)| **logit >= 0.0).map(|(label, _)| label).collect()
}

/// In nats.
fn cross_entropy(logits: &[f32], class: u32) -> f64 {
    -softmax(logits)[class as usize].max(1e-300).ln()
}

/// The mean over the labels, in nats.
fn binary_cross_entropy(logits: &[f32], actual: &[u32]) -> f64 {
    let one = |(label, logit): (u32, &f32)| {
        let logit = f64::from(*logit);
        let there = if actual.contains(&label) { logit } else { 0.0 };
        logit.max(0.0) + (-logit.abs()).exp().ln_1p() - there
    };
    (0..).zip(logits).map(one).sum::<f64>() / logits.len().max(1) as f64
}

/// Measures vectors of length 1 of texts and their partners: against how alike they are where that is known, else by
/// how many texts have their own partner as the nearest of all.
pub(super) fn score_pairs(texts: &[Vec<f32>], partners: &[Vec<f32>], targets: &Targets) -> Scores {
    if let Targets::Numbers(actual) = targets {
        let cosines: Vec<f64> = texts.iter().zip(partners).map(|(a, b)| dot(a, b)).collect();
        let mut scores = correlations(&cosines, actual);
        // That embeddings are judged by is the order.
        scores.reverse();
        return Scores { loss: None, scores };
    }
    let nearest = |(i, text): (usize, &Vec<f32>)| {
        let own = dot(text, &partners[i]);
        partners.iter().enumerate().all(|(j, other)| j == i || dot(text, other) < own)
    };
    let found = texts.par_iter().enumerate().filter(|(i, text)| nearest((*i, text))).count();
    let share = found as f64 / texts.len().max(1) as f64;
    Scores { loss: None, scores: vec![(Metric::Recall, Some(share))] }
}

/// The cosine of vectors of length 1.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

fn correlations(predicted: &[f64], actual: &[f32]) -> Vec<(Metric, Option<f64>)> {
    let actual: Vec<f64> = actual.iter().map(|a| f64::from(*a)).collect();
    vec![
        (Metric::Pearson, scores::pearson(predicted, &actual)),
        (Metric::Spearman, scores::spearman(predicted, &actual)),
    ]
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_measured_by_what_the_task_asks_for() {
        let outputs = [vec![2.0, 1.0], vec![0.0, 0.0], vec![-1.0, 1.0], vec![0.0, 3.0]];
        let targets = Targets::Classes(vec![0, 1, 1, 0]);
        let measured = score(Task::Mrpc, &outputs, &targets, &[]);
        // Predicted 0, 0 (the first of equals), 1, 1.
        assert_eq!(measured.scores, [(Metric::F1, Some(0.5)), (Metric::Accuracy, Some(0.5))]);
        let expected =
            (1.0 + (-1f64).exp()).ln() + 2f64.ln() + (1.0 + (-2f64).exp()).ln() + (1.0 + 3f64.exp()).ln();
        assert!((measured.loss.unwrap() - expected / 4.0).abs() < 1e-6);
        assert_eq!(score(Task::Cola, &outputs, &targets, &[]).main(), 0.0);
    }

    /// The best epoch is chosen by the first score, which must not be the same in all of them.
    #[test]
    fn tags_that_tell_no_entities_are_measured_by_words() {
        let (outputs, targets) = ([vec![2.0, 1.0, 0.0, 3.0]], Targets::Tokens(vec![vec![(0, 0), (1, 0)]]));
        let scores = |names: [&str; 2]| {
            let names = names.map(str::to_owned);
            score(Task::Tokens, &outputs, &targets, &names).scores
        };
        assert_eq!(scores(["0", "1"]), [(Metric::Accuracy, Some(0.5))]);
        assert_eq!(scores(["PER", "O"]).len(), 1);
        let entities = scores(["B-PER", "O"]);
        assert_eq!((entities[0].0, entities.len()), (Metric::F1, 4));
    }

    #[test]
    fn an_undefined_measure_is_worse_than_any() {
        let measured = score(Task::Stsb, &[vec![1.0], vec![1.0]], &Targets::Numbers(vec![0.0, 5.0]), &[]);
        assert_eq!(measured.scores, [(Metric::Pearson, None), (Metric::Spearman, None)]);
        assert_eq!(measured.main(), f64::NEG_INFINITY);
        assert_eq!(measured.loss, Some(8.5));
    }

    #[test]
    fn partners_are_found_by_their_vectors() {
        let texts = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]];
        let partners = [vec![0.8, 0.6], vec![0.0, 1.0], vec![1.0, 0.0]];
        let measured = score_pairs(&texts, &partners, &Targets::Pairs);
        assert_eq!(measured.scores, [(Metric::Recall, Some(1.0 / 3.0))]);
        let alike = score_pairs(&texts, &partners, &Targets::Numbers(vec![4.0, 5.0, 1.0]));
        let (metric, score) = alike.scores[0];
        assert_eq!(metric, Metric::Spearman);
        assert!(score.is_some_and(|score| (score - 1.0).abs() < 1e-12), "{score:?}");
    }
}
