//! Measures of predictions against scikit-learn and scipy: `tests/golden/scores.py` wrote what they are compared
//! with.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use serde::Deserialize;
use wgrad::train::finetune::scores::{accuracy, f1, macro_f1, matthews, pearson, spearman};

#[derive(Deserialize)]
struct Golden {
    classes: Vec<Classes>,
    numbers: Vec<Numbers>,
}

#[derive(Deserialize)]
struct Classes {
    predicted: Vec<u32>,
    actual: Vec<u32>,
    accuracy: f64,
    f1: Vec<f64>,
    macro_f1: f64,
    matthews: f64,
}

#[derive(Deserialize)]
struct Numbers {
    x: Vec<f64>,
    y: Vec<f64>,
    pearson: Option<f64>,
    spearman: Option<f64>,
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scores.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
}

#[test]
fn scores_of_classes_equal_scikit_learn() {
    let golden = golden();
    assert!(golden.classes.len() > 10);
    for Classes { predicted, actual, accuracy: share, f1: each, macro_f1: mean, matthews: correlation } in
        golden.classes
    {
        close(accuracy(&predicted, &actual), share);
        (0..).zip(each).for_each(|(class, expected)| close(f1(&predicted, &actual, class), expected));
        close(macro_f1(&predicted, &actual), mean);
        close(matthews(&predicted, &actual), correlation);
    }
}

#[test]
fn correlations_equal_scipy() {
    let golden = golden();
    assert!(golden.numbers.iter().any(|case| case.pearson.is_none()));
    for Numbers { x, y, pearson: linear, spearman: monotone } in golden.numbers {
        for (found, expected) in [(pearson(&x, &y), linear), (spearman(&x, &y), monotone)] {
            assert_eq!(found.is_some(), expected.is_some(), "{found:?} instead of {expected:?}");
            found.zip(expected).into_iter().for_each(|(found, expected)| close(found, expected));
        }
    }
}

#[test]
fn what_has_no_correlation_has_none() {
    for (x, y) in [(vec![], vec![]), (vec![1.0], vec![1.0]), (vec![1.0, f64::NAN], vec![1.0, 2.0])] {
        assert_eq!(pearson(&x, &y), None);
        assert_eq!(spearman(&x, &y), None);
    }
    assert_eq!(accuracy(&[], &[]), 0.0);
}
