//! AdamW with decay groups and global clipping (Loshchilov & Hutter 2019).

use std::sync::atomic::{AtomicBool, Ordering};

use super::totals::{Sums, Tickets, Totals};
use crate::autograd::Graph;
use crate::gpu::{
    AdapterKind, Buffer, Constant, Gpu, KernelSpec, OPERATIONS_PER_BYTE, Recorder, Recording, Region, View,
    params, shader,
};
use crate::nn::{ALIGNMENT, Parameters};
use crate::tensor::DType;
use crate::{Error, Result};

params! {
    vectors: u32, partials: u32, first: u32,
    beta1: f32, beta2: f32, epsilon: f32, decay: f32, clip: f32, growth: u32,
    start: u32, groups: u32,
}

const LANES: u32 = 256;
const CONSTANTS: &[Constant] = &[("LANES", LANES)];
const NORM: KernelSpec = KernelSpec {
    source: shader!("adamw"),
    entry: "norm",
    reads: 1,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: CONSTANTS,
};
const DECIDE: KernelSpec = KernelSpec { entry: "decide", reads: 5, writes: 2, ..NORM };
const UPDATE: KernelSpec = KernelSpec { entry: "update", reads: 1, writes: 4, ..NORM };
const UPDATE_HALVES: KernelSpec = KernelSpec { entry: "update_halves", writes: 5, ..UPDATE };

/// For the shader tests.
pub const KERNELS: &[KernelSpec] = &[NORM, DECIDE, UPDATE, UPDATE_HALVES];

/// Vectors of four elements that an invocation of the norm sums at least, and workgroups that share the elements of a
/// segment at most: 512 of them keep 2 MiB of loads under way. It depends on the segment alone, so that sums have one
/// order on every device.
const NORM_VECTORS: u32 = 4;
const NORM_GROUPS: u32 = 512;

/// Workgroups of an update: on a GPU as many as a dispatch may have, on a CPU fewer, which do not cost it more than
/// their work.
fn update_groups(kind: AdapterKind) -> u32 {
    match kind {
        AdapterKind::Software => 256,
        AdapterKind::Plain => 65535,
    }
}

/// The optimizer's settings but for the learning rate, which each step is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Decay rate of the first moment.
    pub beta1: f32,
    /// Decay rate of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay of parameters declared with it.
    pub weight_decay: f32,
    /// The largest global gradient norm; 0 does not clip.
    pub clip: f32,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        AdamWOptions { beta1: 0.9, beta2: 0.98, epsilon: 1e-12, weight_decay: 0.01, clip: 0.5 }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// What the micro-batches added up.
    pub sums: Sums,
    /// The gradient's norm before clipping.
    pub norm: f32,
    /// Whether the gradient was finite and the parameters have changed.
    pub applied: bool,
}

/// The optimizer's state for one set of [`Parameters`], and its recorded step.
pub struct AdamW {
    moments: Vec<(Buffer, Buffer)>,
    control: Buffer,
    state: Buffer,
    report: Buffer,
    /// Zeroes totals, and totals and gradients at once.
    clear: [Recording; 2],
    /// Whether the newest step was the last to touch the gradients: it leaves zeros.
    zeroed: AtomicBool,
    step: Recording,
    canary: u32,
    /// Whether the state is what [`AdamW::new`] left.
    fresh: AtomicBool,
    mixed: bool,
}

/// The loss scale, clean steps since it changed, β1ᵗ, β2ᵗ and t.
const STATE_ELEMENTS: usize = 5;

/// PyTorch's: where the loss scale starts at least, and after how many clean steps it doubles.
const FIRST_LOSS_SCALE: f32 = 65536.0;
/// What the gradient of one target's loss is multiplied by at least in the first step: a mean over many targets leaves
/// each of them so small a share that its gradient would vanish as f16.
const FIRST_TARGET_SCALE: f32 = 128.0;
/// The loss scale grows no further.
const LARGEST_LOSS_SCALE: f32 = 16_777_216.0;
const GROWTH: u32 = 2000;

impl AdamW {
    /// Fresh state, and the step recorded.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Config`] for parameters without gradients.
    pub fn new(parameters: &Parameters, options: AdamWOptions, totals: &Totals) -> Result<Self> {
        let gpu = parameters.gpu();
        let mut moments = Vec::new();
        for segment in parameters.segments() {
            let bytes = segment.elements as u64 * 4;
            moments.push((gpu.buffer("the first moments", bytes)?, gpu.buffer("the second moments", bytes)?));
        }
        let control = gpu.buffer("the step's settings", 16)?;
        let loss_scale = if is_mixed(parameters) { FIRST_LOSS_SCALE } else { 1.0 };
        let mut first = [0f32; 12];
        first[..4].copy_from_slice(&[loss_scale, 0.0, 1.0, 1.0]);
        let state = gpu.upload("the optimizer's state", &first)?;
        let report = gpu.buffer("the step's report", 32)?;
        let buffers = [&control, &state, &report];
        let step = record(parameters, options, totals, &moments, buffers)?;
        let clear = [clear(parameters, totals, false)?, clear(parameters, totals, true)?];
        let zeroed = AtomicBool::new(false);
        let (fresh, mixed) = (AtomicBool::new(true), is_mixed(parameters));
        Ok(AdamW { moments, control, state, report, clear, zeroed, step, canary: 0, fresh, mixed })
    }

    /// Says how many targets the loss of the next step is the mean of. The first step's loss scale follows from it.
    pub fn expect(&mut self, gpu: &Gpu, targets: usize) {
        if std::mem::take(self.fresh.get_mut()) && self.mixed {
            gpu.write(&self.state, 0, &[first_loss_scale(targets)]);
        }
    }

    /// Zeroes the totals and the gradients, for the replays of the next step to add to.
    ///
    /// # Errors
    /// As [`Recording::replay`].
    pub fn begin(&mut self) -> Result<()> {
        let zeroed = std::mem::take(self.zeroed.get_mut());
        self.clear[usize::from(!zeroed)].replay()
    }

    /// Updates the parameters from the gradients that the replays with `tickets` accumulated, and tells what
    /// happened.
    ///
    /// # Errors
    /// As [`AdamW::submit`] and [`AdamW::report`].
    pub async fn step(
        &mut self,
        parameters: &Parameters,
        learning_rate: f32,
        tickets: &Tickets,
    ) -> Result<Report> {
        self.submit(parameters, learning_rate, tickets)?;
        self.report(parameters, tickets).await
    }

    /// The first half of [`AdamW::step`]: submits the update and waits for nothing.
    ///
    /// # Errors
    /// As [`Recording::replay`].
    pub fn submit(&mut self, parameters: &Parameters, learning_rate: f32, tickets: &Tickets) -> Result<()> {
        self.canary = self.canary.wrapping_add(0x9e37_79b9);
        let control = [learning_rate.to_bits(), self.canary, tickets.sum().to_bits()];
        parameters.gpu().write(&self.control, 0, &control);
        self.step.replay()?;
        *self.zeroed.get_mut() = true;
        Ok(())
    }

    /// The second half of [`AdamW::step`]: waits for the newest update and tells what it did.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the driver dropped work without saying so: one of the replays, and nothing was changed,
    /// or the step itself, whose report is then an earlier one's. Where a step is so long that it is several
    /// submissions, a lost one may leave it half done: only the checkpoint before is whole then.
    pub async fn report(&self, parameters: &Parameters, tickets: &Tickets) -> Result<Report> {
        // Until it is known to have run, it is not known to have left zeros.
        let zeroed = self.zeroed.swap(false, Ordering::Relaxed);
        let words: Vec<u32> = parameters.gpu().read(&self.report, 0, 7).await?;
        verify(words[5], self.canary)?;
        // A long step is several submissions; this number went through all of them.
        verify(words[6], self.canary)?;
        let [loss, correct, tickets_found, norm] = [0, 1, 2, 3].map(|word| f32::from_bits(words[word]));
        tickets.verify("the optimizer step", tickets_found)?;
        self.zeroed.store(zeroed, Ordering::Relaxed);
        Ok(Report { sums: Sums { loss, correct }, norm, applied: words[4] != 0 })
    }

    /// What the loss is multiplied by before it is differentiated, one f32, so that gradients survive being stored
    /// as f16; 1 where nothing is. It changes from step to step.
    pub fn loss_scale(&self) -> Region {
        Region { buffer: self.state.clone(), offset: 0, bytes: 16 }
    }

    /// Bytes of the moments and of what a step reads and reports.
    pub fn bytes(&self) -> u64 {
        let moments: u64 = self.moments.iter().map(|(first, second)| first.bytes() + second.bytes()).sum();
        moments + self.control.bytes() + self.state.bytes() + self.report.bytes()
    }

    /// Names and shapes of the state, for checkpoints.
    pub fn shapes(&self, parameters: &Parameters) -> Vec<(String, Vec<usize>)> {
        let mut shapes = vec![("adamw.step".to_string(), vec![STATE_ELEMENTS])];
        for (name, shape) in parameters.shapes() {
            shapes.push((format!("exp_avg.{name}"), shape.clone()));
            shapes.push((format!("exp_avg_sq.{name}"), shape));
        }
        shapes
    }

    fn locate(&self, parameters: &Parameters, name: &str) -> Result<(&Buffer, u64, usize)> {
        if name == "adamw.step" {
            return Ok((&self.state, 0, STATE_ELEMENTS));
        }
        let (moment, parameter) = name
            .split_once('.')
            .filter(|(moment, _)| matches!(*moment, "exp_avg" | "exp_avg_sq"))
            .ok_or_else(|| Error::config("optimizer state", "a tensor of AdamW", name))?;
        let (segment, offset, elements) = parameters.locate(parameter)?;
        let (first, second) = &self.moments[segment];
        Ok((if moment == "exp_avg" { first } else { second }, offset as u64 * 4, elements))
    }

    /// Reads one tensor of the state.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that [`AdamW::shapes`] does not list.
    pub async fn read(&self, parameters: &Parameters, name: &str) -> Result<Vec<f32>> {
        let (buffer, offset, elements) = self.locate(parameters, name)?;
        parameters.gpu().read(buffer, offset, elements).await
    }

    /// Replaces one tensor of the state.
    ///
    /// # Errors
    /// As [`AdamW::read`]; [`Error::Shape`] for another number of values.
    pub fn write(&self, parameters: &Parameters, name: &str, values: &[f32]) -> Result<()> {
        let (buffer, offset, elements) = self.locate(parameters, name)?;
        if values.len() != elements {
            return Err(Error::Shape {
                operation: "writing optimizer state",
                expected: format!("{elements} values for {name}"),
                found: values.len().to_string(),
            });
        }
        parameters.gpu().write(buffer, offset, values);
        if name == "adamw.step" {
            self.fresh.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A power of two, so that it changes no digit of a gradient.
fn first_loss_scale(targets: usize) -> f32 {
    let wanted = FIRST_TARGET_SCALE * targets as f32;
    wanted.clamp(FIRST_LOSS_SCALE, LARGEST_LOSS_SCALE).log2().ceil().exp2()
}

fn is_mixed(parameters: &Parameters) -> bool {
    parameters.segments().iter().any(|segment| segment.halves.is_some())
}

/// A report that carries another step's number was never written: some drivers count a failed submission
/// as completed.
fn verify(found: u32, expected: u32) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Gpu {
        operation: "the optimizer step".into(),
        message: format!(
            "the report carries {found:#x} instead of {expected:#x}: the step was not completed"
        ),
    })
}

/// Zeroes the gradients where it is asked for, and the totals, which tell when any of that was dropped.
fn clear(parameters: &Parameters, totals: &Totals, gradients: bool) -> Result<Recording> {
    let mut recorder = Recorder::new(parameters.gpu());
    let segments = parameters.segments().iter().filter(|_| gradients);
    for gradients in segments.filter_map(|segment| segment.gradients.as_ref()) {
        let view = recorder.bind(&gradients.into());
        recorder.clear(view);
    }
    totals.clear(&mut recorder);
    recorder.finish("clear totals and gradients")
}

/// Vectors of four elements; segments are padded to whole ones.
fn vectors(elements: usize) -> u32 {
    (elements / 4) as u32
}

/// Workgroups that sum the squares of so many elements.
fn norm_groups(elements: usize) -> u32 {
    vectors(elements).div_ceil(NORM_VECTORS * LANES).clamp(1, NORM_GROUPS)
}

/// Sums of the squares of a segment's `gradients`, one for each of `params.groups` workgroups. None of the dispatches
/// takes long; how many there are changes no bit.
fn record_norm(graph: &mut Graph, params: Params, gradients: View, partials: View) -> Result<()> {
    let most = graph.gpu().most_operations() / OPERATIONS_PER_BYTE;
    let all = params.groups;
    let share = most / gradients.bytes as f64 * f64::from(all);
    let room = (share as u32).clamp(1, all);
    for start in (0..all).step_by(room as usize) {
        let (params, groups) = (Params { start, ..params }, room.min(all - start));
        graph.dispatch((&NORM, CONSTANTS), params, &[gradients], &[partials], [groups, 1, 1])?;
        graph.recorder().touches(gradients.bytes as f64 * f64::from(groups) / f64::from(all));
    }
    Ok(())
}

/// The sums of squares alone of a gradient whose elements are a multiple of four, for tests of a device: what is
/// replayed, where the sums lie and how many they are.
///
/// # Errors
/// As [`Gpu::buffer`](crate::gpu::Gpu::buffer).
pub fn norm_recording(gpu: &Gpu, gradient: &Buffer) -> Result<(Recording, Buffer, usize)> {
    let elements = gradient.bytes() as usize / 4;
    let groups = norm_groups(elements);
    let partials = gpu.buffer("sums of squares", u64::from(groups) * 4)?;
    let mut graph = Graph::inference(gpu);
    let [gradient, to] = [gradient, &partials].map(|buffer| graph.recorder().bind(&buffer.into()));
    let options = AdamWOptions::default();
    let params = Params { vectors: vectors(elements), groups, ..Params::of(options, groups) };
    record_norm(&mut graph, params, gradient, to)?;
    Ok((graph.finish("norm")?, partials, groups as usize))
}

impl Params {
    /// What all kernels of a step share.
    fn of(options: AdamWOptions, partials: u32) -> Self {
        Params {
            vectors: 0,
            partials,
            first: 0,
            beta1: options.beta1,
            beta2: options.beta2,
            epsilon: options.epsilon,
            decay: 0.0,
            clip: options.clip,
            growth: 0,
            start: 0,
            groups: 0,
        }
    }
}

fn record(
    parameters: &Parameters,
    options: AdamWOptions,
    totals: &Totals,
    moments: &[(Buffer, Buffer)],
    [control, state, report]: [&Buffer; 3],
) -> Result<Recording> {
    let mut graph = Graph::inference(parameters.gpu());
    let norm_groups: Vec<u32> =
        parameters.segments().iter().map(|segment| norm_groups(segment.elements)).collect();
    let count = norm_groups.iter().sum::<u32>() as usize;
    let partials = graph.scratch("adamw", count)?;
    let growth = if is_mixed(parameters) { GROWTH } else { 0 };
    let base = Params { growth, ..Params::of(options, count as u32) };
    let kind = parameters.gpu().capabilities().kind;
    // None of the dispatches takes long; how many there are changes no bit.
    let most = parameters.gpu().most_operations() / OPERATIONS_PER_BYTE;
    let mut bound = Vec::new();
    let mut partial = 0;
    for (segment, &all) in parameters.segments().iter().zip(&norm_groups) {
        let gradients = segment
            .gradients
            .as_ref()
            .ok_or_else(|| Error::config("optimizer", "trained parameters", "parameters for inference"))?;
        let gradients = graph.recorder().bind(&gradients.into());
        let params = Params { vectors: vectors(segment.elements), first: partial, groups: all, ..base };
        partial += all;
        record_norm(&mut graph, params, gradients, partials)?;
        bound.push(gradients);
    }
    let mut bind = |buffer: &Buffer| graph.recorder().bind(&buffer.into());
    let (control, writes) = (bind(control), [bind(state), bind(report)]);
    let [loss, correct, tickets] =
        [totals.loss(), totals.correct(), totals.tickets()].map(|total| graph.recorder().bind(&total));
    let reads = [control, partials, loss, correct, tickets];
    graph.dispatch((&DECIDE, CONSTANTS), base, &reads, &writes, [1, 1, 1])?;
    for ((segment, gradients), (first, second)) in parameters.segments().iter().zip(bound).zip(moments) {
        let mut bind = |buffer: &Buffer| graph.recorder().bind(&buffer.into());
        let (state, values, first, second) = (bind(state), bind(&segment.values), bind(first), bind(second));
        let decay = if segment.decay { options.weight_decay } else { 0.0 };
        let halves = segment.halves.as_ref().map(&mut bind);
        let kernel = match halves {
            Some(_) => (&UPDATE_HALVES, &[CONSTANTS[0], DType::F16.out_elem()][..]),
            None => (&UPDATE, CONSTANTS),
        };
        // Gradient, value and two moments are read and written.
        let room = (most / 32.0) as usize / ALIGNMENT * ALIGNMENT;
        for start in (0..segment.elements).step_by(room.max(ALIGNMENT)) {
            let elements = room.max(ALIGNMENT).min(segment.elements - start);
            let part =
                |view: View, bytes: usize| view.part((start * bytes) as u64, (elements * bytes) as u64);
            let params = Params { vectors: vectors(elements), decay, ..base };
            let groups = [vectors(elements).div_ceil(LANES).min(update_groups(kind)), 1, 1];
            let mut writes = [gradients, values, first, second].map(|view| part(view, 4)).to_vec();
            writes.extend(halves.map(|view| part(view, 2)));
            graph.dispatch(kernel, params, &[state], &writes, groups)?;
        }
    }
    graph.recorder().relay(control.part(4, 4), writes[1].part(24, 4));
    graph.finish("optimizer step")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_loss_scale_grows_with_the_targets() {
        let found = [1, 512, 513, 4864, 1 << 20].map(super::first_loss_scale);
        assert_eq!(found, [65536.0, 65536.0, 131_072.0, 1_048_576.0, 16_777_216.0]);
    }

    #[test]
    fn a_report_of_another_step_is_rejected() {
        assert!(super::verify(7, 7).is_ok());
        let error = super::verify(0, 7).unwrap_err().to_string();
        assert!(error.contains("not completed"), "{error}");
    }
}
