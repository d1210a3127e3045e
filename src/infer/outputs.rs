//! What a model says of many texts: the outputs of its head, or pooled vectors.

use super::shapes::Shapes;
use crate::autograd::Graph;
use crate::bert::{Config, InputSlots, Model, Pooling, classify, encode};
use crate::data::task::{Encoded, padded};
use crate::gpu::{AdapterKind, Buffer, Gpu, Recording};
use crate::ops::normalize::normalize;
use crate::tensor::DType;
use crate::{Error, Result};

/// What is wanted of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The logits of the classes, or the number.
    Head,
    /// A vector of length 1.
    Vector(Pooling),
}

/// Computes a model's outputs; the model is handed in, so that one in training can be measured.
pub struct Outputs {
    gpu: Gpu,
    wanted: Wanted,
    shapes: Shapes<Recorded>,
}

struct Recorded {
    inputs: InputSlots,
    /// What pooling reads.
    pooled: Buffer,
    /// `[B, S]`, of which the first columns count.
    outputs: Buffer,
    stride: usize,
    recording: Recording,
}

/// B·T tokens that are computed at once on adapters that are CPUs, and on GPUs.
const ROWS: [usize; 2] = [1024, 8192];

impl Outputs {
    /// Nothing is recorded yet. All calls must be for models of one configuration whose weights stay where they are.
    pub fn new(gpu: &Gpu, wanted: Wanted) -> Self {
        Outputs { gpu: gpu.clone(), wanted, shapes: Shapes::new() }
    }

    /// The output of every text, in their order; texts of about one length are computed together. `progress` is
    /// told how many are done.
    ///
    /// # Errors
    /// [`Error::Config`] for a model whose outputs are not finite; [`Error::Shape`] for a text longer than the model
    /// has positions for; those of the device.
    pub async fn compute(
        &mut self,
        model: &Model,
        texts: &[Encoded],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        // Longest first: memory that does not suffice shows at once.
        order.sort_by_key(|&text| std::cmp::Reverse(texts[text].ids.len()));
        let rows = match self.gpu.capabilities().kind {
            AdapterKind::Software => ROWS[0],
            AdapterKind::Plain => ROWS[1],
        };
        let mut outputs = vec![Vec::new(); texts.len()];
        let mut at = 0;
        while at < order.len() {
            let tokens = padded(texts[order[at]].ids.len(), model.config.longest_text());
            let fits = |text: &&usize| padded(texts[**text].ids.len(), model.config.longest_text()) == tokens;
            let batch = (rows / tokens).max(1);
            let count = order[at..].iter().take(batch).take_while(fits).count();
            let chosen = &order[at..at + count];
            let batch: Vec<&Encoded> = chosen.iter().map(|&text| &texts[text]).collect();
            for (&text, output) in chosen.iter().zip(self.batch(model, &batch, tokens).await?) {
                if !output.iter().all(|value| value.is_finite()) {
                    return Err(Error::config("the model's weights", "finite outputs", "NaN or infinity"));
                }
                outputs[text] = output;
            }
            at += count;
            progress(at);
        }
        Ok(outputs)
    }

    async fn batch(&mut self, model: &Model, texts: &[&Encoded], tokens: usize) -> Result<Vec<Vec<f32>>> {
        let (gpu, wanted) = (&self.gpu, self.wanted);
        let sequences = texts.len();
        let recorded = self.shapes.get((sequences, tokens), || {
            let recorded = record(gpu, model, wanted, sequences, tokens)?;
            let bytes = recorded.recording.transient_bytes();
            Ok((recorded, bytes))
        })?;
        put(gpu, &recorded.inputs, model, texts.iter().copied(), tokens)?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        gpu.write(&recorded.pooled, 0, &wanted.pooling(&model.config).slots(&lengths, tokens));
        recorded.recording.replay()?;
        let values: Vec<f32> = gpu.read(&recorded.outputs, 0, sequences * recorded.stride).await?;
        let width = match wanted {
            Wanted::Head => model.config.labels.len(),
            Wanted::Vector(_) => model.config.hidden_size,
        };
        Ok(values.chunks(recorded.stride).map(|row| row[..width].to_vec()).collect())
    }
}

/// Puts `texts` into slots for sequences of `tokens`; padding attends to nothing.
pub(crate) fn put<'a>(
    gpu: &Gpu,
    slots: &InputSlots,
    model: &Model,
    texts: impl Iterator<Item = &'a Encoded>,
    tokens: usize,
) -> Result<()> {
    let (mut ids, mut types, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts {
        let length = text.ids.len();
        let end = ids.len() + tokens;
        if length > tokens {
            let (operation, expected) = ("texts", format!("at most {tokens} tokens"));
            return Err(Error::Shape { operation, expected, found: length.to_string() });
        }
        ids.extend(&text.ids);
        types.extend(&text.types);
        bounds.resize(ids.len(), [0, length as u32]);
        ids.resize(end, model.config.pad_token_id);
        types.resize(end, 0);
        bounds.resize(end, [0, 0]);
    }
    slots.write_typed(gpu, &model.config, &ids, &types, &bounds)
}

impl Wanted {
    fn pooling(self, config: &Config) -> Pooling {
        match self {
            Wanted::Head => config.classifier_pooling,
            Wanted::Vector(pooling) => pooling,
        }
    }
}

fn record(gpu: &Gpu, model: &Model, wanted: Wanted, sequences: usize, tokens: usize) -> Result<Recorded> {
    let (config, parameters) = (&model.config, &model.parameters);
    let inputs = InputSlots::of(gpu, model, DType::F32, sequences, tokens)?;
    let pooled = gpu.buffer("pooled rows", sequences as u64 * 8)?;
    let mut graph = Graph::inference(gpu);
    let read = inputs.inputs(&mut graph, config)?;
    let hidden = encode(&mut graph, config, parameters, &read)?.last;
    let shape = wanted.pooling(config).slots_shape(sequences);
    let slots = graph.input(&pooled, shape.as_slice(), DType::U32)?;
    let computed = match wanted {
        Wanted::Head => classify(&mut graph, config, parameters, &hidden, &slots, None)?,
        Wanted::Vector(pooling) => {
            let vectors = pooling.record(&mut graph, &hidden, &slots)?;
            normalize(&mut graph, &vectors)?
        }
    };
    let outputs = gpu.buffer("outputs", computed.shape().elements() as u64 * 4)?;
    let to = graph.recorder().bind(&(&outputs).into());
    graph.recorder().copy(computed.view(), to);
    let stride = computed.shape().width();
    let recording = graph.finish("outputs")?;
    Ok(Recorded { inputs, pooled, outputs, stride, recording })
}
