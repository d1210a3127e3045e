//! Files: weights, model folders, checkpoints of a run.
//!
//! Reading is [`Weights`]; whatever is written goes through a temporary name, is synced, then renamed, so that a
//! name always stands for a whole file.

pub mod atomic;
pub mod card;
pub mod check;
mod checksums;
mod header;
mod lock;
mod memory;
pub mod model_folder;
pub mod names;
mod reference;
pub mod resume;
pub mod run;
pub mod sentence;
mod shards;
pub mod weights;
pub mod writer;

pub use card::{ModelCard, Score};
pub use check::{check_tensors, check_vocabulary, special_tokens, tokenizer_vocabulary};
pub use model_folder::ModelFolder;
pub use names::from_hugging_face;
pub use reference::{REFERENCE_FILE, ReferenceVectors};
pub use resume::check_resume;
pub use run::{CheckpointState, LoadedCheckpoint, RunFolder, Saved};
pub use sentence::SentenceFolder;
pub use weights::Weights;
pub use writer::TensorSource;

/// The weights of a model folder or checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
