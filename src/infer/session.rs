//! Running a model on texts: everything that reads something of a trained model stands on a [`Session`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::buckets::{Bucket, buckets, room};
use super::readout::{Reading, Readout, Recorded, Shape};
use super::shapes::Shapes;
use crate::gpu::{AdapterKind, Gpu};
use crate::models::Model;
use crate::tensor::DType;
use crate::{Error, Result};

/// A model, and what was recorded of it for texts of the shapes met so far.
///
/// What it computes of a text does not depend, to the bit, on the texts beside it: a text is computed in a sequence
/// whose length follows from its own, and no operation of a forward pass sums over sequences.
#[derive(Debug)]
pub struct Session {
    gpu: Gpu,
    model: Arc<Model>,
    storage: DType,
    recorded: Shapes<Recorded, (Readout, Shape)>,
}

/// A text as the model sees it.
pub trait Sequence {
    /// Its tokens, the special ones counted.
    fn ids(&self) -> &[u32];

    /// The type of each token; none at all where all are 0.
    fn types(&self) -> &[u32] {
        &[]
    }

    /// How many tokens at the beginning are not pooled.
    fn unpooled(&self) -> usize {
        0
    }
}

impl<S: Sequence> Sequence for &S {
    fn ids(&self) -> &[u32] {
        (*self).ids()
    }

    fn types(&self) -> &[u32] {
        (*self).types()
    }

    fn unpooled(&self) -> usize {
        (*self).unpooled()
    }
}

/// Texts that are tokenized together, and sorted by length among themselves: on adapters that are CPUs, and on GPUs, which
/// a few texts of each length do not keep busy.
const WINDOW: [usize; 2] = [1024, 8192];

/// Buckets that are with the device at once: while one is read back, the next is computed.
const IN_FLIGHT: usize = 2;

/// A bucket that was submitted.
struct InFlight {
    /// Which texts, counted over all windows.
    texts: Vec<usize>,
    /// How many tokens each has.
    lengths: Vec<usize>,
    /// Their rows.
    rows: Reading,
    /// B
    sequences: usize,
}

/// The outputs of a single text.
pub(super) struct Single {
    /// T
    pub tokens: usize,
    /// See [`Recorded::outputs`].
    pub outputs: Vec<Vec<f32>>,
}

impl Session {
    /// A session that stores activations as `storage`; nothing is recorded yet.
    pub fn new(gpu: &Gpu, model: Arc<Model>, storage: DType) -> Self {
        Session { gpu: gpu.clone(), model, storage, recorded: Shapes::new() }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, to be read otherwise beside this.
    pub(super) fn shared_model(&self) -> Arc<Model> {
        Arc::clone(&self.model)
    }

    /// How many texts are tokenized together.
    pub(super) fn window(&self) -> usize {
        self.of_kind(WINDOW)
    }

    /// The first on adapters that are CPUs, the second on GPUs.
    fn of_kind(&self, [cpu, gpu]: [usize; 2]) -> usize {
        match self.gpu.capabilities().kind {
            AdapterKind::Cpu => cpu,
            AdapterKind::Gpu => gpu,
        }
    }

    /// Records what computes the largest bucket of `texts`, so that what does not fit shows before it is needed.
    ///
    /// # Errors
    /// As [`Session::compute`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn prepare<S: Sequence>(&mut self, readout: Readout, texts: &[S]) -> Result<()> {
        let all = texts.chunks(self.window()).flat_map(|window| self.buckets(window));
        let sizes = all.map(|Bucket { sequences, tokens, .. }| (sequences * tokens, tokens));
        match sizes.max() {
            Some((rows, tokens)) => {
                self.recorded(readout, Shape { sequences: rows / tokens, tokens }).map(drop)
            }
            None => Ok(()),
        }
    }

    /// The row of each text, in their order: what `readout` reads, which is neither attention nor the logits of
    /// masked tokens. `progress` is told how many texts are done.
    ///
    /// # Errors
    /// [`Error::Config`] for a model whose outputs are not finite; [`Error::Shape`] for a text longer than the model
    /// has positions for; those of the device.
    pub async fn compute<S: Sequence>(
        &mut self,
        readout: Readout,
        texts: &[S],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let mut windows = texts.chunks(self.window()).map(|window| Ok(window.iter().collect::<Vec<_>>()));
        self.compute_windows(readout, &mut windows, progress).await
    }

    /// [`Session::compute`] of texts that come in windows: see [`Session::each`].
    pub(super) async fn compute_windows<S: Sequence>(
        &mut self,
        readout: Readout,
        windows: &mut dyn Iterator<Item = Result<Vec<S>>>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::new();
        let mut each = |text: usize, row: &[f32]| {
            if !row.iter().all(|value| value.is_finite()) {
                return Err(Error::config("the model's weights", "finite outputs", "NaN or infinity"));
            }
            if rows.len() <= text {
                rows.resize(text + 1, Vec::new());
            }
            rows[text] = row.to_vec();
            Ok(())
        };
        self.each(readout, windows, &mut each, progress).await?;
        Ok(rows)
    }

    /// Hands the row of each text to `each`, as they come; finite or not. The next window is asked for while the device
    /// computes the one before, so that texts are tokenized meanwhile.
    pub(super) async fn each<S: Sequence>(
        &mut self,
        readout: Readout,
        windows: &mut dyn Iterator<Item = Result<Vec<S>>>,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let model = Arc::clone(&self.model);
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let (mut first, mut done) = (0, 0);
        let mut collect = async |bucket: InFlight| {
            let rows = bucket.rows.finish().await?;
            let texts = bucket.texts.iter().zip(&bucket.lengths);
            for ((&text, &tokens), row) in texts.zip(rows.chunks(rows.len() / bucket.sequences)) {
                each(text, &readout.values(&model.config, row, tokens))?;
            }
            done += bucket.texts.len();
            progress(done);
            Ok::<_, Error>(())
        };
        let mut next = windows.next().transpose()?;
        while let Some(window) = next.take() {
            let mut asked = false;
            for bucket in self.buckets(&window) {
                in_flight.push_back(self.submit(readout, &window, &bucket, first)?);
                if in_flight.len() < IN_FLIGHT {
                    continue;
                }
                if !asked {
                    (next, asked) = (windows.next().transpose()?, true);
                }
                if let Some(oldest) = in_flight.pop_front() {
                    collect(oldest).await?;
                }
            }
            if !asked {
                next = windows.next().transpose()?;
            }
            first += window.len();
        }
        for bucket in in_flight {
            collect(bucket).await?;
        }
        Ok(())
    }

    /// What `readout` reads of one text, at `rows` of its hidden states where only some are read.
    ///
    /// # Errors
    /// As [`InputBuffers::write_texts`](crate::models::InputBuffers::write_texts); those of the device.
    pub(super) async fn single<S: Sequence>(
        &mut self,
        readout: Readout,
        text: S,
        rows: &[u32],
    ) -> Result<Single> {
        let tokens = room(text.ids().len(), self.model.config.longest_text());
        let shape = Shape { sequences: 1, tokens };
        let parts = [(text.ids(), text.types())];
        let gpu = self.gpu.clone();
        let recorded = self.replay(readout, shape, parts.into_iter(), rows)?;
        let mut outputs = Vec::with_capacity(recorded.outputs.len());
        for output in &recorded.outputs {
            outputs.push(output.begin_read(&gpu)?.finish().await?);
        }
        Ok(Single { tokens, outputs })
    }

    /// Divides a window into buckets.
    fn buckets<S: Sequence>(&self, window: &[S]) -> Vec<Bucket> {
        let lengths: Vec<usize> = window.iter().map(|text| text.ids().len()).collect();
        let longest = self.model.config.longest_text();
        buckets(&lengths, longest, |tokens| self.capacity(tokens), self.of_kind(SPARE))
    }

    /// How many sequences of `tokens` are computed at once: as many as keep the device busy, within its bindings.
    fn capacity(&self, tokens: usize) -> usize {
        let config = &self.model.config;
        let scores = config.num_attention_heads * tokens * tokens.next_multiple_of(4);
        let widest = tokens * config.family().feed_forward_width(config).max(3 * config.hidden_size);
        let bindable = self.gpu.capabilities().max_binding as usize / 4 / scores.max(widest);
        (self.of_kind(ROWS) / tokens).min(bindable).max(1)
    }

    /// Submits a bucket of a window whose first text is number `first` of all.
    fn submit<S: Sequence>(
        &mut self,
        readout: Readout,
        window: &[S],
        bucket: &Bucket,
        first: usize,
    ) -> Result<InFlight> {
        let Bucket { texts, sequences, tokens } = bucket;
        let shape = Shape { sequences: *sequences, tokens: *tokens };
        let range = |&text: &usize| {
            let text = &window[text];
            [text.unpooled(), text.ids().len()]
        };
        let ranges: Vec<[usize; 2]> = texts.iter().map(range).collect();
        let rows = readout.rows(&self.model.config, &ranges, shape);
        let parts = texts.iter().map(|&text| (window[text].ids(), window[text].types()));
        let gpu = self.gpu.clone();
        let recorded = self.replay(readout, shape, parts, &rows)?;
        // The copy is submitted now, so that the next replay may overwrite what this one leaves.
        let rows = recorded.outputs[0].begin_read(&gpu)?;
        let lengths = texts.iter().map(|&text| window[text].ids().len()).collect();
        let texts = texts.iter().map(|text| first + text).collect();
        Ok(InFlight { texts, lengths, rows, sequences: *sequences })
    }

    /// Puts texts, and which rows are read, where a recording reads them, and replays it.
    fn replay<'a>(
        &mut self,
        readout: Readout,
        shape: Shape,
        texts: impl Iterator<Item = (&'a [u32], &'a [u32])>,
        rows: &[u32],
    ) -> Result<&Recorded> {
        let (gpu, model) = (self.gpu.clone(), Arc::clone(&self.model));
        let recorded = self.recorded(readout, shape)?;
        recorded.slots.write_texts(&gpu, &model.config, texts)?;
        if let Some(buffer) = &recorded.rows {
            gpu.write(buffer, 0, rows);
        }
        recorded.recording.replay()?;
        Ok(recorded)
    }

    /// What was recorded for a shape, now if it was not yet.
    fn recorded(&mut self, readout: Readout, shape: Shape) -> Result<&mut Recorded> {
        let Session { gpu, model, storage, recorded } = self;
        let recorded = recorded.get(
            (readout, shape),
            |_| readout.record(gpu, model, *storage, shape),
            || gpu.wait("making room for a recording"),
        );
        recorded.map_err(|error| error.with_advice("choose a smaller model or shorter texts"))
    }
}

/// B·T tokens that are computed at once on adapters that are CPUs, and on GPUs.
const ROWS: [usize; 2] = [1024, 8192];

/// Tokens of padding that cost less than one replay more: adapters that are CPUs compute each, GPUs hardly notice.
const SPARE: [usize; 2] = [16, 1024];
