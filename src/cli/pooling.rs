//! `--pooling`: how the vectors of a text's tokens become one.

use clap::ValueEnum;
use wgrad::models::Pooling;

/// What was asked for.
#[derive(Clone, Copy, ValueEnum)]
pub enum Choice {
    /// What suits the model.
    Auto,
    /// The mean over all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The largest number of each column.
    Max,
    /// The sum over all tokens, divided by the root of their number.
    MeanSqrtLen,
    /// The mean over all tokens, the first counting once, the second twice, and so on.
    WeightedMean,
    /// The last token.
    LastToken,
}

impl Choice {
    /// The pooling, unless it is left to the model.
    pub fn chosen(self) -> Option<Pooling> {
        match self {
            Choice::Auto => None,
            Choice::Mean => Some(Pooling::Mean),
            Choice::Cls => Some(Pooling::Cls),
            Choice::Max => Some(Pooling::Max),
            Choice::MeanSqrtLen => Some(Pooling::MeanSqrtLen),
            Choice::WeightedMean => Some(Pooling::WeightedMean),
            Choice::LastToken => Some(Pooling::LastToken),
        }
    }
}
