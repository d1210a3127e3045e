//! What a model guesses at positions of one sequence of token ids.

use crate::autograd::Graph;
use crate::bert::{InputSlots, Model, PositionEmbedding, encode, mlm_logits};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::tensor::DType;
use crate::{Error, Result};

/// A model with its masked-language-model head, without gradients. It keeps the recording of the last length:
/// texts of about one length are computed without making it again.
pub struct Predictor {
    gpu: Gpu,
    model: Model,
    recorded: Option<Recorded>,
}

struct Recorded {
    tokens: usize,
    slots: InputSlots,
    rows: Buffer,
    /// How many rows can be guessed.
    capacity: usize,
    /// `[capacity, V']`
    logits: Buffer,
    recording: Recording,
}

impl Predictor {
    /// A predictor with the weights of `model`.
    pub fn new(gpu: &Gpu, model: Model) -> Self {
        Predictor { gpu: gpu.clone(), model, recorded: None }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The logits of all V tokens at each of `positions` of the sequence `ids`, position after position `[M, V]`.
    ///
    /// The sequence is padded to a multiple of 8 tokens. The padding is never attended to, whatever
    /// `mask_padding` says: the result does not depend on it.
    ///
    /// # Errors
    /// [`Error::Shape`] for no or too many tokens, an id outside the vocabulary, no positions or one outside the
    /// sequence; those of the device.
    pub async fn logits(&mut self, ids: &[u32], positions: &[u32]) -> Result<Vec<Vec<f32>>> {
        let config = &self.model.config;
        let longest = config.max_position_embeddings;
        let wrong =
            |expected: String, found: String| Error::Shape { operation: "prediction", expected, found };
        let absolute = config.position_embedding_type == PositionEmbedding::Absolute;
        if ids.is_empty() || (absolute && ids.len() > longest) {
            return Err(wrong(format!("1 to {longest} tokens"), ids.len().to_string()));
        }
        if positions.is_empty() || positions.iter().any(|&at| at as usize >= ids.len()) {
            return Err(wrong(format!("positions below {}", ids.len()), format!("{positions:?}")));
        }
        let padded = ids.len().next_multiple_of(8);
        let tokens = if absolute { padded.min(longest) } else { padded };
        let recorded = match self.recorded.take() {
            Some(recorded) if recorded.tokens == tokens && recorded.capacity >= positions.len() => recorded,
            // The old recording's memory is free before the new one takes its own.
            old => {
                drop(old);
                record(&self.gpu, &self.model, tokens, positions.len().next_multiple_of(4))?
            }
        };
        let bounds = vec![[0, ids.len() as u32]; ids.len()];
        recorded.slots.write(&self.gpu, config, ids, &bounds)?;
        // A row is guessed once; equal positions share it.
        let mut rows = positions.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let slot = |position: &u32| rows.binary_search(position).unwrap_or_default();
        let mut padded_rows = rows.clone();
        padded_rows.resize(recorded.capacity, u32::MAX);
        self.gpu.write(&recorded.rows, 0, &padded_rows);
        recorded.recording.replay()?;
        let width = config.vocab_size.next_multiple_of(4);
        let values: Vec<f32> = self.gpu.read(&recorded.logits, 0, rows.len() * width).await?;
        self.recorded = Some(recorded);
        // The columns beyond the vocabulary are unspecified.
        Ok(positions.iter().map(|p| values[slot(p) * width..][..config.vocab_size].to_vec()).collect())
    }
}

fn record(gpu: &Gpu, model: &Model, tokens: usize, capacity: usize) -> Result<Recorded> {
    let slots = InputSlots::of(gpu, model, DType::F32, 1, tokens)?;
    let rows = gpu.buffer("rows to guess", capacity as u64 * 4)?;
    let mut graph = Graph::inference(gpu);
    let inputs = slots.inputs(&mut graph, &model.config)?;
    let guessed = graph.input(&rows, [capacity], DType::U32)?;
    let hidden = encode(&mut graph, &model.config, &model.parameters, &inputs)?;
    let computed = mlm_logits(&mut graph, &model.config, &model.parameters, &hidden.last, &guessed)?;
    let logits = gpu.buffer("logits", computed.shape().elements() as u64 * 4)?;
    let to = graph.recorder().bind(&(&logits).into());
    graph.recorder().copy(computed.view(), to);
    let recording = graph.finish("prediction")?;
    Ok(Recorded { tokens, slots, rows, capacity, logits, recording })
}
