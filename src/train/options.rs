//! How a trainer is made, and what it takes.

use serde::{Deserialize, Serialize};

use crate::models::Freeze;
use crate::optim::OptimizerOptions;
use crate::tensor::DType;

/// How a model is trained, whatever it learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainerOptions {
    /// How activations are stored: f32, or f16 with a dynamic loss scale.
    pub storage: DType,
    /// The share that dropout zeroes, of hidden states and of attention probabilities.
    pub dropout: f32,
    /// The optimizer.
    pub optimizer: OptimizerOptions,
    /// Chooses what dropout zeroes.
    pub seed: u64,
}

/// The fixed sizes of a pretraining run, and its optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MlmOptions {
    /// B: sequences computed at once.
    pub micro_batch: usize,
    /// T: tokens in a sequence.
    pub seq_len: usize,
    /// How many masked tokens one replay guesses at most: see [`MaskedTokens::targets`](super::MaskedTokens::targets).
    pub targets: usize,
    /// How activations are stored: f32, or f16 with a dynamic loss scale.
    pub storage: DType,
    /// The optimizer.
    pub optimizer: OptimizerOptions,
    /// Which parameters stay as they are.
    pub freeze: Freeze,
    /// Layers whose inner results are computed twice: see [`Learning::recompute`](crate::models::Learning::recompute).
    pub recompute: usize,
    /// Chooses the first weights.
    pub seed: u64,
}

/// Bytes on the device while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The parameters, in every precision they are kept in.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// The optimizer's state.
    pub optimizer: u64,
    /// What steps and measurements use on the way: activations, textures of operands, inputs, settings.
    pub transient: u64,
    /// What reading the largest tensor back for a checkpoint takes for a moment.
    pub read_back: u64,
    /// All of it.
    pub total: u64,
}
