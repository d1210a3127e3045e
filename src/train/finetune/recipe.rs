//! How a model is finetuned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::class_weights::ClassWeights;
use crate::data::task::Task;
use crate::error::quoted;
use crate::models::Freeze;
use crate::train::config::{OptimizerConfig, check_blocks, is_one, is_zero, one};
use crate::train::wire_format::WireFormat;
use crate::{Error, Result};

/// A recipe by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipeName {
    /// That of *Cramming* (Geiping and Goldstein 2022), with dropout.
    #[default]
    Cramming,
    /// That of *A BERT for laptops*.
    Notebook,
}

impl fmt::Display for RecipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecipeName::Cramming => "cramming",
            RecipeName::Notebook => "notebook",
        })
    }
}

impl FromStr for RecipeName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cramming" => Ok(RecipeName::Cramming),
            "notebook" => Ok(RecipeName::Notebook),
            _ => Err(Error::config("recipe", "one of `cramming`, `notebook`", quoted(name))),
        }
    }
}

/// How the learning rate goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rates {
    /// Up to `peak` over the share `warmup` of the steps, then half a cosine to 0.
    Cosine {
        /// The full learning rate.
        peak: f64,
        /// The share of the steps over which it rises.
        warmup: f64,
    },
    /// One for each epoch; the last one for all further ones.
    PerEpoch(Vec<f64>),
}

impl Rates {
    /// The learning rate of `step` of `steps`, counted from 0, in `epoch`.
    pub fn at(&self, step: u64, steps: u64, epoch: u64) -> f64 {
        match self {
            Rates::PerEpoch(rates) => rates.get(epoch as usize).or(rates.last()).copied().unwrap_or_default(),
            Rates::Cosine { peak, warmup } => {
                let rise = (warmup * steps as f64).round();
                let step = step as f64;
                if step < rise {
                    return peak * (step + 1.0) / rise;
                }
                let t = (step - rise) / (steps as f64 - rise).max(1.0);
                peak * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
            }
        }
    }
}

/// Everything that decides how finetuning goes, but for model, data and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The recipe it began as.
    pub name: RecipeName,
    /// How often all texts are seen.
    pub epochs: u64,
    /// Texts (or pairs) per optimizer step.
    pub batch: usize,
    /// Texts computed at once; a larger batch is made of several. Lower it when memory runs out.
    pub micro_batch: usize,
    /// The learning rate.
    pub rates: Rates,
    /// Update rules and clipping.
    pub optimizer: OptimizerConfig,
    /// The share that dropout zeroes, of hidden states and of attention probabilities.
    pub dropout: f64,
    /// Whether a new head on the first token is dense, tanh, linear, or linear alone, as it is on the mean over the
    /// tokens. Hugging Face's BERT has the former always.
    pub pooler: bool,
    /// Tokens of a text or pair at most.
    pub max_length: usize,
    /// Whether every epoch has an order of its own.
    pub reshuffle: bool,
    /// Whether texts that are too long are left out of training instead of truncated.
    pub drop_long: bool,
    /// What cosines are multiplied by in contrastive training.
    pub contrast: f64,
    /// What the texts or words of each class count.
    #[serde(default, skip_serializing_if = "ClassWeights::is_equal")]
    pub class_weights: ClassWeights,
    /// Which parameters stay as they are.
    #[serde(default, skip_serializing_if = "Freeze::is_nothing")]
    pub freeze: Freeze,
    /// Layers whose inner results are computed twice to save memory ([`crate::models::Learning::recompute`]); all, where
    /// there are fewer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recompute: usize,
    /// Parts that the micro-batches of a step are divided into, which as many ranks may compute ([`crate::train::ranks`]).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub blocks: usize,
    /// How gradients travel between ranks, wherever a step has several blocks.
    #[serde(default, skip_serializing_if = "WireFormat::is_f32")]
    pub wire: WireFormat,
}

impl Recipe {
    /// The recipe called `name` for `task`.
    ///
    /// `cramming`: AdamW 0.9/0.98, eps 1e-6, learning rate 4e-5, 10% warm-up, cosine, batch 16, 5 epochs, dropout
    /// 0.1, no decay, no clipping, 128 tokens, head dense-tanh-linear on a first token. `notebook`: eps 1e-12, learning rates 1e-5,
    /// 4e-5, 4e-5, 2e-5, 1e-5, decay 0.01, no dropout, a linear head, lengths by task, shuffled once, long texts
    /// left out. Contrastive training takes batches of 64, because the other pairs of a batch are what a pair is
    /// told apart from.
    pub fn new(name: RecipeName, task: Task) -> Recipe {
        let notebook = name == RecipeName::Notebook;
        let batch = if task == Task::Contrastive { 64 } else { 16 };
        let (eps, weight_decay) = if notebook { (1e-12, 0.01) } else { (1e-6, 0.0) };
        Recipe {
            name,
            epochs: 5,
            batch,
            micro_batch: batch,
            rates: match name {
                RecipeName::Cramming => Rates::Cosine { peak: 4e-5, warmup: 0.1 },
                RecipeName::Notebook => Rates::PerEpoch(vec![1e-5, 4e-5, 4e-5, 2e-5, 1e-5]),
            },
            optimizer: OptimizerConfig::uniform([0.9, 0.98], eps, weight_decay, 0.0),
            dropout: if notebook { 0.0 } else { 0.1 },
            pooler: !notebook,
            max_length: match task {
                Task::Rte if notebook => 320,
                Task::Qnli | Task::Mnli if notebook => 256,
                Task::Stsb | Task::Qqp if notebook => 192,
                _ => 128,
            },
            reshuffle: !notebook,
            drop_long: notebook,
            contrast: 20.0,
            class_weights: ClassWeights::Equal,
            freeze: Freeze::Nothing,
            recompute: 0,
            blocks: 1,
            wire: WireFormat::F32,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`], naming the first setting at fault.
    pub fn check(&self) -> Result<()> {
        let positive = |field: &str, value: u64| match value {
            0 => Err(Error::config(field, "1 or more", value)),
            _ => Ok(()),
        };
        positive("epochs", self.epochs)?;
        positive("batch", self.batch as u64)?;
        positive("micro-batch", self.micro_batch as u64)?;
        check_blocks(self.blocks)?;
        if !(4..=1 << 16).contains(&self.max_length) {
            return Err(Error::config("max-length", "4 to 65536 tokens", self.max_length));
        }
        let share = |field: &str, value: f64| match (0.0..1.0).contains(&value) && (value as f32) < 1.0 {
            true => Ok(()),
            false => Err(Error::config(field, "a number from 0 to below 1", value)),
        };
        share("dropout", self.dropout)?;
        share("weight-decay", self.optimizer.weight_decay)?;
        self.optimizer.check()?;
        let rates = match &self.rates {
            Rates::Cosine { peak, warmup } => {
                share("warmup", *warmup)?;
                std::slice::from_ref(peak)
            }
            Rates::PerEpoch(rates) => rates,
        };
        match rates.iter().find(|rate| !(**rate > 0.0 && **rate < 1.0)) {
            None if rates.is_empty() => Err(Error::config("lr", "at least one learning rate", "none")),
            Some(rate) => Err(Error::config("lr", "a number above 0 and below 1", rate)),
            None if self.contrast > 0.0 && self.contrast < 1e6 => Ok(()),
            None => Err(Error::config("contrast", "a number above 0", self.contrast)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let rates = Rates::Cosine { peak: 2.0, warmup: 0.1 };
        let at = |step| rates.at(step, 100, 0);
        assert_eq!((at(0), at(4), at(9), at(10)), (0.2, 1.0, 2.0, 2.0));
        assert!((at(55) - 1.0).abs() < 1e-12 && at(99) < 0.001 && at(99) > 0.0);
        let without = Rates::Cosine { peak: 2.0, warmup: 0.0 };
        assert_eq!(without.at(0, 100, 0), 2.0);
        let notebook = Recipe::new(RecipeName::Notebook, Task::Rte).rates;
        assert_eq!(
            (0..6).map(|epoch| notebook.at(0, 1, epoch)).collect::<Vec<_>>(),
            [1e-5, 4e-5, 4e-5, 2e-5, 1e-5, 1e-5]
        );
    }

    #[test]
    fn recipes_are_sound_and_faults_are_named() {
        for task in Task::ALL {
            for name in [RecipeName::Cramming, RecipeName::Notebook] {
                Recipe::new(name, task).check().unwrap();
                assert_eq!(name.to_string().parse::<RecipeName>().unwrap(), name);
            }
        }
        let good = Recipe::new(RecipeName::Cramming, Task::Sst2);
        for (wrong, field) in [
            (Recipe { epochs: 0, ..good.clone() }, "epochs"),
            (Recipe { dropout: 1.0, ..good.clone() }, "dropout"),
            (Recipe { max_length: 2, ..good.clone() }, "max-length"),
            (Recipe { rates: Rates::PerEpoch(vec![]), ..good.clone() }, "lr"),
            (Recipe { rates: Rates::Cosine { peak: f64::NAN, warmup: 0.1 }, ..good }, "lr"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().starts_with(field));
        }
    }
}
