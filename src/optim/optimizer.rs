//! Control and update rules joined: the recorded step over all segments, and its state by name.

use super::control::{Control, Report, Submitted};
use super::options::OptimizerOptions;
use super::rules::{GroupOptions, Part, Rule, Scalars};
use super::totals::{Proofs, Totals};
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu, OPERATIONS_PER_BYTE, Recording, Region, View, split};
use crate::nn::{ALIGNMENT, Parameters};
use crate::{Error, Result};

/// The optimizer's state for one set of [`Parameters`], and its recorded step.
#[derive(Debug)]
pub struct Optimizer {
    control: Control,
    /// How each segment is updated.
    groups: Vec<GroupOptions>,
    /// The moments of each segment.
    moments: Vec<Vec<Buffer>>,
    /// The scalars of all rules, each for those groups that it suits.
    scalars: Vec<Kept>,
    step: Recording,
}

/// The scalars of one rule and one pair of β.
#[derive(Debug)]
struct Kept {
    /// Their tensor in checkpoints; the first segment's are in the tensor of the step.
    name: Option<String>,
    /// Settings of one of the groups.
    group: GroupOptions,
    scalars: &'static Scalars,
    buffer: Buffer,
}

impl Kept {
    fn suits(&self, group: &GroupOptions) -> bool {
        let key = |group: &GroupOptions| (group.rule, group.beta1, group.beta2);
        key(&self.group) == key(group)
    }
}

/// A tensor of the state.
enum Tensor<'a> {
    /// The state of the control with, in its midst, the scalars of the first segment's rule.
    Step(Option<&'a Kept>),
    /// Further scalars.
    Scalars(&'a Kept),
    /// A moment: its buffer, first element and number of elements.
    /// Where it lies, and of which parameter it is.
    Moment { buffer: &'a Buffer, offset: usize, elements: usize, parameter: String },
}

impl Optimizer {
    /// Fresh state, and the step recorded.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Config`] for parameters without gradients, and for those that are not divided
    /// as [`OptimizerOptions::division`] says.
    pub fn new(parameters: &Parameters, options: OptimizerOptions, totals: &Totals) -> Result<Self> {
        let gpu = parameters.gpu();
        let control = Control::new(parameters, totals)?;
        let (mut groups, mut moments): (Vec<GroupOptions>, Vec<Vec<Buffer>>) = Default::default();
        let mut scalars: Vec<Kept> = Vec::new();
        for segment in parameters.trained() {
            let group = *options.of(segment.roles[0]);
            if let Some(other) = segment.roles.iter().find(|&&role| *options.of(role) != group) {
                let expected = "parameters divided by how they are updated (OptimizerOptions::division)";
                let found = format!("{} and {} in one buffer", segment.roles[0].name(), other.name());
                return Err(Error::config("optimizer", expected, found));
            }
            let definition = group.rule.definition();
            let bytes = segment.elements as u64 * 4;
            let buffers = definition.moments.iter().map(|_| gpu.buffer("the moments", bytes));
            moments.push(buffers.collect::<Result<Vec<_>>>()?);
            let known = scalars.iter().any(|kept| kept.suits(&group));
            if let Some(of_rule) = definition.scalars.as_ref().filter(|_| !known) {
                let name = format!("{}.scalars.{}", group.rule, segment.roles[0].name());
                let name = (!groups.is_empty()).then_some(name);
                let buffer = gpu.upload("the optimizer's scalars", &(of_rule.first)())?;
                scalars.push(Kept { name, group, scalars: of_rule, buffer });
            }
            groups.push(group);
        }
        let step = record(parameters, options.clip, totals, &control, &groups, &moments, &scalars)?;
        Ok(Optimizer { control, groups, moments, scalars, step })
    }

    /// Says how many targets the loss of the next step is the mean of. The first step's loss scale follows from it.
    pub fn expect(&mut self, targets: usize) {
        self.control.expect(targets);
    }

    /// Zeroes the totals, for the replays of the next step to add to. The first of them
    /// [overwrites](Graph::overwriting_gradients) the gradients; where the step is `empty` of replays they are zeroed.
    ///
    /// # Errors
    /// As [`Recording::replay`].
    pub fn begin(&mut self, empty: bool) -> Result<()> {
        self.control.begin(empty)
    }

    /// Updates the parameters from the gradients that the replays with `proofs` accumulated, and tells what
    /// happened.
    ///
    /// # Errors
    /// As [`Optimizer::submit`] and [`Optimizer::report`].
    pub async fn step(&mut self, learning_rate: f32, proofs: &Proofs) -> Result<Report> {
        self.submit(learning_rate, proofs)?;
        let step = self.begin_report(proofs.clone())?;
        self.report(step).await
    }

    /// The first half of [`Optimizer::step`]: submits the update and waits for nothing.
    ///
    /// # Errors
    /// As [`Recording::replay`]; the next step is then refused, as after one that was lost.
    pub fn submit(&mut self, learning_rate: f32, proofs: &Proofs) -> Result<()> {
        self.control.submit(&self.step, learning_rate, proofs)
    }

    /// Begins to read what the newest update did, before the next one is submitted. That one changes nothing if this
    /// one turns out to have lost something, unless [`Optimizer::report`] has said so before.
    ///
    /// # Errors
    /// As [`Gpu::begin_read`].
    pub fn begin_report(&self, proofs: Proofs) -> Result<Submitted> {
        self.control.begin_report(proofs)
    }

    /// The second half of [`Optimizer::step`]: waits for an update and tells what it did.
    ///
    /// # Errors
    /// [`Error::WorkLost`] when the driver dropped work without saying so: one of the replays, and nothing was changed,
    /// or the step itself, whose report is then an earlier one's, or the step before it. Where a step is so long that it is several
    /// submissions, a lost one may leave it half done: only the checkpoint before is whole then.
    pub async fn report(&mut self, step: Submitted) -> Result<Report> {
        self.control.report(step).await
    }

    /// What the loss is multiplied by before it is differentiated, one f32, so that gradients survive being stored
    /// as f16; 1 where nothing is. It changes from step to step.
    pub fn loss_scale(&self) -> Region {
        self.control.loss_scale()
    }

    /// Bytes of the moments and of what a step reads and reports.
    pub fn bytes(&self) -> u64 {
        let moments: u64 = self.moments.iter().flatten().map(Buffer::bytes).sum();
        let scalars: u64 = self.scalars.iter().map(|kept| kept.buffer.bytes()).sum();
        moments + scalars + self.control.bytes()
    }

    /// The name of the tensor that holds loss scale, clean steps since it changed, the scalars of the first segment's
    /// rule, and the number of steps.
    pub fn step_name(&self) -> String {
        format!("{}.step", self.groups.first().map_or(Rule::default(), |group| group.rule))
    }

    fn step_scalars(&self) -> Option<&Kept> {
        self.scalars.iter().find(|kept| kept.name.is_none())
    }

    /// Names and shapes of the state, for checkpoints.
    pub fn shapes(&self, parameters: &Parameters) -> Vec<(String, Vec<usize>)> {
        let kept = self.step_scalars().map_or(0, |kept| kept.scalars.kept);
        let mut shapes = vec![(self.step_name(), vec![3 + kept])];
        for Kept { name, scalars, .. } in &self.scalars {
            shapes.extend(name.iter().map(|name| (name.clone(), vec![scalars.kept])));
        }
        for (name, shape) in parameters.shapes() {
            let group = parameters.locate(&name).ok().and_then(|(segment, ..)| self.groups.get(segment));
            let moments = group.map_or(&[][..], |group| group.rule.definition().moments);
            shapes.extend(moments.iter().map(|moment| (format!("{moment}.{name}"), shape.clone())));
        }
        shapes
    }

    fn locate(&self, parameters: &Parameters, name: &str) -> Result<Tensor<'_>> {
        if name == self.step_name() {
            return Ok(Tensor::Step(self.step_scalars()));
        }
        if let Some(kept) = self.scalars.iter().find(|kept| kept.name.as_deref() == Some(name)) {
            return Ok(Tensor::Scalars(kept));
        }
        let unknown = || Error::config("optimizer state", "a tensor of the optimizer", name);
        let (moment, parameter) = name.split_once('.').ok_or_else(unknown)?;
        let (segment, offset, elements) = parameters.locate(parameter)?;
        let moments = self.groups.get(segment).ok_or_else(unknown)?.rule.definition().moments;
        let at = moments.iter().position(|known| *known == moment).ok_or_else(unknown)?;
        Ok(Tensor::Moment {
            buffer: &self.moments[segment][at],
            offset,
            elements,
            parameter: parameter.to_owned(),
        })
    }

    /// Reads one tensor of the state.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that [`Optimizer::shapes`] does not list.
    pub async fn read(&self, parameters: &Parameters, name: &str) -> Result<Vec<f32>> {
        let gpu = parameters.gpu();
        match self.locate(parameters, name)? {
            Tensor::Moment { buffer, offset, elements, parameter } => {
                parameters.unpadded(&parameter, gpu.read(buffer, offset as u64 * 4, elements).await?)
            }
            Tensor::Scalars(kept) => kept.read(gpu).await,
            Tensor::Step(kept) => {
                let state = self.control.read().await?;
                let mut values = vec![state.loss_scale, state.clean];
                if let Some(kept) = kept {
                    values.extend(kept.read(gpu).await?);
                }
                values.push(state.step);
                Ok(values)
            }
        }
    }

    /// Replaces one tensor of the state.
    ///
    /// # Errors
    /// As [`Optimizer::read`]; [`Error::Shape`] for another number of values.
    pub fn write(&self, parameters: &Parameters, name: &str, values: &[f32]) -> Result<()> {
        let gpu = parameters.gpu();
        let tensor = self.locate(parameters, name)?;
        let expected = match &tensor {
            Tensor::Moment { parameter, .. } => parameters.length(parameter)?,
            Tensor::Scalars(kept) => kept.scalars.kept,
            Tensor::Step(kept) => 3 + kept.map_or(0, |kept| kept.scalars.kept),
        };
        match (tensor, values) {
            _ if values.len() != expected => {
                let expected = format!("{expected} values for {name}");
                return Err(Error::shape("writing optimizer state", expected, values.len()));
            }
            (Tensor::Step(kept), [loss_scale, clean, scalars @ .., step]) => {
                self.control.write([*loss_scale, *clean, *step]);
                if let Some(kept) = kept {
                    gpu.write(&kept.buffer, 0, scalars);
                }
            }
            (Tensor::Moment { buffer, offset, parameter, .. }, _) => {
                gpu.write(buffer, offset as u64 * 4, &parameters.padded(&parameter, values)?);
            }
            (Tensor::Scalars(Kept { buffer, .. }), _) => gpu.write(buffer, 0, values),
            (Tensor::Step(_), _) => {}
        }
        Ok(())
    }
}

impl Kept {
    async fn read(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        gpu.read(&self.buffer, 0, self.scalars.kept).await
    }
}

fn record(
    parameters: &Parameters,
    clip: f32,
    totals: &Totals,
    control: &Control,
    groups: &[GroupOptions],
    moments: &[Vec<Buffer>],
    scalars: &[Kept],
) -> Result<Recording> {
    let mut graph = Graph::inference(parameters.gpu());
    let decided = control.record(&mut graph, parameters, clip, totals)?;
    let mut bound = Vec::new();
    for kept in scalars {
        let view = graph.recorder().bind(&(&kept.buffer).into());
        (kept.scalars.advance)(&mut graph, &kept.group, decided.state, view)?;
        bound.push(view);
    }
    let kind = parameters.gpu().capabilities().kind;
    let segments = parameters.trained().iter().zip(&decided.gradients);
    for ((segment, &gradients), (group, moments)) in segments.zip(groups.iter().zip(moments)) {
        let mut bind = |buffer: &Buffer| graph.recorder().bind(&buffer.into());
        let mut views = vec![bind(&segment.values)];
        views.extend(moments.iter().map(&mut bind));
        let weights_f16 = segment.weights_f16.as_ref().map(&mut bind);
        let suits = scalars.iter().zip(&bound).find(|(kept, _)| kept.suits(group));
        let shared: Vec<View> = std::iter::once(decided.state).chain(suits.map(|(_, view)| *view)).collect();
        // The gradient is read, each of the views read and written.
        let room = graph.most_operations() / (OPERATIONS_PER_BYTE * (4 + 8 * views.len()) as f64);
        for range in split(segment.elements, ALIGNMENT, room) {
            let elements = range.len();
            let part =
                |view: View, bytes: usize| view.part((range.start * bytes) as u64, (elements * bytes) as u64);
            let mut writes: Vec<View> = views.iter().map(|&view| part(view, 4)).collect();
            writes.extend(weights_f16.map(|view| part(view, 2)));
            let flops = group.rule.definition().flops;
            let part = Part {
                kind,
                elements,
                flops,
                reads: shared.iter().copied().chain([part(gradients, 4)]).collect(),
                writes,
                weights_f16: weights_f16.is_some(),
            };
            (group.rule.definition().update)(&mut graph, group, &part)?;
        }
    }
    decided.prove(graph.recorder());
    graph.finish(parameters.gpu(), "optimizer step")
}
