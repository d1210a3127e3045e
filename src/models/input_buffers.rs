//! Where a batch of token ids lies on the device, for recordings that are replayed with one batch after the
//! other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::f16;

use super::config::{Config, PositionEmbedding};
use super::inputs::{Inputs, RotaryInputs, Words};
use super::model::Model;
use super::rotary::{LocalAttention, Rotary};
use super::words::WordTable;
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu};
use crate::nn::Ids;
use crate::ops::embedding;
use crate::ops::rotary::angles;
use crate::tensor::DType;
use crate::{Error, Result};

/// Room for B sequences of T tokens.
#[derive(Debug)]
pub struct InputBuffers {
    sequences: usize,
    tokens: usize,
    words: WordSlot,
    types: Slot,
    /// Counted from the start of each token's bounds.
    positions: Slot,
    /// The row of the table of positions for the first position.
    first_position: u32,
    /// Whether `positions` holds 0 to T-1 for every sequence, as it does unless sequences are packed.
    plain: AtomicBool,
    bounds: Buffer,
    /// Those of local attention, in models that have it.
    local_bounds: Option<(LocalAttention, Buffer)>,
}

/// Where the tokens are put.
#[derive(Debug)]
enum WordSlot {
    /// Their ids, for a table on the device.
    Ids(Slot),
    /// Their embeddings `[N, C]`, looked up in a table on the CPU and stored as activations are.
    Rows { table: Arc<WordTable>, rows: Buffer, width: usize, storage: DType },
}

impl WordSlot {
    fn write(&self, gpu: &Gpu, ids: &[u32]) -> Result<()> {
        match self {
            WordSlot::Ids(slot) => slot.write(gpu, ids),
            WordSlot::Rows { table, rows, width, storage } => {
                let values = table.rows(ids)?;
                if values.len() != ids.len() * width {
                    return Err(Error::Shape {
                        operation: "word embeddings",
                        expected: format!("{} rows of {width}", ids.len()),
                        found: format!("{} values", values.len()),
                    });
                }
                if *storage == DType::F16 {
                    let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
                    gpu.write(rows, 0, &halves);
                } else {
                    gpu.write(rows, 0, &values);
                }
            }
        }
        Ok(())
    }
}

/// Token ids or types, and the index that their gradient needs.
#[derive(Debug)]
struct Slot {
    ids: Buffer,
    index: Buffer,
}

impl Slot {
    fn new(gpu: &Gpu, label: &str, rows: usize) -> Result<Self> {
        let words = |count: usize| gpu.buffer(label, count as u64 * 4);
        Ok(Slot { ids: words(rows)?, index: words(embedding::index_len(rows))? })
    }

    fn input(&self, graph: &mut Graph, rows: usize) -> Result<Ids> {
        Ok(Ids {
            ids: graph.input(&self.ids, [rows], DType::U32)?,
            index: graph.input(&self.index, [embedding::index_len(rows)], DType::U32)?,
        })
    }

    fn write(&self, gpu: &Gpu, ids: &[u32]) {
        gpu.write(&self.ids, 0, ids);
        gpu.write(&self.index, 0, &embedding::index(ids));
    }
}

impl InputBuffers {
    /// Room for `sequences` of `tokens` each, of a model of `config` with its word embeddings on the device.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, config: &Config, sequences: usize, tokens: usize) -> Result<Self> {
        let rows = sequences * tokens;
        let bounds = || gpu.buffer("bounds", rows as u64 * 8);
        let local = config.rotary.as_ref().and_then(|rotary| rotary.local.clone());
        let slots = InputBuffers {
            sequences,
            tokens,
            words: WordSlot::Ids(Slot::new(gpu, "token ids", rows)?),
            types: Slot::new(gpu, "token types", rows)?,
            positions: Slot::new(gpu, "positions", rows)?,
            first_position: config.first_position() as u32,
            plain: AtomicBool::new(true),
            bounds: bounds()?,
            local_bounds: local.map(|local| Ok::<_, Error>((local, bounds()?))).transpose()?,
        };
        slots.positions.write(gpu, &slots.positions(&[]));
        Ok(slots)
    }

    /// Room for `sequences` of `tokens` each of `model`, whose word embeddings may be on the CPU, in recordings that
    /// store activations as `storage`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn of(gpu: &Gpu, model: &Model, storage: DType, sequences: usize, tokens: usize) -> Result<Self> {
        let slots = Self::new(gpu, &model.config, sequences, tokens)?;
        let Some(table) = &model.words else { return Ok(slots) };
        let width = model.config.embedding_width();
        let bytes = (sequences * tokens * width) as u64 * storage.bytes();
        let (table, rows) = (Arc::clone(table), gpu.buffer("word embeddings", bytes)?);
        Ok(InputBuffers { words: WordSlot::Rows { table, rows, width, storage }, ..slots })
    }

    /// What the encoder reads in recordings of `graph`.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn inputs(&self, graph: &mut Graph, config: &Config) -> Result<Inputs> {
        let InputBuffers { sequences, tokens, .. } = *self;
        let rows = sequences * tokens;
        let positions = match config.position_embedding_type {
            PositionEmbedding::RelativeBucket | PositionEmbedding::Rotary => None,
            PositionEmbedding::Absolute => Some(self.positions.input(graph, rows)?),
        };
        Ok(Inputs {
            sequences,
            tokens,
            words: match &self.words {
                WordSlot::Ids(slot) => Words::Ids(slot.input(graph, rows)?),
                WordSlot::Rows { rows: buffer, width, storage, .. } => {
                    Words::Rows(graph.input(buffer, [rows, *width], *storage)?)
                }
            },
            positions,
            types: if config.type_vocab_size > 0 { Some(self.types.input(graph, rows)?) } else { None },
            bounds: graph.input(&self.bounds, [rows, 2], DType::U32)?,
            rotary: match &config.rotary {
                Some(rotary) => Some(self.rotary(graph, rotary, config.head_size())?),
                None => None,
            },
        })
    }

    /// What rotary positions need, for heads of `size`.
    fn rotary(&self, graph: &mut Graph, rotary: &Rotary, size: usize) -> Result<RotaryInputs> {
        let InputBuffers { sequences, tokens, .. } = *self;
        let angles = |graph: &mut Graph, theta: f64| {
            let (half, padded) = (size / 2, size.next_multiple_of(4) / 2);
            let mut padded_angles = vec![[1.0, 0.0]; tokens * padded];
            let angles = angles(theta, rotary.factor, tokens, size);
            for (to, from) in padded_angles.chunks_mut(padded).zip(angles.chunks(half)) {
                // Zeros stay zeros, whatever they are turned by.
                to[..half].copy_from_slice(from);
            }
            graph.constant(&padded_angles, [tokens, padded, 2], DType::F32)
        };
        let local = match &self.local_bounds {
            Some((local, bounds)) => {
                let bounds = graph.input(bounds, [sequences * tokens, 2], DType::U32)?;
                Some((bounds, angles(graph, local.theta)?))
            }
            None => None,
        };
        Ok(RotaryInputs { angles: angles(graph, rotary.theta)?, local })
    }

    /// `[B·T]` the row of the table of positions for each row: its position in its sequence, less where its bounds start.
    fn positions(&self, bounds: &[[u32; 2]]) -> Vec<u32> {
        let start = |row: usize| bounds.get(row).map_or(0, |range| range[0]);
        let rows = 0..self.sequences * self.tokens;
        rows.map(|row| ((row % self.tokens) as u32).saturating_sub(start(row)) + self.first_position)
            .collect()
    }

    /// Puts token ids and the bounds of their attention where the next replay reads them; all tokens are of type
    /// 0, and absolute positions count from the start of the bounds. Rows that are lacking become padding that
    /// attends to nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] for more rows than there is room for, another number of bounds, ids beyond the
    /// vocabulary or bounds beyond the sequence; those of reading a table on the CPU.
    pub fn write(&self, gpu: &Gpu, config: &Config, ids: &[u32], bounds: &[[u32; 2]]) -> Result<()> {
        self.write_typed(gpu, config, ids, &[], bounds)
    }

    /// Puts texts, each as its token ids and their types (none at all where all are 0), into a sequence each. What a
    /// text leaves of its sequence, and the sequences that are lacking, become padding that attends to nothing.
    ///
    /// # Errors
    /// As [`InputBuffers::write_typed`]; [`Error::Shape`] for a text longer than a sequence.
    pub fn write_texts<'a>(
        &self,
        gpu: &Gpu,
        config: &Config,
        texts: impl Iterator<Item = (&'a [u32], &'a [u32])>,
    ) -> Result<()> {
        let (mut ids, mut types, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        for (text, of_type) in texts {
            let end = ids.len() + self.tokens;
            if text.len() > self.tokens {
                let (operation, expected) = ("texts", format!("at most {} tokens", self.tokens));
                return Err(Error::Shape { operation, expected, found: text.len().to_string() });
            }
            ids.extend(text);
            types.extend(of_type);
            bounds.resize(ids.len(), [0, text.len() as u32]);
            ids.resize(end, config.pad_token_id);
            types.resize(end, 0);
            bounds.resize(end, [0, 0]);
        }
        self.write_typed(gpu, config, &ids, &types, &bounds)
    }

    /// [`InputBuffers::write`] with token types, one for each id or none at all. A model without token types ignores
    /// them.
    ///
    /// # Errors
    /// As [`InputBuffers::write`]; [`Error::Shape`] for another number of types or one beyond the model's.
    pub fn write_typed(
        &self,
        gpu: &Gpu,
        config: &Config,
        ids: &[u32],
        types: &[u32],
        bounds: &[[u32; 2]],
    ) -> Result<()> {
        let wrong = |expected: String, found: String| Error::Shape { operation: "inputs", expected, found };
        let rows = self.sequences * self.tokens;
        if ids.len() > rows || ids.len() != bounds.len() || !(types.is_empty() || types.len() == ids.len()) {
            let found = format!("{} ids, {} types and {} bounds", ids.len(), types.len(), bounds.len());
            return Err(wrong(format!("up to {rows} rows, each with an id and bounds"), found));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(wrong(format!("ids below the vocabulary of {}", config.vocab_size), id.to_string()));
        }
        if let Some(range) = bounds.iter().find(|range| range[1] as usize > self.tokens) {
            return Err(wrong(format!("bounds within {} tokens", self.tokens), format!("{range:?}")));
        }
        let filled = |values: &[u32], with| {
            let mut values = values.to_vec();
            values.resize(rows, with);
            values
        };
        self.words.write(gpu, &filled(ids, config.pad_token_id))?;
        // A model with a single type has no other for the second text of a pair, whatever the tokenizer says.
        let types = if config.type_vocab_size > 1 { types } else { &[] };
        if config.type_vocab_size > 0 {
            if let Some(kind) = types.iter().find(|&&kind| kind as usize >= config.type_vocab_size) {
                return Err(wrong(format!("token types below {}", config.type_vocab_size), kind.to_string()));
            }
            self.types.write(gpu, &filled(types, 0));
        }
        let plain = bounds.iter().all(|range| range[0] == 0);
        let unchanged = self.plain.swap(plain, Ordering::Relaxed) && plain;
        if config.position_embedding_type == PositionEmbedding::Absolute && !unchanged {
            self.positions.write(gpu, &self.positions(bounds));
        }
        let mut bounds = bounds.to_vec();
        bounds.resize(rows, [0, 0]);
        gpu.write(&self.bounds, 0, &bounds);
        if let Some((local, buffer)) = &self.local_bounds {
            gpu.write(buffer, 0, &local.bounds(&bounds, self.tokens));
        }
        Ok(())
    }
}
