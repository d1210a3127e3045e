//! Files: weights, model folders, checkpoints of a run.
//!
//! Reading is [`Weights`]; whatever is written goes through a temporary name, is synced, then renamed, so that a
//! name always stands for a whole file.

#[cfg(not(target_arch = "wasm32"))]
pub mod atomic;
pub mod card;
pub mod check;
#[cfg(not(target_arch = "wasm32"))]
mod checksums;
mod header;
#[cfg(not(target_arch = "wasm32"))]
mod lock;
#[cfg(not(target_arch = "wasm32"))]
pub mod model_folder;
pub mod names;
#[cfg(not(target_arch = "wasm32"))]
pub mod resume;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
#[cfg(not(target_arch = "wasm32"))]
pub mod sentence;
#[cfg(not(target_arch = "wasm32"))]
mod shards;
pub mod weights;
#[cfg(not(target_arch = "wasm32"))]
pub mod writer;

pub use card::{ModelCard, Score};
pub use check::{check_tensors, check_vocabulary, special_tokens, tokenizer_vocabulary};
#[cfg(not(target_arch = "wasm32"))]
pub use model_folder::ModelFolder;
pub use names::from_hugging_face;
#[cfg(not(target_arch = "wasm32"))]
pub use resume::check_resume;
#[cfg(not(target_arch = "wasm32"))]
pub use run::{CheckpointState, LoadedCheckpoint, RunFolder, Saved};
#[cfg(not(target_arch = "wasm32"))]
pub use sentence::SentenceFolder;
pub use weights::Weights;
#[cfg(not(target_arch = "wasm32"))]
pub use writer::TensorSource;

/// The weights of a model folder or checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
