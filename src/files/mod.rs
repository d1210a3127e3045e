//! Files: weights, model folders, checkpoints of a run.
//!
//! All of them lie on a [`Store`](crate::store::Store). Reading is [`Weights`]; whatever is written gets its name when it
//! is whole.

pub mod card;
pub mod check;
mod fingerprint;
mod header;
mod known_prompts;
pub mod list;
pub mod model_folder;
pub mod names;
#[cfg(not(target_arch = "wasm32"))]
mod pickle;
mod reference;
pub mod resume;
pub mod run;
pub mod sentence;
mod shards;
mod trim;
pub mod weights;
pub mod writer;

pub use card::{ModelCard, Score};
pub use check::{check_tensors, check_vocabulary, tokenizer_vocabulary};
pub use fingerprint::fingerprint;
pub use known_prompts::KnownPrompts;
pub use list::{MODEL_FILE, MODEL_FILES, REFERENCE_FILE, WeightFiles, module_folders};
pub use model_folder::{ModelFolder, SavedTokenizer, encoder_folder};
pub use names::from_hugging_face;
pub use reference::ReferenceVectors;
pub use resume::check_resume;
pub use run::{CheckpointState, LoadedCheckpoint, RunFolder, Saved};
pub use sentence::SentenceFolder;
pub use trim::trim;
pub use weights::Weights;
pub use writer::TensorSource;
