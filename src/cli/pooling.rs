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
}

impl Choice {
    /// The pooling, unless it is left to the model.
    pub fn chosen(self) -> Option<Pooling> {
        match self {
            Choice::Auto => None,
            Choice::Mean => Some(Pooling::Mean),
            Choice::Cls => Some(Pooling::Cls),
        }
    }
}
