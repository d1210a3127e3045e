//! What a model guesses at positions of one sequence of token ids.

use std::sync::Arc;

use super::readout::Readout;
use super::session::{Sequence, Session};
use crate::gpu::Gpu;
use crate::models::Model;
use crate::tensor::DType;
use crate::{Error, Result};

/// A model with its masked-language-model head, without gradients. It keeps the recordings of the lengths it has met.
#[derive(Debug)]
pub struct Predictor {
    session: Session,
}

impl Sequence for &[u32] {
    fn ids(&self) -> &[u32] {
        self
    }
}

impl Predictor {
    /// A predictor with the weights of `model`.
    pub fn new(gpu: &Gpu, model: Model) -> Self {
        Predictor { session: Session::new(gpu, Arc::new(model), DType::F32) }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.session.model()
    }

    /// The logits of all V tokens at each of `positions` of the sequence `ids`, position after position `[M, V]`.
    ///
    /// The padding of the sequence is never attended to, whatever `mask_padding` says.
    ///
    /// # Errors
    /// [`Error::Shape`] for no or too many tokens, an id outside the vocabulary, no positions or one outside the
    /// sequence; those of the device.
    pub async fn logits(&mut self, ids: &[u32], positions: &[u32]) -> Result<Vec<Vec<f32>>> {
        let config = &self.model().config;
        let longest = config.max_position_embeddings;
        let wrong =
            |expected: String, found: String| Error::Shape { operation: "prediction", expected, found };
        if ids.is_empty() || (config.is_bounded() && ids.len() > longest) {
            return Err(wrong(format!("1 to {longest} tokens"), ids.len().to_string()));
        }
        if positions.is_empty() || positions.iter().any(|&at| at as usize >= ids.len()) {
            return Err(wrong(format!("positions below {}", ids.len()), format!("{positions:?}")));
        }
        // A row is guessed once; equal positions share it.
        let mut rows = positions.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let slot = |position: &u32| rows.binary_search(position).unwrap_or_default();
        let mut padded = rows.clone();
        padded.resize(rows.len().next_power_of_two().max(4), u32::MAX);
        let (readout, vocabulary) = (Readout::Tokens { positions: padded.len() }, config.vocab_size);
        let read = self.session.single(readout, ids, &padded).await?;
        let values = &read.outputs[0];
        if self.model().decodes_on_cpu() {
            let width = self.model().config.embedding_width();
            let logits = self.model().decode(&values[..rows.len() * width]).await?;
            return Ok(positions.iter().map(|position| logits[slot(position)].clone()).collect());
        }
        // The columns beyond the vocabulary are unspecified.
        let width = values.len() / padded.len();
        Ok(positions.iter().map(|p| values[slot(p) * width..][..vocabulary].to_vec()).collect())
    }
}
