//! What a trainer is made from, in a form that travels.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::gpu::{Capabilities, Choices, Gpu};
use crate::models::{Config, Freeze, Learning, Model};
use crate::tensor::DType;
use crate::train::objective::{ChosenObjective, MaskedTokens, TextObjective};
use crate::train::options::{MlmOptions, TrainerOptions};
use crate::train::trainer::{Trainer, less_memory};

/// All that a trainer follows from, but for the values of its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerPlan {
    /// The model's shape.
    pub config: Config,
    /// The forms of kernels that its device is opened with.
    pub kernels: Choices,
    /// What it learns, and how.
    pub learns: Learns,
}

/// What a trainer learns, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Learns {
    /// To guess masked tokens.
    Masked(MlmOptions),
    /// From texts with targets.
    Texts {
        /// The loss.
        objective: ChosenObjective,
        /// How it is trained.
        options: TrainerOptions,
        /// Which parameters stay as they are.
        freeze: Freeze,
        /// Layers whose inner results are computed twice.
        recompute: usize,
    },
}

/// All of a device that decides bits: equal devices compute equally.
pub(super) fn adapter(gpu: &Gpu) -> String {
    let Capabilities { name, backend, driver, matrix_operands, matrix_tile, choices, .. } =
        gpu.capabilities();
    format!("{name}, {backend}, {driver}, units {matrix_operands:?} {matrix_tile:?}, forms {choices}")
}

impl TrainerPlan {
    /// How activations are stored.
    pub fn storage(&self) -> DType {
        match &self.learns {
            Learns::Masked(options) => options.storage,
            Learns::Texts { options, .. } => options.storage,
        }
    }

    /// A trainer that guesses masked tokens, with everything recorded and all parameters zero.
    ///
    /// # Errors
    /// As [`Trainer::pretraining`].
    pub(in crate::train) fn masked(&self, gpu: &Gpu, options: MlmOptions) -> Result<Trainer<MaskedTokens>> {
        Trainer::build(gpu, self.config.clone(), options).map_err(less_memory)
    }

    /// A trainer that learns from texts, with all parameters zero.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub(in crate::train) fn texts(
        &self,
        gpu: &Gpu,
        objective: &ChosenObjective,
        options: TrainerOptions,
        (freeze, recompute): (Freeze, usize),
    ) -> Result<Trainer<TextObjective>> {
        let learning = Learning { division: options.optimizer.division(), freeze, recompute };
        let trainer = || {
            let mut model = Model::trained(gpu, self.config.clone(), learning)?;
            if options.storage == DType::F16 {
                model = model.with_weights_f16()?;
            }
            Trainer::new(gpu, model, objective.objective(), options)
        };
        trainer().map_err(less_memory)
    }
}
