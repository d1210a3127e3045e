//! What a model says of texts, beside what is right.

use std::fmt::Write as _;

use super::score::{dot, likely, token};
use crate::infer::{argmax, softmax};
use crate::train::objective::Targets;

/// What a model said of the texts of a set, and what is right.
#[derive(Debug)]
pub struct Answers {
    rows: Vec<Answer>,
}

#[derive(Debug)]
enum Answer {
    Class {
        predicted: usize,
        probability: f64,
        actual: u32,
    },
    /// Of a word: the number of the text, and of the word among those of which there is a token.
    Word {
        text: usize,
        word: usize,
        predicted: usize,
        probability: f64,
        actual: u32,
    },
    Labels {
        predicted: Vec<u32>,
        actual: Vec<u32>,
    },
    Number {
        predicted: f64,
        actual: f32,
    },
    Cosine {
        cosine: f64,
        actual: Option<f32>,
    },
}

impl Answers {
    /// Those of a head with so many labels.
    pub(super) fn of(outputs: Vec<Vec<f32>>, targets: &Targets, labels: usize) -> Self {
        if let Targets::Tokens(actual) = targets {
            let texts = outputs.iter().zip(actual).enumerate();
            let rows = texts.flat_map(|(text, (outputs, actual))| {
                actual.iter().enumerate().map(move |(word, &(place, actual))| {
                    let logits = token(outputs, place, labels);
                    let predicted = argmax(logits);
                    let probability = softmax(logits)[predicted];
                    Answer::Word { text, word, predicted, probability, actual }
                })
            });
            return Answers { rows: rows.collect() };
        }
        let one = |(at, output): (usize, Vec<f32>)| match targets {
            Targets::Classes(actual) => {
                let predicted = argmax(&output);
                Answer::Class { predicted, probability: softmax(&output)[predicted], actual: actual[at] }
            }
            Targets::Numbers(actual) => {
                Answer::Number { predicted: f64::from(output[0]), actual: actual[at] }
            }
            Targets::Labels(actual) => {
                let mut actual = actual[at].clone();
                actual.sort_unstable();
                Answer::Labels { predicted: likely(&output), actual }
            }
            Targets::Pairs | Targets::Tokens(_) => {
                Answer::Cosine { cosine: f64::from(output[0]), actual: None }
            }
        };
        Answers { rows: outputs.into_iter().enumerate().map(one).collect() }
    }

    /// Those of vectors.
    pub(super) fn of_pairs(texts: &[Vec<f32>], partners: &[Vec<f32>], targets: &Targets) -> Self {
        let one = |(at, (a, b)): (usize, (&Vec<f32>, &Vec<f32>))| Answer::Cosine {
            cosine: dot(a, b),
            actual: match targets {
                Targets::Numbers(actual) => Some(actual[at]),
                _ => None,
            },
        };
        Answers { rows: texts.iter().zip(partners).enumerate().map(one).collect() }
    }

    /// A table: the number of each text from 0 as in GLUE's own, what was predicted, and what is right; where words are
    /// labelled a row for each word of which there is a token, numbered from 0. Several labels of a text have `|` between
    /// them, in the model's order.
    pub fn tsv(&self, names: &[String]) -> String {
        let name =
            |class: usize| names.get(class).map_or("?", String::as_str).replace(['\t', '\n', '\r'], " ");
        let mut text = String::from(match self.rows.first() {
            Some(Answer::Class { .. }) => "index\tprediction\tlabel\tprobability\n",
            Some(Answer::Word { .. }) => "index\tword\tprediction\tlabel\tprobability\n",
            _ => "index\tprediction\tlabel\n",
        });
        for (index, row) in self.rows.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = match row {
                Answer::Class { predicted, probability, actual } => {
                    let (predicted, actual) = (name(*predicted), name(*actual as usize));
                    writeln!(text, "{index}\t{predicted}\t{actual}\t{probability:.6}")
                }
                Answer::Word { text: index, word, predicted, probability, actual } => {
                    let (predicted, actual) = (name(*predicted), name(*actual as usize));
                    writeln!(text, "{index}\t{word}\t{predicted}\t{actual}\t{probability:.6}")
                }
                Answer::Labels { predicted, actual } => {
                    let [predicted, actual] = [predicted, actual].map(|labels| {
                        labels.iter().map(|label| name(*label as usize)).collect::<Vec<_>>().join("|")
                    });
                    writeln!(text, "{index}\t{predicted}\t{actual}")
                }
                Answer::Number { predicted, actual } => writeln!(text, "{index}\t{predicted:.6}\t{actual}"),
                Answer::Cosine { cosine, actual } => {
                    let actual = actual.map(|actual| actual.to_string()).unwrap_or_default();
                    writeln!(text, "{index}\t{cosine:.6}\t{actual}")
                }
            };
        }
        text
    }
}
