//! Running a trained model: a [`Session`], and what stands on it.

pub mod attention;
mod buckets;
mod classifier;
mod embed;
mod fill_mask;
mod load;
mod logits;
mod predictor;
mod readout;
mod reference;
#[cfg(not(target_arch = "wasm32"))]
mod reranker;
#[cfg(not(target_arch = "wasm32"))]
mod retrieval;
mod session;
pub(crate) mod shapes;
mod token_classifier;

pub use classifier::{Classifier, Prediction, longest};
pub use embed::{EmbedOptions, Embedder, Embeddings, Tokens, cosine};
pub use fill_mask::{Candidate, FillMask, Filled, Mask};
pub(crate) use load::load;
pub use load::longest_in;
pub use logits::{argmax, softmax};
pub use predictor::Predictor;
pub use readout::Readout;
pub use reference::{Comparison, Tolerance, Verified, reference_vectors, save_reference, verify};
#[cfg(not(target_arch = "wasm32"))]
pub use reranker::{Relevance, Reranker};
#[cfg(not(target_arch = "wasm32"))]
pub use retrieval::{RetrievalScores, evaluate_retrieval, retrieval_scores};
pub use session::{Sequence, Session};
pub use token_classifier::{Span, Tagged, TokenClassifier};
