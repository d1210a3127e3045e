//! What predictions are worth: GLUE's measures, from plain arrays. Knows no GPU.

use serde::{Deserialize, Serialize};

/// A measure of predictions; higher is better for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of right answers.
    Accuracy,
    /// F1 of class 1 where there are two classes, else the mean of the F1 of every class; or that of entities.
    F1,
    /// Matthews's correlation of predicted and true classes.
    Matthews,
    /// Pearson's correlation of predicted and true numbers.
    Pearson,
    /// Spearman's: Pearson's of their ranks.
    Spearman,
    /// The share of texts whose own partner is the nearest of all partners; of entities the share that was found.
    Recall,
    /// The share of the entities that were found which are right.
    Precision,
    /// F1 over the labels of all texts, where a text may have several.
    MicroF1,
    /// The mean of the F1 of every label.
    MacroF1,
    /// The share of texts whose labels are all right, and none too many.
    ExactMatch,
}

impl Metric {
    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::F1 => "f1",
            Metric::Matthews => "matthews",
            Metric::Pearson => "pearson",
            Metric::Spearman => "spearman",
            Metric::Recall => "recall",
            Metric::Precision => "precision",
            Metric::MicroF1 => "micro_f1",
            Metric::MacroF1 => "macro_f1",
            Metric::ExactMatch => "exact_match",
        }
    }
}

/// The share of equal pairs; 0 for none at all.
pub fn accuracy(predicted: &[u32], actual: &[u32]) -> f64 {
    let right = predicted.iter().zip(actual).filter(|(p, a)| p == a).count();
    right as f64 / actual.len().max(1) as f64
}

/// `2 tp / (2 tp + fp + fn)` of one class; 0 where that is 0/0, as in scikit-learn.
pub fn f1(predicted: &[u32], actual: &[u32], class: u32) -> f64 {
    let both = predicted.iter().zip(actual).filter(|(p, a)| **p == class && **a == class).count();
    let named = |list: &[u32]| list.iter().filter(|&&c| c == class).count();
    let all = named(predicted) + named(actual);
    if all == 0 { 0.0 } else { 2.0 * both as f64 / all as f64 }
}

/// The mean of the F1 of all classes that were predicted or are right.
pub fn macro_f1(predicted: &[u32], actual: &[u32]) -> f64 {
    let mut classes: Vec<u32> = predicted.iter().chain(actual).copied().collect();
    classes.sort_unstable();
    classes.dedup();
    let sum: f64 = classes.iter().map(|&class| f1(predicted, actual, class)).sum();
    sum / classes.len().max(1) as f64
}

/// `[micro, macro, exact]` of the labels that texts were given and have, of `labels` in all: F1 over all of them, the mean of
/// the F1 of each (0 where that is 0/0), and the share of texts of which all are right. The labels of a text are distinct.
pub fn label_sets(predicted: &[Vec<u32>], actual: &[Vec<u32>], labels: usize) -> [f64; 3] {
    // Of each label: how often it was given rightly, and how often it was given or is there.
    let mut counts = vec![[0u64; 2]; labels];
    let mut exact = 0;
    for (predicted, actual) in predicted.iter().zip(actual) {
        let right = predicted.iter().filter(|label| actual.contains(label)).count();
        exact += usize::from(right == predicted.len() && right == actual.len());
        for label in predicted {
            counts[*label as usize][0] += u64::from(actual.contains(label));
        }
        predicted.iter().chain(actual).for_each(|label| counts[*label as usize][1] += 1);
    }
    let f1 = |[both, all]: [u64; 2]| if all == 0 { 0.0 } else { 2.0 * both as f64 / all as f64 };
    let sums = counts.iter().fold([0; 2], |[a, b], [both, all]| [a + both, b + all]);
    let mean = counts.iter().map(|count| f1(*count)).sum::<f64>() / labels.max(1) as f64;
    [f1(sums), mean, exact as f64 / actual.len().max(1) as f64]
}

/// Matthews's correlation for any number of classes (Gorodkin 2004); 0 where one side has one class only.
pub fn matthews(predicted: &[u32], actual: &[u32]) -> f64 {
    let classes = predicted.iter().chain(actual).max().map_or(0, |&class| class as usize + 1);
    let (mut in_predicted, mut in_actual) = (vec![0f64; classes], vec![0f64; classes]);
    predicted.iter().for_each(|&class| in_predicted[class as usize] += 1.0);
    actual.iter().for_each(|&class| in_actual[class as usize] += 1.0);
    let right = predicted.iter().zip(actual).filter(|(p, a)| p == a).count() as f64;
    let count = actual.len() as f64;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let covariance = right * count - dot(&in_predicted, &in_actual);
    let spread = |side: &[f64]| count * count - dot(side, side);
    let product = spread(&in_predicted) * spread(&in_actual);
    if product == 0.0 { 0.0 } else { covariance / product.sqrt() }
}

/// Pearson's correlation; none where a side is constant, has fewer than two numbers or one that is not finite.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let count = x.len().min(y.len());
    if count < 2 || x.iter().chain(y).any(|v| !v.is_finite()) {
        return None;
    }
    let centred = |side: &[f64]| {
        let mean = side.iter().sum::<f64>() / count as f64;
        side.iter().map(|v| v - mean).collect::<Vec<f64>>()
    };
    let constant = |side: &[f64]| side.iter().all(|v| *v == side[0]);
    if constant(x) || constant(y) {
        return None;
    }
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let correlation = dot(&x, &y) / (dot(&x, &x).sqrt() * dot(&y, &y).sqrt());
    // Rounding may lead past the ends.
    correlation.is_finite().then(|| correlation.clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, equal numbers sharing the mean of theirs.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return None;
    }
    pearson(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count();
        let rank = start as f64 + (same + 1) as f64 / 2.0;
        order[start..start + same].iter().for_each(|&i| ranks[i] = rank);
        start += same;
    }
    ranks
}
