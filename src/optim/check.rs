//! Compares AdamW on the GPU with an f64 reference on the CPU, step by step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{AdamW, AdamWOptions, Tickets, Totals};
use crate::gpu::Gpu;
use crate::nn::{Declaration, Parameters};
use crate::ops::check::{Outcome, normal};
use crate::{Error, Result};

/// Values, moments and norm may differ by this relative L2 distance.
const TOLERANCE: f64 = 1e-5;

/// Large, so that whatever is wrong with an update shows.
const RATE: f32 = 0.1;

/// A parameter that weight decay applies to, and one that it does not.
const NAMES: [&str; 2] = ["decayed", "plain"];

/// What one step is given.
#[derive(Debug, Clone, Copy)]
enum Given {
    /// Normal gradients of this deviation.
    Gradient(f32),
    /// The same with one value put among them.
    With(f32),
    /// A loss that is not a number, beside good gradients.
    LostLoss,
}

/// One comparison: a few steps with one set of options.
pub struct Case {
    name: &'static str,
    options: AdamWOptions,
    /// Elements of the two parameters.
    sizes: [usize; 2],
    steps: Vec<Given>,
}

/// Comparisons with the reference: with and without clipping, with and without steps to skip, for the
/// tests and `wgrad doctor`.
pub fn cases() -> Vec<Case> {
    let options = AdamWOptions::default();
    let loose = AdamWOptions { beta1: 0.7, beta2: 0.9, epsilon: 0.05, weight_decay: 0.3, clip: 0.0 };
    let steps = vec![Given::Gradient(1.0), Given::Gradient(3.0), Given::Gradient(0.01), Given::Gradient(1.0)];
    let mut broken = steps.clone();
    // The square of 1e30 is beyond f32.
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30].map(Given::With);
    for (at, given) in [(0, bad[0]), (2, bad[1]), (3, bad[2]), (5, Given::LostLoss), (7, bad[3])] {
        broken.insert(at, given);
    }
    let case = |name, options, sizes, steps: &[Given]| Case { name, options, sizes, steps: steps.to_vec() };
    vec![
        case("clipped", options, [129, 7], &steps),
        case("not clipped", loose, [7, 129], &steps),
        case("shorter than the clip", AdamWOptions { clip: 1e3, ..loose }, [1, 1], &steps),
        // More than the invocations of a dispatch, so that each has several elements.
        case("many elements", options, [70_001, 2049], &steps[..2]),
        case("steps to skip", options, [33, 65], &broken),
    ]
}

/// AdamW as the paper writes it, in f64.
struct Reference {
    options: AdamWOptions,
    step: i32,
    /// Weights, first and second moments of each parameter.
    tensors: [[Vec<f64>; 3]; 2],
}

impl Reference {
    /// No loss scale, no steps counted for it, β1ᵗ, β2ᵗ and t.
    fn state(&self) -> [f64; 5] {
        let power = |beta: f32| f64::from(beta).powi(self.step);
        [1.0, 0.0, power(self.options.beta1), power(self.options.beta2), f64::from(self.step)]
    }

    /// Returns the gradient's norm and whether it was used.
    fn step(&mut self, gradients: &[Vec<f32>; 2], loss: f32) -> (f64, bool) {
        let squares = gradients.iter().flatten().map(|&g| f64::from(g).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        // What f32 cannot hold is not finite on the device.
        if !((norm * norm) as f32).is_finite() || !loss.is_finite() {
            return (norm, false);
        }
        self.step += 1;
        let AdamWOptions { beta1, beta2, epsilon, weight_decay, clip } = self.options;
        let [b1, b2, epsilon, decay, clip] = [beta1, beta2, epsilon, weight_decay, clip].map(f64::from);
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let rate = f64::from(RATE);
        for (([w, m, v], gradient), decay) in self.tensors.iter_mut().zip(gradients).zip([decay, 0.0]) {
            for (i, &g) in gradient.iter().enumerate() {
                let g = f64::from(g) * scale;
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                let (mean, square) = (m[i] / (1.0 - b1.powi(self.step)), v[i] / (1.0 - b2.powi(self.step)));
                w[i] -= rate * (decay * w[i] + mean / (square.sqrt() + epsilon));
            }
        }
        (norm, true)
    }
}

impl Case {
    /// Runs both sides and compares weights, moments, state, norm and whether the step was skipped, after each step.
    /// The outcome's name tells where the error was largest.
    ///
    /// # Errors
    /// Those of the optimizer. A wrong result is no error but an [`Outcome`] that did not pass.
    pub async fn run(&self, gpu: &Gpu) -> Result<Outcome> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut draw = |count: usize, scale: f32| -> Vec<f32> {
            (0..count).map(|_| scale * normal(&mut random)).collect()
        };
        let declare = |index: usize| {
            let (name, shape) = (NAMES[index].to_string(), vec![self.sizes[index]]);
            vec![Declaration { name, shape, decay: index == 0 }]
        };
        let parameters = Parameters::new(gpu, &[declare(0), declare(1)], true)?;
        let totals = Totals::new(gpu)?;
        let mut optimizer = AdamW::new(&parameters, self.options, &totals)?;
        let mut reference = Reference { options: self.options, step: 0, tensors: Default::default() };
        for (index, [w, m, v]) in reference.tensors.iter_mut().enumerate() {
            let values = draw(self.sizes[index], 1.0);
            parameters.write(NAMES[index], &values)?;
            *w = values.into_iter().map(f64::from).collect();
            (*m, *v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
        }
        let mut worst = (0.0, String::new());
        let mut note = |error: f64, what: &dyn Fn() -> String| {
            // NaN is the worst of all.
            let better = error <= worst.0 || worst.0.is_nan();
            if !better {
                worst = (error, what());
            }
        };
        for (number, &given) in (1..).zip(&self.steps) {
            let (scale, loss) = match given {
                Given::Gradient(scale) => (scale, 1.0),
                Given::With(_) => (1.0, 1.0),
                Given::LostLoss => (1.0, f32::NAN),
            };
            let mut gradients = self.sizes.map(|size| draw(size, scale));
            if let Given::With(value) = given {
                gradients[number % 2][0] = value;
            }
            for (name, gradient) in NAMES.iter().zip(&gradients) {
                let (segment, offset, _) = parameters.locate(name)?;
                let buffer = parameters.segments()[segment].gradients.as_ref();
                let buffer = buffer.ok_or_else(|| Error::config("gradient", "trained parameters", name))?;
                gpu.write(buffer, offset as u64 * 4, gradient);
            }
            let mut tickets = Tickets::default();
            tickets.issue();
            for (region, value) in [(totals.loss(), loss), (totals.tickets(), tickets.sum())] {
                gpu.write(&region.buffer, region.offset, &[value]);
            }
            let report = optimizer.step(&parameters, RATE, &tickets).await?;
            let (norm, used) = reference.step(&gradients, loss);
            if report.applied != used {
                note(f64::INFINITY, &|| format!("step {number}, whether it is skipped"));
            }
            if used {
                note((f64::from(report.norm) - norm).abs() / norm, &|| format!("step {number}, the norm"));
            }
            let state = optimizer.read(&parameters, "adamw.step").await?;
            note(distance(&state, &reference.state()), &|| format!("step {number}, the state"));
            for (name, [w, m, v]) in NAMES.iter().zip(&reference.tensors) {
                let found = [
                    parameters.read(name).await?,
                    optimizer.read(&parameters, &format!("exp_avg.{name}")).await?,
                    optimizer.read(&parameters, &format!("exp_avg_sq.{name}")).await?,
                ];
                for ((found, exact), what) in found.iter().zip([w, m, v]).zip(["values", "mean", "square"]) {
                    note(distance(found, exact), &|| format!("step {number}, {what} of {name}"));
                }
            }
        }
        let (error, place) = worst;
        Ok(Outcome {
            name: format!("{} ({place})", self.name),
            forward: (error, TOLERANCE),
            gradients: vec![],
        })
    }
}

/// The relative L2 distance.
fn distance(found: &[f32], exact: &[f64]) -> f64 {
    let error: f64 = found.iter().zip(exact).map(|(&y, r)| (f64::from(y) - r).powi(2)).sum();
    let norm: f64 = exact.iter().map(|r| r * r).sum();
    (error / norm.max(1e-30)).sqrt()
}
