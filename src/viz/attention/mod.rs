//! Pictures of where a model looks: its attention probabilities on one text or on a pair of texts.

mod axes;
mod grid;
mod head;
mod html;
mod measures;
mod numbers;
mod positions;
mod rollout;
mod sheet;

use serde::{Deserialize, Serialize};

pub use numbers::Numbers;

use super::{Picture, Theme};
use crate::{Error, Result};

/// One position of the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// As the vocabulary spells it: `##ing`.
    pub label: String,
    /// What it stands for in the text: `ing`. Empty for `[CLS]` and the like.
    pub text: String,
    /// Whether a space comes before it in the text.
    pub space_before: bool,
    /// Whether it is `[CLS]`, `[SEP]` or the like.
    pub special: bool,
    /// Of which text it is: 0, or 1 for the second of a pair.
    pub part: usize,
}

/// What is drawn: plain arrays, wherever they come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attention {
    /// The model's name, for the headings.
    pub model: String,
    /// L
    pub layers: usize,
    /// H, the heads of a layer.
    pub heads: usize,
    /// T tokens.
    pub tokens: Vec<Token>,
    /// `[L, H, T, T]`: how much of its attention the token of a row gives to that of a column. Rows sum to 1.
    pub probabilities: Vec<f32>,
    /// `[L, H, buckets]`: what a key's distance from the query adds to its logit, averaged over the queries. Distances
    /// are `-buckets/2 ..= buckets/2 - 1`, all farther ones at the ends. None for models without relative positions.
    pub by_distance: Option<Vec<f32>>,
    /// How many tokens of the text are not there, because it was too long. Every picture says so.
    pub truncated: usize,
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Every head of every layer as a small map.
    #[default]
    Grid,
    /// One head.
    Head,
    /// Attention through all layers (Abnar and Zuidema 2020), and each token's relevance under the text.
    Rollout,
    /// Attention by distance.
    Positions,
}

/// How a picture is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What it shows.
    pub view: View,
    /// One layer only, counted from 0. The view of a head shows layer 0 without it.
    pub layer: Option<usize>,
    /// One head only, counted from 0. The view of a head shows head 0 without it.
    pub head: Option<usize>,
    /// Leave `[CLS]`, `[SEP]` and the like out of the picture.
    pub no_special: bool,
    /// Its colours.
    pub theme: Theme,
}

impl Attention {
    /// The picture of `options`.
    ///
    /// # Errors
    /// [`Error::Config`] for a layer or a head that there is not, and where no token is left to be shown;
    /// [`Error::Shape`] when the arrays do not fit each other.
    pub fn picture(&self, options: &Options) -> Result<Picture> {
        let shown = self.shown(options)?;
        Ok(match options.view {
            View::Grid => grid::draw(&shown),
            View::Head => head::draw(&shown),
            View::Rollout => rollout::draw(&shown),
            View::Positions => positions::draw(&shown),
        })
    }

    /// A page that opens from disk, without a network: lines between tokens, maps and all views, layer and head
    /// picked with the mouse. It opens with the view of `options`.
    ///
    /// # Errors
    /// As [`Attention::picture`].
    pub fn html(&self, options: &Options) -> Result<String> {
        html::page(&self.shown(options)?)
    }

    /// The numbers behind the pictures.
    ///
    /// # Errors
    /// As [`Attention::picture`].
    pub fn numbers(&self, options: &Options) -> Result<Numbers> {
        Ok(numbers::numbers(&self.shown(options)?))
    }

    fn shown(&self, options: &Options) -> Result<Shown<'_>> {
        let (maps, tokens) = (self.layers * self.heads, self.tokens.len());
        let buckets = self.by_distance.as_ref().map_or(0, Vec::len);
        if maps == 0
            || tokens == 0
            || self.probabilities.len() != maps * tokens * tokens
            || !buckets.is_multiple_of(2 * maps)
        {
            return Err(Error::Shape {
                operation: "picture of attention",
                expected: "probabilities [L, H, T, T] and by_distance [L, H, buckets], none of them 0".into(),
                found: format!(
                    "L {}, H {}, T {tokens}, {} probabilities, {buckets} by distance",
                    self.layers,
                    self.heads,
                    self.probabilities.len()
                ),
            });
        }
        let pick = |name: &str, chosen: Option<usize>, count: usize| match chosen {
            None => Ok((0..count).collect::<Vec<_>>()),
            Some(index) if index < count => Ok(vec![index]),
            Some(index) => Err(Error::config(name, format!("0 to {}", count - 1), index)),
        };
        let layers = pick("layer", options.layer, self.layers)?;
        let heads = pick("head", options.head, self.heads)?;
        let kept = |at: &usize| !(options.no_special && self.tokens[*at].special);
        let positions: Vec<usize> = (0..tokens).filter(kept).collect();
        if positions.is_empty() {
            return Err(Error::config("text", "tokens besides the special ones", "none"));
        }
        Ok(Shown { all: self, options: *options, layers, heads, positions })
    }
}

/// The part of the arrays that is drawn.
struct Shown<'a> {
    all: &'a Attention,
    options: Options,
    /// Layers, and heads of each, in the order they are drawn.
    layers: Vec<usize>,
    heads: Vec<usize>,
    /// Positions of the tokens that are drawn.
    positions: Vec<usize>,
}

impl Shown<'_> {
    /// How many tokens.
    fn len(&self) -> usize {
        self.positions.len()
    }

    /// The token of a row or a column.
    fn token(&self, index: usize) -> &Token {
        &self.all.tokens[self.positions[index]]
    }

    /// `[T, T]` of one head, as it is drawn.
    fn map(&self, layer: usize, head: usize) -> Vec<f32> {
        let tokens = self.all.tokens.len();
        let map =
            &self.all.probabilities[(layer * self.all.heads + head) * tokens * tokens..][..tokens * tokens];
        self.select(map)
    }

    /// The rows and columns of `map` `[T, T]` that are drawn.
    fn select(&self, map: &[f32]) -> Vec<f32> {
        let tokens = self.all.tokens.len();
        let row = |&i: &usize| self.positions.iter().map(move |&j| map[i * tokens + j]);
        self.positions.iter().flat_map(row).collect()
    }

    /// Where the second text of a pair begins.
    fn border(&self) -> Option<usize> {
        let second = (0..self.len()).find(|&at| self.token(at).part > 0)?;
        (second > 0).then_some(second)
    }
}
