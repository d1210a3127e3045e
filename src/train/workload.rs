//! Steps to measure: the shape of a model and a batch of made-up tokens. How fast a step is does not depend on which
//! tokens they are.

use crate::data::Batch;
use crate::models::{Config, Freeze};
use crate::optim::OptimizerOptions;
use crate::train::{MlmOptions, Precision};
use crate::{Error, Result};

/// One training step of fixed sizes.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The model.
    pub model: Config,
    /// B: sequences of a step.
    pub sequences: usize,
    /// T: tokens of a sequence.
    pub tokens: usize,
    /// M: tokens that are guessed.
    pub targets: usize,
    /// How activations are stored.
    pub precision: Precision,
    /// Layers whose inner results are computed twice: see [`crate::models::Learning::recompute`].
    pub recompute: usize,
}

impl Workload {
    /// A workload by name.
    ///
    /// | name | model | B × T | M |
    /// |---|---|---|---|
    /// | `tiny` | preset `tiny`: 4 layers, width 256, 4 heads, vocabulary 8192 | 16 × 128 | 293 |
    /// | `base` | preset `notebook`: 12 layers, width 768, 12 heads, vocabulary 32768 | 32 × 128 | 608 |
    ///
    /// # Errors
    /// [`Error::Config`] when no workload has the name.
    pub fn named(name: &str) -> Result<Self> {
        let (preset, sequences, targets) = match name {
            "tiny" => ("tiny", 16, 293),
            // 15% of 126 tokens, rounded up, in each sequence.
            "base" => ("notebook", 32, 608),
            _ => return Err(Error::config("workload", "`tiny` or `base`", crate::error::quoted(name))),
        };
        let (model, precision) = (Config::preset(preset)?, Precision::F32);
        Ok(Workload { model, sequences, tokens: 128, targets, precision, recompute: 0 })
    }

    /// Full sequences of a [preset](Config::preset)'s model, about `rows` tokens in all, of which 15% are guessed.
    ///
    /// # Errors
    /// [`Error::Config`] when no preset has the name.
    pub fn preset(name: &str, rows: usize) -> Result<Self> {
        let model = Config::preset(name)?;
        let tokens = model.max_position_embeddings;
        let sequences = (rows / tokens).max(1);
        let targets = (sequences * tokens * 15).div_ceil(100);
        Ok(Workload { model, sequences, tokens, targets, precision: Precision::F32, recompute: 0 })
    }

    /// The same number of rows in sequences of `tokens` tokens.
    pub fn with_tokens(mut self, tokens: usize) -> Self {
        let rows = self.rows();
        self.model.max_position_embeddings = self.model.max_position_embeddings.max(tokens);
        self.sequences = (rows / tokens).max(1);
        self.tokens = tokens;
        self.targets = (self.targets * self.rows()).div_ceil(rows.max(1)).max(1);
        self
    }

    /// The same with another number of sequences, and guessed tokens in proportion.
    pub fn with_sequences(self, sequences: usize) -> Self {
        let targets = (self.targets * sequences).div_ceil(self.sequences.max(1)).max(1);
        Workload { sequences, targets, ..self }
    }

    /// N: rows of a step.
    pub fn rows(&self) -> usize {
        self.sequences * self.tokens
    }

    /// Operations of the step's matrix products, forward and backward; see [`Config::body_flops`].
    pub fn flops(&self) -> f64 {
        self.rows() as f64 * self.model.body_flops(self.tokens)
            + self.targets as f64 * self.model.head_flops()
    }

    /// What a trainer for it is built with.
    pub fn options(&self) -> MlmOptions {
        MlmOptions {
            freeze: Freeze::Nothing,
            recompute: self.recompute,
            micro_batch: self.sequences,
            seq_len: self.tokens,
            targets: self.targets,
            storage: self.precision.storage(),
            optimizer: OptimizerOptions::default(),
            seed: 0,
        }
    }

    /// A full batch: tokens that repeat about as often as in text of many words, the guessed rows spread evenly.
    pub fn batch(&self) -> Batch {
        let (rows, vocabulary) = (self.rows(), self.model.vocab_size as u64);
        // Knuth's multiplicative hash: the same everywhere, and no two neighbours alike.
        let token = |row: usize| ((row as u64).wrapping_mul(2_654_435_761) % (1 << 32) % vocabulary) as u32;
        let masked_rows: Vec<u32> = (0..self.targets).map(|i| (i * rows / self.targets) as u32).collect();
        Batch {
            sequences: self.sequences,
            seq_len: self.tokens,
            input_ids: (0..rows).map(token).collect(),
            bounds: vec![[0, self.tokens as u32]; rows],
            labels: masked_rows.iter().map(|&row| token(row as usize + rows)).collect(),
            masked_rows,
            tokens: rows,
            truncated: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_their_workload() {
        for name in ["tiny", "base"] {
            let workload = Workload::named(name).unwrap();
            let batch = workload.batch();
            assert_eq!((batch.input_ids.len(), batch.labels.len()), (workload.rows(), workload.targets));
            assert!(batch.masked_rows.is_sorted_by(|a, b| a < b));
            assert!((batch.masked_rows[workload.targets - 1] as usize) < workload.rows());
            let vocabulary = workload.model.vocab_size as u32;
            assert!(batch.input_ids.iter().chain(&batch.labels).all(|&id| id < vocabulary));
        }
        assert!(Workload::named("huge").is_err());
        let more = Workload::named("base").unwrap().with_sequences(256);
        assert_eq!((more.rows(), more.targets), (256 * 128, 8 * 608));
        let longer = more.with_tokens(512);
        assert_eq!((longer.sequences, longer.tokens, longer.targets), (64, 512, 8 * 608));
        assert!(longer.model.max_position_embeddings >= 512);
        let few = Workload::preset("micro", 512).unwrap();
        assert_eq!((few.rows(), few.targets, few.with_tokens(1024).sequences), (512, 77, 1));
    }
}
