//! Where a batch of token ids lies on the device, for recordings that are replayed with one batch after the
//! other.

use super::config::{Config, PositionEmbedding};
use super::encoder::{Ids, Inputs};
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu};
use crate::ops::embedding;
use crate::tensor::DType;
use crate::{Error, Result};

/// Room for B sequences of T tokens.
pub struct InputSlots {
    sequences: usize,
    tokens: usize,
    ids: Buffer,
    index: Buffer,
    bounds: Buffer,
}

impl InputSlots {
    /// Room for `sequences` of `tokens` each.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, sequences: usize, tokens: usize) -> Result<Self> {
        let rows = sequences * tokens;
        let words = |label: &str, count: usize| gpu.buffer(label, count as u64 * 4);
        Ok(InputSlots {
            sequences,
            tokens,
            ids: words("token ids", rows)?,
            index: words("token index", embedding::index_len(rows))?,
            bounds: words("bounds", rows * 2)?,
        })
    }

    /// What the encoder reads in recordings of `graph`.
    ///
    /// # Errors
    /// As [`Graph::constant`].
    pub fn inputs(&self, graph: &mut Graph, config: &Config) -> Result<Inputs> {
        let InputSlots { sequences, tokens, .. } = *self;
        let rows = sequences * tokens;
        let positions = match config.position_embedding_type {
            PositionEmbedding::RelativeBucket => None,
            PositionEmbedding::Absolute => {
                let ids: Vec<u32> = (0..sequences).flat_map(|_| 0..tokens as u32).collect();
                let index = embedding::index(&ids);
                Some(Ids {
                    ids: graph.constant(&ids, [rows], DType::U32)?,
                    index: graph.constant(&index, [index.len()], DType::U32)?,
                })
            }
        };
        Ok(Inputs {
            sequences,
            tokens,
            words: Ids {
                ids: graph.input(&self.ids, [rows], DType::U32)?,
                index: graph.input(&self.index, [embedding::index_len(rows)], DType::U32)?,
            },
            positions,
            bounds: graph.input(&self.bounds, [rows, 2], DType::U32)?,
        })
    }

    /// Puts token ids and the bounds of their attention where the next replay reads them. Rows that are
    /// lacking become padding that attends to nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] for more rows than there is room for, another number of bounds, ids beyond the
    /// vocabulary or bounds beyond the sequence.
    pub fn write(&self, gpu: &Gpu, config: &Config, ids: &[u32], bounds: &[[u32; 2]]) -> Result<()> {
        let wrong = |expected: String, found: String| Error::Shape { operation: "inputs", expected, found };
        let rows = self.sequences * self.tokens;
        if ids.len() > rows || ids.len() != bounds.len() {
            let found = format!("{} ids and {} bounds", ids.len(), bounds.len());
            return Err(wrong(format!("up to {rows} rows, each with an id and bounds"), found));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(wrong(format!("ids below the vocabulary of {}", config.vocab_size), id.to_string()));
        }
        if let Some(range) = bounds.iter().find(|range| range[1] as usize > self.tokens) {
            return Err(wrong(format!("bounds within {} tokens", self.tokens), format!("{range:?}")));
        }
        let mut ids = ids.to_vec();
        ids.resize(rows, config.pad_token_id);
        let mut bounds = bounds.to_vec();
        bounds.resize(rows, [0, 0]);
        gpu.write(&self.ids, 0, &ids);
        gpu.write(&self.index, 0, &embedding::index(&ids));
        gpu.write(&self.bounds, 0, &bounds);
        Ok(())
    }
}
