//! The numbers behind the pictures, as they are written to JSON.

use serde::Serialize;

use super::{Shown, Token, measures};

/// Everything the views draw, for the layers, heads and tokens that were chosen. Values are `f32`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// The model's name.
    pub model: String,
    /// The tokens: rows and columns of all matrices.
    pub tokens: Vec<Token>,
    /// How many tokens of a text that was too long are not there.
    pub truncated: usize,
    /// The layers of `maps`, counted from 0.
    pub layers: Vec<usize>,
    /// The heads of `maps`, counted from 0.
    pub heads: Vec<usize>,
    /// `[layers][heads][T][T]`: from the token of a row to that of a column.
    pub probabilities: Vec<Vec<Vec<Vec<f32>>>>,
    /// `[T][T]`: rollout over all layers and heads.
    pub rollout: Vec<Vec<f32>>,
    /// `[T]`: the mean of its rows.
    pub relevance: Vec<f32>,
    /// The distances of the two below: -16 to 15.
    pub distances: Vec<i64>,
    /// `[layers][heads][distances]`: mean attention at a distance, over the tokens that have another there.
    pub mean_attention: Vec<Vec<Vec<f32>>>,
    /// `[layers][heads][buckets]`: what a distance adds to the logit, averaged over the queries; models with relative
    /// positions only. As many distances as buckets: -buckets/2 to buckets/2 - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_to_logit: Option<Vec<Vec<Vec<f32>>>>,
}

pub(super) fn numbers(shown: &Shown) -> Numbers {
    let all = shown.all;
    let tokens = shown.len();
    let rows = |map: Vec<f32>| map.chunks(tokens).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let rolled = measures::rollout(all);
    let relevance = measures::relevance(&rolled, all.tokens.len());
    let added = all.by_distance.as_ref().map(|values| {
        let buckets = values.len() / (all.layers * all.heads);
        each(shown, |layer, head| values[(layer * all.heads + head) * buckets..][..buckets].to_vec())
    });
    Numbers {
        model: all.model.clone(),
        tokens: (0..tokens).map(|at| shown.token(at).clone()).collect(),
        truncated: all.truncated,
        layers: shown.layers.clone(),
        heads: shown.heads.clone(),
        probabilities: each(shown, |layer, head| rows(shown.map(layer, head))),
        rollout: rows(shown.select(&rolled)),
        relevance: shown.positions.iter().map(|&at| relevance[at]).collect(),
        distances: (-measures::REACH..measures::REACH).collect(),
        mean_attention: each(shown, |layer, head| measures::by_distance(shown, layer, head).mean),
        added_to_logit: added,
    }
}

/// `value` of each layer and head that is shown.
fn each<T>(shown: &Shown, value: impl Fn(usize, usize) -> T) -> Vec<Vec<T>> {
    let of_layer = |&layer: &usize| shown.heads.iter().map(|&head| value(layer, head)).collect();
    shown.layers.iter().map(of_layer).collect()
}
