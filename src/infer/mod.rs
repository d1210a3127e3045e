//! Running a trained model.

mod buckets;
mod embed;
mod fill_mask;
mod predictor;

pub use embed::{EmbedOptions, Embedder, Embeddings, Tokens, cosine};
pub use fill_mask::{Candidate, FillMask, Filled, Mask};
pub use predictor::Predictor;
