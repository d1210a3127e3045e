//! How activations are stored while a model trains.

use serde::{Deserialize, Serialize};

use crate::gpu::{AdapterKind, Capabilities};
use crate::tensor::DType;

/// How activations, their gradients and the working copies of matrices are stored. Sums, norms, losses, master
/// weights and the optimizer's state are f32 always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// f16, with a loss scale that adapts (Micikevicius et al. 2018).
    Mixed,
    /// f16 on GPUs that have it, f32 elsewhere: [`Precision::on`] decides.
    Auto,
}

impl Precision {
    /// What is used on an adapter: never `Auto`, and never `Mixed` where shaders have no f16.
    pub fn on(self, adapter: &Capabilities) -> Precision {
        // A CPU converts every f16 it touches: half the memory there, and no time saved.
        let worth_it = self == Precision::Mixed || adapter.kind != AdapterKind::Cpu;
        match self {
            Precision::Mixed | Precision::Auto if adapter.f16 && worth_it => Precision::Mixed,
            _ => Precision::F32,
        }
    }

    /// What a run has computed with, and stores as its recipe, where nobody has decided.
    pub fn settled(self) -> Precision {
        match self {
            Precision::Auto => Precision::F32,
            decided => decided,
        }
    }

    /// The type of stored activations; f32 as long as nobody has decided.
    pub fn storage(self) -> DType {
        match self.settled() {
            Precision::Mixed => DType::F16,
            _ => DType::F32,
        }
    }
}
