//! A recording under construction, and its tape of closures.

use std::collections::HashMap;
use std::fmt;

use crate::gpu::{
    Buffer, Capabilities, Constant, Dispatched, F16, Gpu, KernelSpec, Recorder, Recording, Region, Target,
    View,
};
use crate::ops;
use crate::shape::Shape;
use crate::tensor::{DType, Gradient, Tensor};
use crate::{Error, Result};

/// What an operation leaves on the tape: given the gradient of its output, it records the gradients of its
/// inputs.
type Backward = Box<dyn FnOnce(&mut Graph, &Tensor) -> Result<()>>;

struct Node {
    output: u32,
    backward: Backward,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("output", &self.output).finish_non_exhaustive()
    }
}

/// Operations append their dispatches here; [`Graph::backward`] appends those of the gradients. Nothing runs
/// before the finished [`Recording`] is replayed.
///
/// Without a tape ([`Graph::inference`]) nothing is saved for a backward pass.
///
/// Activations, their gradients and the matrices they meet are stored as f32, or as f16 ([`Graph::with_storage`]).
/// Vectors (the weights of norms), losses and the gradients of parameters are f32 always, and so is what
/// kernels compute with.
///
/// ```
/// use wgrad::autograd::Graph;
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::ops::gelu::gelu;
/// use wgrad::tensor::DType;
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
/// let mut graph = Graph::inference(&gpu);
/// let x = graph.constant(&[-1.0_f32, 0.0, 1.0], [3], DType::F32)?;
/// let y = gelu(&mut graph, &x)?;
///
/// // Memory on the way is reused after its last reader: what is to be read back is copied out.
/// let kept = graph.keep(&gpu, "y", y.view())?;
/// graph.finish(&gpu, "gelu")?.replay()?;
/// let y: Vec<f32> = pollster::block_on(gpu.read(&kept, 0, 3))?;
/// assert!((y[0] + 0.1587).abs() < 1e-3 && y[1] == 0.0 && (y[2] - 0.8413).abs() < 1e-3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Graph {
    recorder: Recorder,
    tape: Option<Vec<Node>>,
    gradients: HashMap<u32, Tensor>,
    next: u32,
    storage: DType,
    /// Where gradients of parameters were put; none where all are added to what is there.
    written: Option<Vec<View>>,
}

impl Graph {
    /// A recording without gradients.
    pub fn inference(target: impl Into<Target>) -> Self {
        Graph {
            recorder: Recorder::new(target),
            tape: None,
            gradients: HashMap::new(),
            next: 0,
            storage: DType::F32,
            written: None,
        }
    }

    /// A recording that can be differentiated.
    pub fn training(target: impl Into<Target>) -> Self {
        Graph { tape: Some(Vec::new()), ..Graph::inference(target) }
    }

    /// Stores activations as `storage`, f32 or f16.
    pub fn with_storage(self, storage: DType) -> Self {
        Graph { storage, ..self }
    }

    /// Has each gradient of a parameter overwrite what its place held before the recording; only what the recording itself
    /// put there is added to. The places of parameters to which it puts none stay as they are: see
    /// [`Graph::leaves`].
    pub fn overwriting_gradients(self) -> Self {
        Graph { written: Some(Vec::new()), ..self }
    }

    /// Whether the recording [overwrites gradients](Graph::overwriting_gradients), and so far not what is at `place`.
    pub fn leaves(&self, place: View) -> bool {
        let meets = |view: &View| {
            let (ours, theirs) = (place.offset + place.bytes, view.offset + view.bytes);
            view.buffer == place.buffer && view.offset < ours && place.offset < theirs
        };
        self.written.as_ref().is_some_and(|written| !written.iter().any(meets))
    }

    /// Whether a gradient of a parameter is added to what is at `place`, to which one is about to be put.
    fn accumulates(&mut self, place: View) -> bool {
        let overwrites = self.leaves(place);
        if overwrites && let Some(written) = &mut self.written {
            written.push(place);
        }
        !overwrites
    }

    /// How activations are stored.
    pub fn storage(&self) -> DType {
        self.storage
    }

    /// The recorder underneath.
    pub fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// What the device offers that is recorded for.
    pub fn capabilities(&self) -> &Capabilities {
        &self.recorder.target().capabilities
    }

    /// The most operations that one dispatch should hold.
    pub fn most_operations(&self) -> f64 {
        self.recorder.target().most_operations()
    }

    /// Plans memory, compiles kernels and prepares all commands, on the device that was recorded for.
    ///
    /// # Errors
    /// As [`Recorder::finish`].
    pub fn finish(self, gpu: &Gpu, label: &'static str) -> Result<Recording> {
        self.recorder.finish(gpu, label)
    }

    fn tensor(&mut self, view: View, shape: Shape, dtype: DType, gradient: Gradient) -> Tensor {
        self.next += 1;
        Tensor { id: self.next, view, shape, dtype, gradient }
    }

    /// A tensor that the caller fills before each replay. No gradient flows to it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the region is too small for `shape`.
    pub fn input(
        &mut self,
        region: impl Into<Region>,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<Tensor> {
        let view = self.recorder.bind(&region.into());
        self.place(view, shape.into(), dtype)
    }

    fn place(&mut self, view: View, shape: Shape, dtype: DType) -> Result<Tensor> {
        let bytes = shape.elements() as u64 * dtype.bytes();
        if view.bytes < bytes {
            let found = format!("{} bytes", view.bytes);
            return Err(Error::shape("input", format!("{bytes} bytes for {shape}"), found));
        }
        Ok(self.tensor(view, shape, dtype, Gradient::None))
    }

    /// A constant, which becomes part of the recording.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is too little data for `shape`.
    pub fn constant<T: bytemuck::NoUninit>(
        &mut self,
        data: &[T],
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<Tensor> {
        let view = self.recorder.constant(data);
        self.place(view, shape.into(), dtype)
    }

    /// A trained tensor of f32: its gradient is added to what `gradient` already holds, unless the graph
    /// [overwrites](Graph::overwriting_gradients) it.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn parameter(
        &mut self,
        value: impl Into<Region>,
        gradient: impl Into<Region>,
        shape: impl Into<Shape>,
    ) -> Result<Tensor> {
        self.parameter_as(DType::F32, value, gradient, shape)
    }

    /// A trained tensor whose values are read as `dtype`; its gradient is f32.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn parameter_as(
        &mut self,
        dtype: DType,
        value: impl Into<Region>,
        gradient: impl Into<Region>,
        shape: impl Into<Shape>,
    ) -> Result<Tensor> {
        let mut tensor = self.input(value, shape, dtype)?;
        if self.tape.is_some() {
            tensor.gradient = Gradient::Parameter(self.recorder.bind(&gradient.into()));
        }
        Ok(tensor)
    }

    /// A fresh tensor of activations for the result of `operation` on `parents`; a gradient flows to it when one
    /// flows to any parent.
    ///
    /// # Errors
    /// [`Error::Limit`] when it is larger than one binding.
    pub fn output(
        &mut self,
        operation: &'static str,
        shape: impl Into<Shape>,
        parents: &[&Tensor],
    ) -> Result<Tensor> {
        self.output_as(self.storage, operation, shape, parents)
    }

    /// [`Graph::output`] stored as `dtype`.
    ///
    /// # Errors
    /// As [`Graph::output`].
    pub fn output_as(
        &mut self,
        dtype: DType,
        operation: &'static str,
        shape: impl Into<Shape>,
        parents: &[&Tensor],
    ) -> Result<Tensor> {
        let shape = shape.into();
        let view = self.scratch_as(dtype, operation, shape.elements())?;
        let flows = self.tape.is_some() && parents.iter().any(|parent| parent.needs_gradient());
        let gradient = if flows { Gradient::Flows } else { Gradient::None };
        Ok(self.tensor(view, shape, dtype, gradient))
    }

    /// Room for `elements` of 4 bytes that only `operation` uses.
    ///
    /// # Errors
    /// [`Error::Limit`] when it is larger than one binding.
    pub fn scratch(&mut self, operation: &'static str, elements: usize) -> Result<View> {
        self.recorder.transient(operation, elements as u64 * 4)
    }

    /// Room for `elements` of `dtype` that only `operation` uses.
    ///
    /// # Errors
    /// [`Error::Limit`] when it is larger than one binding.
    pub fn scratch_as(&mut self, dtype: DType, operation: &'static str, elements: usize) -> Result<View> {
        self.recorder.transient(operation, elements as u64 * dtype.bytes())
    }

    /// Appends one dispatch of a kernel. Unless its constants say what its `elem` is, it is how activations are stored.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    pub fn dispatch<P: bytemuck::NoUninit>(
        &mut self,
        (spec, constants): (&KernelSpec, &[Constant]),
        params: P,
        reads: &[View],
        writes: &[View],
        groups: [u32; 3],
    ) -> Result<Dispatched<'_>> {
        let mut constants = constants.to_vec();
        if self.storage != DType::F32 && constants.iter().all(|(name, _)| *name != F16) {
            constants.push(self.storage.elem());
        }
        self.recorder.dispatch((spec, &constants), params, reads, writes, groups)
    }

    /// Has what `view` holds at this point of each replay copied into a buffer of its own, which outlives the recording:
    /// transient memory is used again after its last reader.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn keep(&mut self, gpu: &Gpu, label: &str, view: View) -> Result<Buffer> {
        let buffer = gpu.buffer(label, view.bytes)?;
        let to = self.recorder.bind(&(&buffer).into());
        self.recorder.copy(view, to);
        Ok(buffer)
    }

    /// Puts `backward` on the tape if a gradient flows to `output`.
    pub fn on_backward(
        &mut self,
        output: &Tensor,
        backward: impl FnOnce(&mut Graph, &Tensor) -> Result<()> + 'static,
    ) {
        if let (Some(tape), Gradient::Flows) = (&mut self.tape, output.gradient) {
            tape.push(Node { output: output.id, backward: Box::new(backward) });
        }
    }

    /// Adds `gradient` to the gradient of `tensor`, if one is wanted.
    ///
    /// # Errors
    /// As [`Graph::output`].
    pub fn contribute(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        match tensor.gradient {
            Gradient::None => {}
            Gradient::Parameter(view) => {
                if !self.accumulates(view) {
                    self.recorder.clear(view);
                }
                ops::add::accumulate(self, view, &gradient)?;
            }
            Gradient::Flows => {
                // The sum is a tensor of its own, because the one that is there may also be another tensor's gradient.
                let sum = match self.gradients.remove(&tensor.id) {
                    Some(there) => ops::add::forward(self, &there, &gradient)?,
                    None => gradient,
                };
                self.gradients.insert(tensor.id, sum);
            }
        }
        Ok(())
    }

    /// Has `write` put a gradient of `tensor` somewhere, if one is wanted. It is told where, and whether to
    /// add to what is there (a parameter's accumulated gradient, f32) or to overwrite it (an activation's, and a parameter's
    /// [first one](Graph::overwriting_gradients)).
    ///
    /// # Errors
    /// Those of `write`, and as [`Graph::output`].
    pub fn contribute_with(
        &mut self,
        operation: &'static str,
        tensor: &Tensor,
        write: impl FnOnce(&mut Graph, View, bool) -> Result<()>,
    ) -> Result<()> {
        match tensor.gradient {
            Gradient::None => Ok(()),
            Gradient::Parameter(view) => {
                let accumulate = self.accumulates(view);
                write(self, view, accumulate)
            }
            Gradient::Flows => {
                let gradient = self.output_as(tensor.dtype, operation, tensor.shape.dims(), &[])?;
                write(self, gradient.view, false)?;
                self.contribute(tensor, gradient)
            }
        }
    }

    /// Has `write` compute a gradient of `tensor`, if one is wanted. It is told where to put it, and the gradient that is
    /// there already, if there is one: it is to be added, so that the sum takes no pass of its own.
    ///
    /// # Errors
    /// Those of `write`, and as [`Graph::output`].
    pub fn contribute_onto(
        &mut self,
        operation: &'static str,
        tensor: &Tensor,
        write: impl FnOnce(&mut Graph, View, Option<View>) -> Result<()>,
    ) -> Result<()> {
        if !tensor.needs_gradient() {
            return Ok(());
        }
        // Only gradients of activations are kept by number. A parameter's accumulates, and `contribute` adds to it.
        let there = self.gradients.remove(&tensor.id);
        let gradient = self.output_as(tensor.dtype, operation, tensor.shape.dims(), &[])?;
        write(self, gradient.view, there.map(|there| there.view))?;
        self.contribute(tensor, gradient)
    }

    /// How a gradient of `tensor` is stored where [`Graph::contribute_with`] wants it to be written.
    pub fn gradient_dtype(&self, tensor: &Tensor) -> DType {
        match tensor.gradient {
            Gradient::Parameter(_) => DType::F32,
            Gradient::None | Gradient::Flows => tensor.dtype,
        }
    }

    /// Records what `compute` records, and keeps nothing of it but the result: the backward pass records it again before
    /// its gradients. It takes the time of another forward pass, and the memory of intermediate results only while they
    /// are needed (gradient checkpointing, Chen et al. 2016).
    ///
    /// Both times it must record the same. Gradients may flow out of it to parameters and to other tensors.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn recompute(&mut self, compute: impl Fn(&mut Graph) -> Result<Tensor> + 'static) -> Result<Tensor> {
        let tape = self.tape.take();
        let computed = compute(self);
        self.tape = tape;
        let mut result = computed?;
        if self.tape.is_none() {
            return Ok(result);
        }
        result.gradient = Gradient::Flows;
        self.on_backward(&result, move |graph, d_result| {
            let again = compute(graph)?;
            graph.contribute(&again, d_result.clone())?;
            graph.unwind()
        });
        Ok(result)
    }

    /// Records the gradients of everything on the tape, given the gradient `d_output` of `output`. The tape
    /// is empty afterwards.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn backward(&mut self, output: &Tensor, d_output: Tensor) -> Result<()> {
        self.contribute(output, d_output)?;
        self.unwind()?;
        self.gradients.clear();
        Ok(())
    }

    /// Records the gradients of everything on the tape, newest first.
    fn unwind(&mut self) -> Result<()> {
        let nodes = self.tape.as_mut().map(std::mem::take).unwrap_or_default();
        for node in nodes.into_iter().rev() {
            // Nothing that was differentiated used this output.
            let Some(gradient) = self.gradients.remove(&node.output) else { continue };
            (node.backward)(self, &gradient)?;
        }
        Ok(())
    }
}
