//! Running a trained model.

pub mod attention;
mod buckets;
#[cfg(not(target_arch = "wasm32"))]
mod classifier;
mod embed;
mod fill_mask;
mod load;
#[cfg(not(target_arch = "wasm32"))]
pub mod outputs;
mod predictor;
mod reference;
pub(crate) mod shapes;
mod softmax;

#[cfg(not(target_arch = "wasm32"))]
pub use classifier::{Classifier, Prediction, longest};
pub use embed::{EmbedOptions, Embedder, Embeddings, Tokens, cosine};
pub use fill_mask::{Candidate, FillMask, Filled, Mask};
pub(crate) use load::load;
pub use predictor::Predictor;
pub use reference::{Comparison, Tolerance, Verified, reference_vectors, save_reference, verify};
pub use softmax::softmax;
