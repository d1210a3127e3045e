//! What training asks of a model beside its weights: which parameters stay as they are, and what is computed twice to save
//! memory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::nn::Division;
use crate::{Error, Result};

/// Which parameters stay as they are while the others are trained. They have neither gradients nor an optimizer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "FreezeText", into = "FreezeText")]
pub enum Freeze {
    /// None.
    #[default]
    Nothing,
    /// Those of the embeddings.
    Embeddings,
    /// Those of the embeddings and of so many layers, the first ones.
    Layers(usize),
}

/// As recipes hold it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum FreezeText {
    Layers(usize),
    Name(String),
}

impl Freeze {
    /// Whether all parameters are trained.
    pub fn is_nothing(&self) -> bool {
        *self == Freeze::Nothing
    }

    /// How many layers stay as they are.
    pub fn layers(self) -> usize {
        match self {
            Freeze::Layers(layers) => layers,
            Freeze::Nothing | Freeze::Embeddings => 0,
        }
    }

    /// Checks that a model of so many layers has something left to learn.
    ///
    /// # Errors
    /// [`Error::Config`] for more layers than there are.
    pub fn check(self, layers: usize) -> Result<()> {
        if self.layers() > layers {
            let expected = format!("`nothing`, `embeddings` or a number of layers up to {layers}");
            return Err(Error::config("freeze", expected, self.layers()));
        }
        Ok(())
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Freeze::Nothing => f.write_str("nothing"),
            Freeze::Embeddings => f.write_str("embeddings"),
            Freeze::Layers(layers) => layers.fmt(f),
        }
    }
}

impl FromStr for Freeze {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("nothing", _) => Ok(Freeze::Nothing),
            ("embeddings", _) => Ok(Freeze::Embeddings),
            (_, Ok(layers)) => Ok(Freeze::Layers(layers)),
            _ => Err(Error::config("freeze", "`nothing`, `embeddings` or a number of layers", quoted(text))),
        }
    }
}

impl TryFrom<FreezeText> for Freeze {
    type Error = Error;

    fn try_from(text: FreezeText) -> Result<Self> {
        match text {
            FreezeText::Layers(layers) => Ok(Freeze::Layers(layers)),
            FreezeText::Name(name) => name.parse(),
        }
    }
}

impl From<Freeze> for FreezeText {
    fn from(freeze: Freeze) -> Self {
        match freeze {
            Freeze::Layers(layers) => FreezeText::Layers(layers),
            other => FreezeText::Name(other.to_string()),
        }
    }
}

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learning {
    /// Which parameters are updated alike.
    pub division: Division,
    /// Which stay as they are.
    pub freeze: Freeze,
    /// Of so many layers, the first ones that are trained, the backward pass computes the inner results again instead of keeping them
    /// ([`crate::autograd::Graph::recompute`]). No bit changes by it.
    pub recompute: usize,
}

#[cfg(test)]
mod tests {
    use super::Freeze;

    #[test]
    fn what_is_frozen_is_read_as_it_is_written() {
        for (freeze, json) in [
            (Freeze::Nothing, "\"nothing\""),
            (Freeze::Embeddings, "\"embeddings\""),
            (Freeze::Layers(6), "6"),
        ] {
            assert_eq!(serde_json::to_string(&freeze).unwrap(), json);
            assert_eq!(serde_json::from_str::<Freeze>(json).unwrap(), freeze);
            assert_eq!(freeze.to_string().parse::<Freeze>().unwrap(), freeze);
        }
        for bad in ["", "all", "-1", "1.5"] {
            assert!(bad.parse::<Freeze>().unwrap_err().to_string().contains("number of layers"));
        }
        assert!(Freeze::Layers(12).check(12).is_ok() && Freeze::Layers(13).check(12).is_err());
    }
}
