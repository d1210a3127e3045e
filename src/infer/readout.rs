//! What is read of texts: the outputs of a head, pooled vectors, the logits of masked tokens, or attention.

use std::borrow::Cow;

use half::f16;

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu, ReadBack, Recording};
use crate::models::{Config, InputBuffers, Inputs, Model, Pooling, Poolings};
use crate::ops::normalize::normalize;
use crate::tensor::DType;

/// What a recording is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// B
    pub sequences: usize,
    /// T
    pub tokens: usize,
}

/// What is read of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readout {
    /// The logits of the classes, or the number.
    Head,
    /// The logits of the classes of each token, one token after the other.
    TokenClasses,
    /// A vector.
    Vector {
        /// How the vectors of the tokens become one.
        pooling: Poolings,
        /// Whether it is divided by its length.
        normalize: bool,
    },
    /// The logits of all tokens at some positions, or the states that they follow from where a table on the CPU decodes
    /// them.
    Tokens {
        /// How many positions there is room for.
        positions: usize,
    },
    /// The attention probabilities of every layer, and what relative positions add to them.
    Attention,
}

/// What was recorded for one readout of texts of one shape.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The texts.
    pub slots: InputBuffers,
    /// Which rows of hidden states are read: see [`Readout::rows`].
    pub rows: Option<Buffer>,
    /// What is kept: of attention the probabilities of each layer, each followed by what relative positions add.
    pub outputs: Vec<Output>,
    pub recording: Recording,
}

/// What a recording leaves in a buffer of its own.
#[derive(Debug)]
pub(super) struct Output {
    pub buffer: Buffer,
    pub dtype: DType,
    pub elements: usize,
}

impl Output {
    /// Begins to read it.
    pub(super) fn begin_read(&self, gpu: &Gpu) -> Result<Reading> {
        // The rows of f16 tensors are multiples of 4 wide, so that pairs end where tensors do.
        let bytes = self.elements as u64 * self.dtype.bytes();
        Ok(Reading { data: gpu.begin_read(&self.buffer, 0, bytes)?, dtype: self.dtype })
    }
}

/// An output on its way to the CPU.
pub(super) struct Reading {
    data: ReadBack,
    dtype: DType,
}

impl Reading {
    /// Its elements in f32.
    pub(super) async fn finish(self) -> Result<Vec<f32>> {
        if self.dtype == DType::F16 {
            let halves: Vec<f16> = self.data.finish().await?;
            return Ok(halves.into_iter().map(f16::to_f32).collect());
        }
        self.data.finish().await
    }
}

impl Readout {
    /// What its recordings are called.
    fn name(self) -> &'static str {
        match self {
            Readout::Head | Readout::TokenClasses => "outputs",
            Readout::Vector { .. } => "embedding",
            Readout::Tokens { .. } => "prediction",
            Readout::Attention => "attention",
        }
    }

    /// How tokens are pooled, by what has one row for each text.
    fn pooling(self, config: &Config) -> Option<Poolings> {
        match self {
            Readout::Head => Some(config.classifier_pooling.into()),
            Readout::Vector { pooling, .. } => Some(pooling),
            Readout::TokenClasses | Readout::Tokens { .. } | Readout::Attention => None,
        }
    }

    /// The numbers of a text's row that count, of a text of so many tokens; the rest of the row is unspecified.
    pub(super) fn values<'r>(self, config: &Config, row: &'r [f32], tokens: usize) -> Cow<'r, [f32]> {
        let width = self.width(config);
        match self {
            // A token's logits end in columns that are none.
            Readout::TokenClasses => {
                let each = row.chunks_exact(width.next_multiple_of(4)).take(tokens);
                each.flat_map(|logits| &logits[..width]).copied().collect()
            }
            _ => row[..width].into(),
        }
    }

    /// The numbers that count of a text's row, or of a token's.
    pub(super) fn width(self, config: &Config) -> usize {
        match self {
            Readout::Head | Readout::TokenClasses => config.labels.len(),
            Readout::Vector { pooling, .. } => pooling.width(config.hidden_size),
            Readout::Tokens { .. } => config.vocab_size,
            Readout::Attention => 0,
        }
    }

    /// What pooling reads for texts of which the tokens of `ranges` are pooled; those that are lacking are empty.
    pub(super) fn rows(self, config: &Config, ranges: &[[usize; 2]], shape: Shape) -> Vec<u32> {
        let mut ranges = ranges.to_vec();
        ranges.resize(shape.sequences, [0, 0]);
        self.pooling(config).map(|pooling| pooling.slots(&ranges, shape.tokens)).unwrap_or_default()
    }

    /// Records it, and says how many bytes that takes on the device.
    ///
    /// # Errors
    /// Those of the operations and of the device.
    pub(super) fn record(
        self,
        gpu: &Gpu,
        model: &Model,
        storage: DType,
        shape: Shape,
    ) -> Result<(Recorded, u64)> {
        let slots = InputBuffers::of(gpu, model, storage, shape.sequences, shape.tokens)?;
        let mut graph = Graph::inference(gpu).with_storage(storage);
        let inputs = slots.inputs(&mut graph, &model.config)?;
        let (rows, outputs) = match self {
            Readout::Attention => (None, self.attention(gpu, &mut graph, model, &inputs)?),
            Readout::TokenClasses => {
                let hidden = model.encode(&mut graph, &inputs)?.last;
                let logits = model.classify_tokens(&mut graph, &hidden, None, None)?;
                let elements = logits.shape().elements();
                let buffer = graph.keep(gpu, self.name(), logits.view())?;
                (None, vec![Output { buffer, dtype: logits.dtype(), elements }])
            }
            Readout::Head => {
                self.selected(gpu, &mut graph, model, &inputs, model.config.classifier_pooling.into())?
            }
            Readout::Vector { pooling, .. } => self.selected(gpu, &mut graph, model, &inputs, pooling)?,
            Readout::Tokens { .. } => self.selected(gpu, &mut graph, model, &inputs, Pooling::Cls.into())?,
        };
        let recording = graph.finish(gpu, self.name())?;
        let kept: u64 = outputs.iter().map(|output| output.buffer.bytes()).sum();
        let bytes = recording.transient_bytes() + kept;
        Ok((Recorded { slots, rows, outputs, recording }, bytes))
    }

    /// Records the encoder and copies the attention of each layer before the next one overwrites it.
    fn attention(self, gpu: &Gpu, graph: &mut Graph, model: &Model, inputs: &Inputs) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        model.encode_probed(graph, inputs, &mut |graph, seen| {
            for view in [Some(seen.view), seen.relative].into_iter().flatten() {
                let dtype = graph.storage();
                let elements = (view.bytes / dtype.bytes()) as usize;
                let buffer = graph.keep(gpu, self.name(), view)?;
                outputs.push(Output { buffer, dtype, elements });
            }
            Ok(())
        })?;
        Ok(outputs)
    }

    /// Records what reads only some rows of the hidden states: which ones is said before each replay.
    fn selected(
        self,
        gpu: &Gpu,
        graph: &mut Graph,
        model: &Model,
        inputs: &Inputs,
        pooling: Poolings,
    ) -> Result<(Option<Buffer>, Vec<Output>)> {
        let shape = match self {
            Readout::Tokens { positions } => vec![positions],
            _ => pooling.slots_shape(inputs.sequences),
        };
        let rows = gpu.buffer("rows to read", shape.iter().product::<usize>() as u64 * 4)?;
        let read = graph.input(&rows, shape.as_slice(), DType::U32)?;
        let hidden = model.encode(graph, inputs)?.last;
        let computed = match self {
            Readout::Tokens { .. } if model.decodes_on_cpu() => model.masked_states(graph, &hidden, &read)?,
            Readout::Tokens { .. } => model.masked_logits(graph, &hidden, &read)?,
            Readout::Vector { normalize: true, .. } => {
                let vectors = pooling.record(graph, &hidden, &read)?;
                normalize(graph, &vectors)?
            }
            Readout::Vector { .. } => pooling.record(graph, &hidden, &read)?,
            Readout::Head | Readout::TokenClasses | Readout::Attention => {
                model.classify(graph, &hidden, &read, None)?
            }
        };
        let elements = computed.shape().elements();
        let buffer = graph.keep(gpu, self.name(), computed.view())?;
        Ok((Some(rows), vec![Output { buffer, dtype: computed.dtype(), elements }]))
    }
}
