//! Compares an operation on the GPU with an f64 reference on the CPU: its result, and its gradients with
//! central differences of the reference.

use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;

use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

type OnGpu = Box<dyn Fn(&mut Graph, &[Tensor]) -> Result<Tensor>>;
type OnCpu = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64>>;

/// How close a result must be to the reference.
#[derive(Debug, Clone, Copy)]
pub enum Metric {
    /// The largest `|y - r| / (1 + |r|)`.
    Elementwise(f64),
    /// The mean squared error relative to the reference's mean square.
    Nmse(f64),
}

/// The largest of several errors, and what it is the error of. NaN is the worst of all: once there, it stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst<T> {
    /// The error; 0 before there is one.
    pub error: f64,
    /// What it is the error of.
    pub of: T,
}

impl<T> Worst<T> {
    /// No error yet.
    pub fn none(of: T) -> Self {
        Worst { error: 0.0, of }
    }

    /// Another error, of what `of` says.
    pub fn note(&mut self, error: f64, of: impl FnOnce() -> T) {
        let better = error <= self.error || self.error.is_nan();
        if !better {
            *self = Worst { error, of: of() };
        }
    }
}

/// Gradients may differ by this relative L2 distance.
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// The same where activations are stored as f16: each carries a relative error of up to 2^-11.
const GRADIENT_TOLERANCE_F16: f64 = 4e-3;

/// The bound of a result that is stored as f16, a normalized mean squared error.
const NMSE_F16: f64 = 1e-6;

/// NaN, as one f32 and as two f16: reading what nobody wrote shows.
pub const POISON: u32 = 0x7fc0_7fc0;

/// Named random inputs, all differentiable.
#[derive(Debug)]
pub struct Inputs {
    random: ChaCha8Rng,
    list: Vec<Input>,
}

#[derive(Debug)]
struct Input {
    name: &'static str,
    shape: Vec<usize>,
    values: Vec<f32>,
    /// Whether it is f32 however activations are stored.
    vector: bool,
}

impl Inputs {
    /// None yet; the same `seed` draws the same values.
    pub fn new(seed: u64) -> Self {
        Inputs { random: ChaCha8Rng::seed_from_u64(seed), list: Vec::new() }
    }

    /// Adds a tensor of normal values around 0.
    pub fn normal(self, name: &'static str, shape: &[usize], deviation: f32) -> Self {
        self.normal_around(name, shape, 0.0, deviation)
    }

    /// Adds a tensor of normal values around `mean`.
    pub fn normal_around(mut self, name: &'static str, shape: &[usize], mean: f32, deviation: f32) -> Self {
        let count = shape.iter().product();
        let values = (0..count).map(|_| mean + deviation * normal(&mut self.random)).collect();
        self.list.push(Input { name, shape: shape.to_vec(), values, vector: false });
        self
    }

    /// The tensor added last is f32 however activations are stored, as weights of norms are.
    pub fn always_f32(mut self) -> Self {
        if let Some(input) = self.list.last_mut() {
            input.vector = true;
        }
        self
    }
}

/// A standard normal value.
pub(crate) fn normal(random: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / 4294967296.0;
    crate::random::normal([uniform(), uniform()], 1.0)[0] as f32
}

/// One comparison.
pub struct Case {
    name: String,
    inputs: Inputs,
    metric: Metric,
    /// What gradients are at least compared with.
    cancelling: f64,
    on_gpu: OnGpu,
    on_cpu: OnCpu,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("inputs", &self.inputs)
            .field("metric", &self.metric)
            .finish_non_exhaustive()
    }
}

/// How a comparison came out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// The error of the result, and its bound.
    pub forward: (f64, f64),
    /// For each input: its name, the relative error of its gradient, and its bound.
    pub gradients: Vec<(&'static str, f64, f64)>,
}

impl Outcome {
    /// Whether every error is within its bound. NaN is not.
    pub fn passed(&self) -> bool {
        let within = |error: f64, bound: f64| error <= bound;
        within(self.forward.0, self.forward.1) && self.gradients.iter().all(|g| within(g.1, g.2))
    }
}

impl Case {
    /// A comparison of `inputs` that still needs its two sides.
    pub fn new(name: impl Into<String>, inputs: Inputs, metric: Metric) -> Self {
        Case {
            name: name.into(),
            inputs,
            metric,
            cancelling: 1e-6,
            on_gpu: Box::new(|_, x| Ok(x[0].clone())),
            on_cpu: Box::new(|_| Vec::new()),
        }
    }

    /// What is compared.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operation; it gets the inputs in order.
    pub fn gpu(mut self, run: impl Fn(&mut Graph, &[Tensor]) -> Result<Tensor> + 'static) -> Self {
        self.on_gpu = Box::new(run);
        self
    }

    /// The same under what `name` makes of its name.
    pub fn renamed(mut self, name: impl FnOnce(&str) -> String) -> Self {
        self.name = name(&self.name);
        self
    }

    /// Gradients are differences of terms of this size that may cancel altogether: what rounding leaves of them is
    /// compared with it. Some devices fuse a product and a sum where others round in between.
    pub fn cancelling(mut self, size: f64) -> Self {
        self.cancelling = size;
        self
    }

    /// The reference. NaN marks elements whose value is unspecified.
    pub fn reference(mut self, run: impl Fn(&[Vec<f64>]) -> Vec<f64> + 'static) -> Self {
        self.on_cpu = Box::new(run);
        self
    }

    /// Runs both sides, activations stored as `storage`. Gradients are compared at up to `samples` elements of each
    /// input.
    ///
    /// # Errors
    /// Those of the operation. A wrong result is no error but an [`Outcome`] that did not pass.
    pub async fn run(&self, gpu: &Gpu, storage: DType, samples: usize) -> Result<Outcome> {
        let exact: Vec<Vec<f64>> = self
            .inputs
            .list
            .iter()
            .map(|input| stored(&input.values, input.dtype(storage)).into_iter().map(f64::from).collect())
            .collect();
        let reference = (self.on_cpu)(&exact);
        let mut random = ChaCha8Rng::seed_from_u64(99);
        let upstream: Vec<f32> =
            reference.iter().map(|r| if r.is_nan() { 0.0 } else { normal(&mut random) }).collect();
        let upstream = stored(&upstream, storage);
        let (result, gradients) = self.run_gpu(gpu, storage, &upstream).await?;
        if result.len() != reference.len() {
            let expected = format!("{} elements, as the reference of {}", reference.len(), self.name);
            return Err(Error::shape("check", expected, result.len()));
        }
        let objective = |inputs: &[Vec<f64>]| -> f64 {
            let values = (self.on_cpu)(inputs);
            values.iter().zip(&upstream).filter(|(r, _)| !r.is_nan()).map(|(r, &u)| r * f64::from(u)).sum()
        };
        let mut outcome = Outcome {
            name: self.name.clone(),
            forward: self.metric(storage).measure(&result, &reference),
            gradients: Vec::new(),
        };
        let tolerance = if storage == DType::F16 { GRADIENT_TOLERANCE_F16 } else { GRADIENT_TOLERANCE };
        for (index, Input { name, values, .. }) in self.inputs.list.iter().enumerate() {
            let mut inputs = exact.clone();
            let (mut error, mut norm) = (0.0, 0.0);
            // A stride that shares no factor with usual widths visits all columns.
            let stride = (values.len() / samples.max(1)).max(1) | 1;
            for element in (0..values.len()).step_by(stride) {
                let x = exact[index][element];
                let h = 1e-5 * x.abs().max(1.0);
                inputs[index][element] = x + h;
                let above = objective(&inputs);
                inputs[index][element] = x - h;
                let below = objective(&inputs);
                inputs[index][element] = x;
                let difference = (above - below) / (2.0 * h);
                error += (f64::from(gradients[index][element]) - difference).powi(2);
                norm += difference.powi(2);
            }
            outcome.gradients.push((
                name,
                (error / norm.max(self.cancelling * self.cancelling)).sqrt(),
                tolerance,
            ));
        }
        Ok(outcome)
    }

    fn metric(&self, storage: DType) -> Metric {
        if storage == DType::F16 { Metric::Nmse(NMSE_F16) } else { self.metric }
    }

    /// The operation's result and the gradients of all inputs, all transient memory poisoned first. The
    /// gradients begin at 1, so that one which overwrites instead of adding shows.
    async fn run_gpu(
        &self,
        gpu: &Gpu,
        storage: DType,
        upstream: &[f32],
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let mut graph = Graph::training(gpu).with_storage(storage);
        graph.recorder().isolate();
        let mut tensors = Vec::new();
        let mut gradients: Vec<Buffer> = Vec::new();
        for input @ Input { name, shape, values, .. } in &self.inputs.list {
            let dtype = input.dtype(storage);
            let value = upload(gpu, name, values, dtype)?;
            let gradient = gpu.upload(name, &vec![1f32; values.len()])?;
            tensors.push(graph.parameter_as(dtype, &value, &gradient, shape.as_slice())?);
            gradients.push(gradient);
        }
        let y = (self.on_gpu)(&mut graph, &tensors)?;
        let elements = y.shape.elements();
        let kept = graph.keep(gpu, "result", y.view)?;
        let d_y = graph.input(&upload(gpu, "d_y", upstream, y.dtype)?, y.shape.dims(), y.dtype)?;
        graph.backward(&y, d_y)?;
        let recording = graph.finish(gpu, "check")?;
        recording.poison(POISON);
        recording.replay()?;
        let result = download(gpu, &kept, elements, y.dtype).await?;
        let mut read = Vec::new();
        for (gradient, input) in gradients.iter().zip(&self.inputs.list) {
            let values: Vec<f32> = gpu.read(gradient, 0, input.values.len()).await?;
            read.push(values.iter().map(|g| g - 1.0).collect());
        }
        Ok((result, read))
    }
}

impl Input {
    fn dtype(&self, storage: DType) -> DType {
        if self.vector { DType::F32 } else { storage }
    }
}

/// What is left of `values` once they are stored as `dtype`.
fn stored(values: &[f32], dtype: DType) -> Vec<f32> {
    match dtype {
        DType::F16 => values.iter().map(|&x| f16::from_f32(x).to_f32()).collect(),
        DType::F32 | DType::U32 => values.to_vec(),
    }
}

/// A buffer of `values` as `dtype`.
fn upload(gpu: &Gpu, label: &str, values: &[f32], dtype: DType) -> Result<Buffer> {
    match dtype {
        DType::F16 => {
            // Buffers are written by fours of bytes.
            let mut halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            halves.resize(halves.len().next_multiple_of(2), f16::ZERO);
            gpu.upload(label, &halves)
        }
        DType::F32 | DType::U32 => gpu.upload(label, values),
    }
}

async fn download(gpu: &Gpu, buffer: &Buffer, elements: usize, dtype: DType) -> Result<Vec<f32>> {
    match dtype {
        DType::F16 => {
            let halves: Vec<f16> = gpu.read(buffer, 0, elements.next_multiple_of(2)).await?;
            Ok(halves.into_iter().take(elements).map(f16::to_f32).collect())
        }
        DType::F32 | DType::U32 => gpu.read(buffer, 0, elements).await,
    }
}

impl Metric {
    /// The error of `result` and its bound, over the elements that `reference` specifies.
    pub fn measure(self, result: &[f32], reference: &[f64]) -> (f64, f64) {
        let pairs = || {
            let all = result.iter().zip(reference).map(|(&y, &r)| (f64::from(y), r));
            all.filter(|(_, r)| !r.is_nan())
        };
        match self {
            Metric::Elementwise(bound) => {
                let mut worst = Worst::none(());
                pairs().for_each(|(y, r)| worst.note((y - r).abs() / (1.0 + r.abs()), || ()));
                (worst.error, bound)
            }
            Metric::Nmse(bound) => {
                let error: f64 = pairs().map(|(y, r)| (y - r).powi(2)).sum();
                let power: f64 = pairs().map(|(_, r)| r * r).sum();
                (error / power.max(1e-30), bound)
            }
        }
    }
}

/// Shapes that elementwise operations are tried with: one element, primes, powers of two and beside them.
pub fn elementwise_shapes() -> Vec<Vec<usize>> {
    vec![vec![1], vec![7], vec![3, 129], vec![64, 64]]
}

/// erf in f64: its Taylor series near 0, the continued fraction of erfc beyond.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return x.signum() * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..=60).rev().fold(a, |tail, n| a + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-a * a).exp() / fraction / std::f64::consts::PI.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_error_stays_and_nan_is_the_worst() {
        let worst = |errors: &[f64]| {
            let mut worst = Worst::none(9);
            errors.iter().enumerate().for_each(|(at, &error)| worst.note(error, || at));
            (worst.error, worst.of)
        };
        assert_eq!(worst(&[]), (0.0, 9));
        assert_eq!(worst(&[0.0]), (0.0, 9));
        assert_eq!(worst(&[1.0, 3.0, 2.0, 3.0]), (3.0, 1));
        assert_eq!(worst(&[1.0, f64::INFINITY, 2.0]).1, 1);
        for errors in [[f64::NAN, f64::INFINITY, 1.0], [f64::INFINITY, f64::NAN, 1.0], [0.0, 1.0, f64::NAN]] {
            let (error, at) = worst(&errors);
            assert!(error.is_nan() && errors[at].is_nan(), "{errors:?}");
        }
    }

    #[test]
    fn erf_has_its_known_values() {
        for (x, y) in
            [(0.0, 0.0), (0.5, 0.5204998778130465), (1.0, 0.8427007929497149), (2.0, 0.9953222650189527)]
        {
            assert!((erf(x) - y).abs() < 1e-14, "{x}");
            assert!((erf(-x) + y).abs() < 1e-14, "{x}");
        }
        assert!((erf(3.0) - 0.9999779095030014).abs() < 1e-14);
        assert!((erf(2.9999999) - erf(3.0000001)).abs() < 1e-9);
    }

    #[test]
    fn a_nan_never_passes() {
        let (error, bound) = Metric::Elementwise(1e-5).measure(&[f32::NAN, 0.0], &[0.0, 0.0]);
        assert!(!matches!(
            error.partial_cmp(&bound),
            Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
        ));
    }
}
