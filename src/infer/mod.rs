//! Running a trained model.

mod fill_mask;
mod predictor;

pub use fill_mask::{Candidate, FillMask, Filled, Mask};
pub use predictor::Predictor;
