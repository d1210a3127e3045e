//! From labelled texts to what a trainer takes.

use rayon::prelude::*;

use crate::data::task::{self, Encoded, Kind, Labels, Table, Task, encode, encode_all, encode_words, padded};
use crate::text::{Template, Tokenizer};
use crate::train::objective::{Targets, TextBatch};
use crate::{Error, Result};

/// Labelled texts as a model sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The texts, or the first of each pair in contrastive training.
    pub texts: Vec<Encoded>,
    /// The partners in contrastive training; empty where a text is its own.
    pub partners: Vec<Encoded>,
    /// The hard negatives in contrastive training, of each column one for every text.
    pub negatives: Vec<Vec<Encoded>>,
    /// What the texts are labelled with; of contrastive training how alike the partners are, where that is known.
    pub targets: Targets,
    /// The lines of the file that the texts are from.
    pub lines: Vec<u64>,
    /// How many texts or pairs were truncated.
    pub truncated: usize,
    /// How many were left out because they were too long.
    pub left_out: usize,
}

/// How texts are truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// What stands around texts.
    pub template: Template,
    /// Tokens at most.
    pub longest: usize,
    /// Whether longer ones are left out instead of truncated.
    pub drop_long: bool,
}

impl Prepared {
    /// Tokenizes a table and reads its labels.
    ///
    /// # Errors
    /// [`Error::Line`] for a label that does not fit; [`Error::File`] when nothing is left; those of the tokenizer.
    pub fn new(
        task: Task,
        tokenizer: &Tokenizer,
        table: &Table,
        labels: &Labels,
        truncation: &Truncation,
    ) -> Result<Self> {
        let Truncation { template, longest, drop_long } = truncation;
        let (longest, drop_long) = (*longest, *drop_long);
        let targets = match task.kind() {
            Kind::Classes => Targets::Classes(labels.numbers(table)?),
            Kind::Labels => Targets::Labels(labels.lists(table)?),
            // Where the words are, their tokens say.
            Kind::Words => Targets::Tokens(Vec::new()),
            Kind::Number => Targets::Numbers(task::scores(table)?),
            Kind::Vector if table.examples.iter().all(|example| example.label.is_some()) => {
                Targets::Numbers(task::scores(table)?)
            }
            Kind::Vector => Targets::Pairs,
        };
        let (texts, partners, targets) = if task.kind() == Kind::Words {
            let (texts, targets) = tagged(tokenizer, table, labels, truncation)?;
            (texts, Vec::new(), targets)
        } else if task.kind() == Kind::Vector {
            let alone = |text: Option<&String>| task::Example {
                line: 0,
                file: 0,
                text: text.cloned().unwrap_or_default(),
                pair: None,
                label: None,
            };
            let first: Vec<_> = table.examples.iter().map(|example| alone(Some(&example.text))).collect();
            let second: Vec<_> = table.examples.iter().map(|example| alone(example.pair.as_ref())).collect();
            let paired = table.examples.iter().any(|example| example.pair.is_some());
            let partners =
                if paired { encode_all(tokenizer, template, &second, longest)? } else { Vec::new() };
            (encode_all(tokenizer, template, &first, longest)?, partners, targets)
        } else {
            (encode_all(tokenizer, template, &table.examples, longest)?, Vec::new(), targets)
        };
        let negatives = table.negatives.iter().map(|column| {
            let one = |text: &String| encode(tokenizer, template, text, None, longest);
            column.par_iter().map(one).collect::<Result<Vec<_>>>()
        });
        let negatives = negatives.collect::<Result<Vec<_>>>()?;
        let long = |i: usize| {
            let others = negatives.iter().chain([&partners]).filter_map(|list| list.get(i));
            others.chain([&texts[i]]).any(|text| text.truncated > 0)
        };
        let truncated = (0..texts.len()).filter(|&i| long(i)).count();
        let all = Prepared {
            lines: table.examples.iter().map(|example| example.line).collect(),
            truncated,
            left_out: 0,
            targets,
            partners: Vec::new(),
            negatives: Vec::new(),
            texts: Vec::new(),
        };
        if !drop_long || truncated == 0 {
            return Ok(Prepared { texts, partners, negatives, ..all });
        }
        let kept: Vec<usize> = (0..texts.len()).filter(|&i| !long(i)).collect();
        if kept.is_empty() {
            let expected = format!("a text of at most {longest} tokens");
            return Err(Error::file(&table.path, expected, "longer ones only"));
        }
        let some = |list: &[Encoded]| match list.is_empty() {
            true => Vec::new(),
            false => kept.iter().map(|&i| list[i].clone()).collect(),
        };
        Ok(Prepared {
            texts: some(&texts),
            partners: some(&partners),
            negatives: negatives.iter().map(|column| some(column)).collect(),
            targets: all.targets.chosen(&kept),
            lines: kept.iter().map(|&i| all.lines[i]).collect(),
            truncated: 0,
            left_out: truncated,
        })
    }

    /// How many texts or pairs there are.
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// The length of each in tokens, in contrastive training that of the longest of its pair and its negatives.
    pub fn lengths(&self) -> Vec<usize> {
        let lists = || self.negatives.iter().chain([&self.partners, &self.texts]);
        let longest = |i: usize| lists().filter_map(|list| list.get(i)).map(|text| text.ids.len()).max();
        (0..self.texts.len()).map(|i| longest(i).unwrap_or(0)).collect()
    }

    /// The texts numbered in `chosen` as a batch, padded to one of few lengths up to `longest`.
    pub fn batch(&self, task: Task, chosen: &[usize], longest: usize) -> TextBatch {
        let mut texts: Vec<Encoded> = chosen.iter().map(|&i| self.texts[i].clone()).collect();
        let mut targets = self.targets.chosen(chosen);
        if task.kind() == Kind::Vector {
            let partners = if self.partners.is_empty() { &self.texts } else { &self.partners };
            for list in std::iter::once(partners).chain(&self.negatives) {
                texts.extend(chosen.iter().map(|&i| list[i].clone()));
            }
            targets = Targets::Pairs;
        }
        let tokens = texts.iter().map(|text| text.ids.len()).max().unwrap_or(1);
        TextBatch { tokens: padded(tokens, longest), texts, targets }
    }
}

/// The texts of words, and the labels of the first token of each word. The rest of a word is read and not judged, as in
/// `transformers`.
fn tagged(
    tokenizer: &Tokenizer,
    table: &Table,
    labels: &Labels,
    Truncation { template, longest, .. }: &Truncation,
) -> Result<(Vec<Encoded>, Targets)> {
    let one = |(example, classes): (&task::Example, Vec<u32>)| {
        let found = encode_words(tokenizer, template, &example.words(), *longest)?;
        let places = found.firsts.into_iter().zip(classes);
        let known = places.filter_map(|(place, class)| Some((u32::try_from(place?).ok()?, class)));
        Ok((found.encoded, known.collect()))
    };
    let classes = labels.lists(table)?;
    let all: Result<Vec<_>> = table.examples.par_iter().zip(classes).map(one).collect();
    let (texts, targets) = all?.into_iter().unzip();
    Ok((texts, Targets::Tokens(targets)))
}

impl Targets {
    /// Those numbered in `chosen`.
    fn chosen(&self, chosen: &[usize]) -> Targets {
        match self {
            Targets::Classes(list) => Targets::Classes(chosen.iter().map(|&i| list[i]).collect()),
            Targets::Numbers(list) => Targets::Numbers(chosen.iter().map(|&i| list[i]).collect()),
            Targets::Labels(list) => Targets::Labels(chosen.iter().map(|&i| list[i].clone()).collect()),
            Targets::Tokens(list) => Targets::Tokens(chosen.iter().map(|&i| list[i].clone()).collect()),
            Targets::Pairs => Targets::Pairs,
        }
    }
}
