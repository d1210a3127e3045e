//! Compares optimizers on the GPU with f64 references on the CPU, step by step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::rules::Element;
use super::{GroupOptions, Optimizer, OptimizerOptions, Proofs, Rule, Totals};
use crate::gpu::Gpu;
use crate::nn::{Declarations, Init, Parameters, Role};
use crate::ops::check::{Outcome, Worst, normal};
use crate::{Error, Result};

/// Values, moments and norm may differ by this relative L2 distance.
const TOLERANCE: f64 = 1e-5;

/// Large, so that whatever is wrong with an update shows.
const RATE: f32 = 0.1;

/// A parameter that weight decay applies to, and one that it usually does not.
const NAMES: [&str; 2] = ["decayed.weight", "plain"];
const ROLES: [Role; 2] = [Role::Matrix, Role::Vector];

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
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    options: OptimizerOptions,
    /// Elements of the two parameters.
    sizes: [usize; 2],
    steps: Vec<Given>,
}

/// Comparisons of `rule` with its reference: with and without clipping, with and without steps to skip, with settings
/// by role, for the tests and `wgrad doctor`.
pub fn cases(rule: Rule) -> Vec<Case> {
    let group = GroupOptions { rule, ..GroupOptions::default() };
    let other = GroupOptions { beta1: 0.7, beta2: 0.9, epsilon: 0.05, weight_decay: 0.3, ..group };
    let (options, loose) = (OptimizerOptions::uniform(group, 0.5), OptimizerOptions::uniform(other, 0.0));
    let mut apart = options;
    apart.groups[Role::Vector as usize] = GroupOptions { learning_rate: 0.5, ..other };
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
        case("shorter than the clip", OptimizerOptions { clip: 1e3, ..loose }, [1, 1], &steps),
        // More than the invocations of a dispatch, so that each has several elements.
        case("many elements", options, [70_001, 2049], &steps[..2]),
        case("settings by role", apart, [33, 65], &steps),
        case("steps to skip", apart, [33, 65], &broken),
    ]
}

/// The rules as their papers write them, in f64.
struct Reference {
    options: OptimizerOptions,
    step: i32,
    /// Weights and moments of each parameter.
    tensors: [Vec<Vec<f64>>; 2],
}

impl Reference {
    /// No loss scale, no steps counted for it, what the rule keeps beside the moments, and the number of steps.
    fn state(&self) -> Vec<f64> {
        let group = self.options.of(ROLES[0]);
        let scalars = group.rule.definition().scalars.as_ref();
        let kept = scalars.map_or(Vec::new(), |scalars| (scalars.reference)(group, self.step));
        [vec![1.0, 0.0], kept, vec![f64::from(self.step)]].concat()
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
        let clip = f64::from(self.options.clip);
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        for ((tensors, gradient), role) in self.tensors.iter_mut().zip(gradients).zip(ROLES) {
            let group = self.options.of(role);
            for (i, &g) in gradient.iter().enumerate() {
                let (weight, moments) = tensors.split_at_mut(1);
                let mut values: Vec<f64> = moments.iter().map(|moment| moment[i]).collect();
                (group.rule.definition().reference)(
                    group,
                    &mut Element {
                        step: self.step,
                        rate: f64::from(RATE),
                        gradient: f64::from(g) * scale,
                        weight: &mut weight[0][i],
                        moments: &mut values,
                    },
                );
                moments.iter_mut().zip(values).for_each(|(moment, value)| moment[i] = value);
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
        let mut declarations = Declarations::default();
        declarations.scope().matrix(&["decayed"], [1, self.sizes[0]], Init::Zeros);
        declarations.scope().vector("plain", self.sizes[1], Init::Zeros);
        let parameters = Parameters::new(gpu, &declarations, None, self.options.division(), |_| true)?;
        let totals = Totals::new(gpu)?;
        let mut optimizer = Optimizer::new(&parameters, self.options, &totals)?;
        let mut reference = Reference { options: self.options, step: 0, tensors: Default::default() };
        let moments = ROLES.map(|role| self.options.of(role).rule.definition().moments);
        for (index, tensors) in reference.tensors.iter_mut().enumerate() {
            let values = draw(self.sizes[index], 1.0);
            parameters.write(NAMES[index], &values)?;
            *tensors = vec![vec![0.0; values.len()]; 1 + moments[index].len()];
            tensors[0] = values.into_iter().map(f64::from).collect();
        }
        let mut worst = Worst::none(String::new());
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
            let mut proofs = Proofs::default();
            proofs.issue();
            for (region, value) in [(totals.loss(), loss), (totals.proofs(), proofs.sum())] {
                gpu.write(&region.buffer, region.offset, &[value]);
            }
            let report = optimizer.step(RATE, &proofs).await?;
            let (norm, used) = reference.step(&gradients, loss);
            if report.applied != used {
                worst.note(f64::INFINITY, || format!("step {number}, whether it is skipped"));
            }
            if used {
                let error = (f64::from(report.norm) - norm).abs() / norm;
                worst.note(error, || format!("step {number}, the norm"));
            }
            let state = optimizer.read(&parameters, &optimizer.step_name()).await?;
            worst.note(distance(&state, &reference.state()), || format!("step {number}, the state"));
            for (index, (name, tensors)) in NAMES.iter().zip(&reference.tensors).enumerate() {
                let found = parameters.read(name).await?;
                worst.note(distance(&found, &tensors[0]), || format!("step {number}, values of {name}"));
                for (moment, exact) in moments[index].iter().zip(&tensors[1..]) {
                    let tensor = format!("{moment}.{name}");
                    let found = optimizer.read(&parameters, &tensor).await?;
                    worst.note(distance(&found, exact), || format!("step {number}, {tensor}"));
                }
            }
        }
        Ok(Outcome {
            name: format!("{} ({})", self.name, worst.of),
            forward: (worst.error, TOLERANCE),
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
