//! Entities as `seqeval` counts them, and sets of labels as scikit-learn does: `tests/golden/entities.py` wrote what they are
//! compared with.

use std::collections::BTreeMap;

use serde::Deserialize;
use wgrad::train::finetune::entities::{EntityCounts, entities};
use wgrad::train::finetune::scores::label_sets;

#[derive(Deserialize)]
struct Golden {
    words: Vec<Words>,
    labels: Vec<Labels>,
}

#[derive(Deserialize)]
struct Words {
    r#true: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
    /// Those of the first text: kind, first and last word.
    entities: Vec<(String, usize, usize)>,
    precision: f64,
    recall: f64,
    f1: f64,
    /// Precision, recall and F1 of each kind that is there, and how many there are.
    kinds: BTreeMap<String, (f64, f64, f64, usize)>,
}

#[derive(Deserialize)]
struct Labels {
    predicted: Vec<Vec<u32>>,
    actual: Vec<Vec<u32>>,
    labels: usize,
    micro: f64,
    r#macro: f64,
    exact: f64,
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/entities.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
}

fn borrowed(texts: &[Vec<String>]) -> Vec<Vec<&str>> {
    texts.iter().map(|tags| tags.iter().map(String::as_str).collect()).collect()
}

#[test]
fn entities_are_those_of_seqeval() {
    let golden = golden();
    assert!(golden.words.len() > 12);
    for case in golden.words {
        let (actual, predicted) = (borrowed(&case.r#true), borrowed(&case.predicted));
        let found = entities(actual[0].iter().copied());
        let found: Vec<_> =
            found.into_iter().map(|entity| (entity.kind, entity.first, entity.last)).collect();
        assert_eq!(found, case.entities, "{actual:?}");
        let counts = EntityCounts::of(&predicted, &actual);
        let [precision, recall, f1] = counts.scores();
        close(precision, case.precision);
        close(recall, case.recall);
        close(f1, case.f1);
        for (kind, [precision, recall, f1], there) in counts.by_kind() {
            // Kinds that were only found have a row there too.
            let Some(expected) = case.kinds.get(kind) else {
                assert_eq!(case.kinds.len(), 0, "{kind}");
                continue;
            };
            close(precision, expected.0);
            close(recall, expected.1);
            close(f1, expected.2);
            assert_eq!(there, expected.3);
        }
    }
}

/// What the rules of `seqeval` give by hand: an I- without a B-, or of another kind, begins an entity.
#[test]
fn an_inside_without_a_beginning_begins_an_entity() {
    let found = entities(["I-PER", "I-PER", "O", "B-LOC", "I-ORG", "B-ORG"]);
    let found: Vec<_> =
        found.iter().map(|entity| (entity.kind.as_str(), entity.first, entity.last)).collect();
    assert_eq!(found, [("PER", 0, 1), ("LOC", 3, 3), ("ORG", 4, 4), ("ORG", 5, 5)]);
    // Of three entities two are found and right, and one more is found.
    let actual = [vec!["B-PER", "I-PER", "O"], vec!["B-LOC", "B-LOC"]];
    let predicted = [vec!["I-PER", "I-PER", "B-PER"], vec!["B-LOC", "I-LOC"]];
    let [precision, recall, f1] = EntityCounts::of(&predicted, &actual).scores();
    close(precision, 1.0 / 3.0);
    close(recall, 1.0 / 3.0);
    close(f1, 1.0 / 3.0);
}

#[test]
fn sets_of_labels_are_scored_as_by_scikit_learn() {
    for Labels { predicted, actual, labels, micro, r#macro, exact, .. } in golden().labels {
        let [found_micro, found_macro, found_exact] = label_sets(&predicted, &actual, labels);
        close(found_micro, micro);
        close(found_macro, r#macro);
        close(found_exact, exact);
    }
}
