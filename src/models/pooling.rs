//! From the hidden states of a text's tokens to one vector.

use std::fmt;

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::autograd::Graph;
use crate::ops::gather_rows::gather_rows;
use crate::ops::pool_rows::{Kind, MOST, pool_rows};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// How the vectors of a text's tokens become one. `[CLS]` and `[SEP]` are tokens, padding is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The vector of the first token.
    #[default]
    Cls,
    /// The largest number of each column.
    Max,
    /// The sum over all tokens, divided by the root of their number.
    MeanSqrtLen,
    /// The mean over all tokens, the first counting once, the second twice, and so on (Muennighoff 2022).
    WeightedMean,
    /// The vector of the last token.
    LastToken,
}

impl Pooling {
    /// All of them, in the order in which `sentence-transformers` puts them side by side.
    pub const ALL: [Pooling; 6] = [
        Pooling::Cls,
        Pooling::Max,
        Pooling::Mean,
        Pooling::MeanSqrtLen,
        Pooling::WeightedMean,
        Pooling::LastToken,
    ];

    /// Its name in this program.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            Pooling::Max => "max",
            Pooling::MeanSqrtLen => "mean_sqrt_len",
            Pooling::WeightedMean => "weighted_mean",
            Pooling::LastToken => "last_token",
        }
    }

    /// Its names in a `config.json` of `sentence-transformers`: the value of `pooling_mode`, and the flag that older
    /// versions write.
    pub fn sentence_transformers(self) -> [&'static str; 2] {
        match self {
            Pooling::Mean => ["mean", "pooling_mode_mean_tokens"],
            Pooling::Cls => ["cls", "pooling_mode_cls_token"],
            Pooling::Max => ["max", "pooling_mode_max_tokens"],
            Pooling::MeanSqrtLen => ["mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"],
            Pooling::WeightedMean => ["weightedmean", "pooling_mode_weightedmean_tokens"],
            Pooling::LastToken => ["lasttoken", "pooling_mode_lasttoken"],
        }
    }

    /// What [`Pooling::record`] reads for texts of `lengths` in sequences of `tokens`: one or two words per text.
    pub fn slots(self, lengths: &[usize], tokens: usize) -> Vec<u32> {
        match self {
            Pooling::Cls => (0..lengths.len()).map(|sequence| (sequence * tokens) as u32).collect(),
            _ => lengths.iter().flat_map(|&length| [0, length as u32]).collect(),
        }
    }

    /// The shape of the slots of `sequences` texts.
    pub fn slots_shape(self, sequences: usize) -> Vec<usize> {
        match self {
            Pooling::Cls => vec![sequences],
            _ => vec![sequences, 2],
        }
    }

    /// One vector per text, `[B, C]`, of hidden states `[B·T, C]`; `slots` is an input of [`Pooling::slots`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes are not these.
    pub fn record(self, graph: &mut Graph, hidden: &Tensor, slots: &Tensor) -> Result<Tensor> {
        match self {
            Pooling::Cls => gather_rows(graph, hidden, slots),
            other => pool_rows(graph, hidden, slots, &[other.kind()]),
        }
    }

    /// What the operation calls it.
    fn kind(self) -> Kind {
        match self {
            Pooling::Mean => Kind::Mean,
            Pooling::Cls => Kind::First,
            Pooling::Max => Kind::Max,
            Pooling::MeanSqrtLen => Kind::Root,
            Pooling::WeightedMean => Kind::Weighted,
            Pooling::LastToken => Kind::Last,
        }
    }
}

/// One pooling, or several whose vectors stand side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Poolings {
    /// Those beyond the number are [`Pooling::Cls`], so that equal lists are equal values.
    list: [Pooling; MOST],
    count: usize,
}

impl From<Pooling> for Poolings {
    fn from(pooling: Pooling) -> Self {
        let mut list = [Pooling::Cls; MOST];
        list[0] = pooling;
        Poolings { list, count: 1 }
    }
}

impl Poolings {
    /// The poolings of a list, in its order.
    ///
    /// # Errors
    /// [`Error::Config`] for none or more than 8.
    pub fn new(poolings: &[Pooling]) -> Result<Self> {
        if !(1..=MOST).contains(&poolings.len()) {
            return Err(Error::config("pooling", format!("1 to {MOST} poolings"), poolings.len()));
        }
        let mut list = [Pooling::Cls; MOST];
        list[..poolings.len()].copy_from_slice(poolings);
        Ok(Poolings { list, count: poolings.len() })
    }

    /// They, in their order.
    pub fn list(&self) -> &[Pooling] {
        &self.list[..self.count]
    }

    /// The only one; none where there are several.
    pub fn single(&self) -> Option<Pooling> {
        (self.count == 1).then_some(self.list[0])
    }

    /// The length of a text's vector where hidden states have `width`.
    pub fn width(&self, width: usize) -> usize {
        self.count * width
    }

    /// What [`Poolings::record`] reads for texts whose tokens from the first to before the second of a range are pooled,
    /// in sequences of `tokens`.
    pub fn slots(&self, ranges: &[[usize; 2]], tokens: usize) -> Vec<u32> {
        let words = |row: usize, range: &[usize; 2]| match self.single() {
            Some(Pooling::Cls) => {
                let first = if range[0] < range[1] { range[0] } else { 0 };
                vec![(row * tokens + first) as u32]
            }
            _ => range.map(|token| token as u32).to_vec(),
        };
        ranges.iter().enumerate().flat_map(|(row, range)| words(row, range)).collect()
    }

    /// The shape of the slots of `sequences` texts.
    pub fn slots_shape(&self, sequences: usize) -> Vec<usize> {
        self.single().unwrap_or(Pooling::Mean).slots_shape(sequences)
    }

    /// One vector per text, `[B, K·C]` for K poolings, of hidden states `[B·T, C]`; `slots` is an input of
    /// [`Poolings::slots`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes are not these.
    pub fn record(&self, graph: &mut Graph, hidden: &Tensor, slots: &Tensor) -> Result<Tensor> {
        match self.single() {
            Some(pooling) => pooling.record(graph, hidden, slots),
            None => {
                let kinds: Vec<Kind> = self.list().iter().map(|pooling| pooling.kind()).collect();
                pool_rows(graph, hidden, slots, &kinds)
            }
        }
    }
}

impl fmt::Debug for Poolings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl fmt::Display for Poolings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.list().iter().map(|pooling| pooling.name()).collect();
        f.write_str(&names.join(" + "))
    }
}

/// A name, or a list of names where there are several.
impl Serialize for Poolings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.single() {
            Some(pooling) => pooling.serialize(serializer),
            None => self.list().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Poolings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(Pooling),
            Several(Vec<Pooling>),
        }
        match Written::deserialize(deserializer)? {
            Written::One(pooling) => Ok(pooling.into()),
            Written::Several(list) => Poolings::new(&list).map_err(D::Error::custom),
        }
    }
}
