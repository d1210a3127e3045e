//! A trainer small enough for the CPU: a masked token is guessed from the token before it.
//!
//! `logits = W·E[previous]`, with the model's decoder as W [V, C] and its word embedding as E [V, C]; gradient
//! descent with momentum, in f32 and in a fixed order. The model's other tensors stay as they start.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use wgrad::data::Batch;
use wgrad::nn::initial_values;
use wgrad::train::{Evaluation, StepEngine, StepReport, TrainConfig};
use wgrad::{Error, Result};

const E: &str = "bert.embeddings.word_embeddings.weight";
const W: &str = "cls.predictions.decoder.weight";
const MOMENTUM: f32 = 0.9;
const STEPS: &str = "steps";

/// What goes wrong in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The gradient is not finite; the trainer notices.
    Skip,
    /// The loss is not a number.
    Nan,
    /// The device is gone.
    Lost,
    /// The driver drops the work of this step.
    Dropped,
    /// The process ends: nothing is saved.
    Killed,
    /// The update is so large that no gradient is finite after it.
    Explode,
}

/// Called with the number of the trainer (from 1) and the step (from 1), before the step is done.
type Before = dyn FnMut(u32, u64) -> Option<Fault>;

/// What happens to the trainers of one run.
pub struct Script {
    pub opened: Cell<u32>,
    /// The most steps that were under way at once.
    pub most_begun: Cell<u32>,
    before: RefCell<Box<Before>>,
}

impl Script {
    pub fn new(before: impl FnMut(u32, u64) -> Option<Fault> + 'static) -> Rc<Self> {
        Rc::new(Self {
            opened: Cell::new(0),
            most_begun: Cell::new(0),
            before: RefCell::new(Box::new(before)),
        })
    }

    pub fn open(self: &Rc<Self>, config: &TrainConfig) -> Toy {
        self.opened.set(self.opened.get() + 1);
        let specs = config.model.parameters();
        let shapes: Vec<_> = specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
        let mut tensors: BTreeMap<String, Vec<f32>> =
            specs.iter().map(|spec| (spec.name.clone(), initial_values(spec, config.seed))).collect();
        for name in [E, W] {
            tensors.insert(momentum(name), vec![0.0; tensors[name].len()]);
        }
        tensors.insert(STEPS.to_owned(), vec![0.0]);
        Toy {
            script: self.clone(),
            number: self.opened.get(),
            width: config.model.hidden_size,
            shapes,
            tensors,
            begun: 0,
        }
    }
}

fn momentum(name: &str) -> String {
    format!("momentum.{name}")
}

pub struct Toy {
    script: Rc<Script>,
    number: u32,
    width: usize,
    shapes: Vec<(String, Vec<usize>)>,
    tensors: BTreeMap<String, Vec<f32>>,
    /// Steps that were begun and not finished.
    begun: u32,
}

/// Sums over masked tokens.
#[derive(Default)]
struct Sums {
    loss: f64,
    right: u64,
    masked: u64,
}

impl Toy {
    /// Adds each masked token's gradient to `gradients` (of E, then of W).
    fn run(&self, batch: &Batch, gradients: &mut [Vec<f32>; 2], sums: &mut Sums) {
        let c = self.width;
        let (embedding, decoder) = (&self.tensors[E], &self.tensors[W]);
        for (&row, &label) in batch.masked_rows.iter().zip(&batch.labels) {
            let previous = batch.input_ids[row as usize - 1] as usize;
            let hidden = &embedding[previous * c..][..c];
            let logits: Vec<f32> = decoder.chunks(c).map(|row| dot(row, hidden)).collect();
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
            sums.loss += f64::from(total.ln() + most - logits[label as usize]);
            sums.right += u64::from(logits[label as usize] == most);
            sums.masked += 1;
            for (token, logit) in logits.iter().enumerate() {
                let d_logit = (logit - most).exp() / total - if token == label as usize { 1.0 } else { 0.0 };
                for k in 0..c {
                    gradients[0][previous * c + k] += d_logit * decoder[token * c + k];
                    gradients[1][token * c + k] += d_logit * hidden[k];
                }
            }
        }
    }

    /// What is measured or saved now must not be what a further step has made of it.
    fn rests(&self) {
        assert_eq!(self.begun, 0, "a step is under way");
    }

    /// Whether a gradient can be finite.
    fn is_sound(&self) -> bool {
        self.tensors[E].iter().all(|weight| weight.abs() < 1e30)
    }

    fn zeros(&self) -> [Vec<f32>; 2] {
        [E, W].map(|name| vec![0.0; self.tensors[name].len()])
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl StepEngine for Toy {
    type Batch = Batch;
    type Step = Result<StepReport>;

    /// Changes the tensors at once, as a device would that is done before anybody asks.
    fn begin_step(&mut self, micro_batches: &[Batch], learning_rate: f64) -> Result<Self::Step> {
        self.begun += 1;
        assert!(self.begun <= 2, "only one step may be begun before another is finished");
        self.script.most_begun.set(self.script.most_begun.get().max(self.begun));
        let step = self.tensors[STEPS][0] as u64 + 1;
        let fault = (self.script.before.borrow_mut())(self.number, step);
        match fault {
            // A loss shows in what is submitted or in what is waited for.
            Some(Fault::Lost) if step.is_multiple_of(2) => return Ok(Err(lost())),
            Some(Fault::Dropped) => return Ok(Err(dropped())),
            Some(Fault::Lost) => return Err(lost()),
            Some(Fault::Killed) => return Err(Error::config("killed", "to live", "death")),
            _ => {}
        }
        self.tensors.insert(STEPS.to_owned(), vec![step as f32]);
        if let Some(Fault::Skip | Fault::Nan) = fault {
            let (loss, skipped) = if fault == Some(Fault::Nan) { (f64::NAN, false) } else { (3.0, true) };
            return Ok(Ok(StepReport { loss, accuracy: 0.0, gradient_norm: f64::INFINITY, skipped }));
        }
        if !self.is_sound() {
            return Ok(Ok(StepReport {
                loss: f64::NAN,
                accuracy: 0.0,
                gradient_norm: f64::INFINITY,
                skipped: true,
            }));
        }
        let (mut gradients, mut sums) = (self.zeros(), Sums::default());
        micro_batches.iter().for_each(|batch| self.run(batch, &mut gradients, &mut sums));
        let masked = sums.masked.max(1);
        let mut square = 0.0;
        for (name, gradient) in [E, W].into_iter().zip(&gradients) {
            let mut velocity = self.tensors[&momentum(name)].clone();
            for (v, g) in velocity.iter_mut().zip(gradient) {
                *v = MOMENTUM * *v + g / masked as f32;
                square += f64::from(g / masked as f32).powi(2);
            }
            let weights = self.tensors.get_mut(name).unwrap();
            for (weight, v) in weights.iter_mut().zip(&velocity) {
                *weight -= learning_rate as f32 * v;
            }
            self.tensors.insert(momentum(name), velocity);
        }
        if fault == Some(Fault::Explode) {
            self.tensors.insert(E.to_owned(), vec![f32::MAX; self.tensors[E].len()]);
        }
        Ok(Ok(StepReport {
            loss: sums.loss / masked as f64,
            accuracy: sums.right as f64 / masked as f64,
            gradient_norm: square.sqrt(),
            skipped: false,
        }))
    }

    async fn finish_step(&mut self, step: Self::Step) -> Result<StepReport> {
        self.begun -= 1;
        step
    }

    async fn evaluate(&mut self, batches: &[Batch]) -> Result<Evaluation> {
        self.rests();
        let (mut unused, mut sums) = (self.zeros(), Sums::default());
        batches.iter().for_each(|batch| self.run(batch, &mut unused, &mut sums));
        let masked = sums.masked.max(1) as f64;
        Ok(Evaluation { loss: sums.loss / masked, accuracy: sums.right as f64 / masked, masked: sums.masked })
    }

    fn model_tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.shapes.clone()
    }

    fn optimizer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |name: &str| self.shapes.iter().find(|(known, _)| known == name).unwrap().1.clone();
        vec![(momentum(E), shape(E)), (momentum(W), shape(W)), (STEPS.to_owned(), vec![1])]
    }

    async fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        self.rests();
        Ok(self.tensors[name].clone())
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        assert_eq!(self.tensors[name].len(), values.len(), "{name}");
        self.tensors.insert(name.to_owned(), values.to_vec());
        Ok(())
    }

    fn device(&self) -> String {
        "toy".to_owned()
    }
}

/// What a driver says when it is gone.
pub(crate) fn lost() -> Error {
    Error::DeviceLost { operation: "a step".to_owned(), message: "the lid was closed".to_owned() }
}

/// What shows that a driver has dropped something.
fn dropped() -> Error {
    Error::WorkLost { operation: "a step".to_owned(), message: "it was not completed".to_owned() }
}
