//! Finetuning steps against PyTorch: `tests/golden/finetune.py` wrote what they are compared with. And dropout: the
//! same seed is the same run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::relative;
use common::hugging_face::golden_folder;
use wgrad::data::task::Encoded;
use wgrad::files::{ModelFolder, Weights};
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{Readout, Session};
use wgrad::models::{Config, Model, Pooling, ProblemType};
use wgrad::optim::{GroupOptions, OptimizerOptions};
use wgrad::tensor::DType;
use wgrad::train::objective::{
    Classes, LabelSets, Numbers, Pairs, Targets, TextBatch, TextObjective, WeightedClasses,
};
use wgrad::train::{StepEngine, Trainer, TrainerOptions};

/// Relative L2 distance allowed between gradients, as for single operations.
const GRADIENT: f64 = 1e-4;
/// The largest difference allowed between outputs and losses.
const WHOLE_MODEL: f64 = 1e-4;
const TOKENS: usize = 32;

/// What is learned in a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Classes,
    Weighted,
    Labels,
    Number,
    /// Of texts with so many negatives each.
    Pairs(usize),
}

impl Task {
    fn objective(self) -> TextObjective {
        match self {
            Task::Classes => Box::new(Classes),
            Task::Weighted => Box::new(WeightedClasses { weights: vec![0.5, 1.25, 4.0] }),
            Task::Labels => Box::new(LabelSets),
            Task::Number => Box::new(Numbers),
            Task::Pairs(negatives) => {
                Box::new(Pairs { pooling: Pooling::Mean, factor: 20.0, at_once: 64, negatives })
            }
        }
    }
}

struct Golden {
    file: Weights,
    case: &'static str,
}

impl Golden {
    fn open(case: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/finetune.safetensors");
        Golden { file: Weights::open(path).unwrap(), case }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.file.f32(&format!("{}/{name}", self.case)).unwrap()
    }

    fn u32(&self, name: &str) -> Vec<u32> {
        let bytes = std::fs::read(self.file.path()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor(&format!("{}/{name}", self.case)).unwrap();
        assert_eq!(view.dtype(), safetensors::Dtype::I32);
        view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn named(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("{}/{prefix}", self.case);
        self.file.names().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn texts(&self) -> Vec<Encoded> {
        let (ids, types) = (self.u32("input_ids"), self.u32("token_type_ids"));
        let text = |(b, length): (usize, u32)| {
            let rows = b * TOKENS..b * TOKENS + length as usize;
            Encoded { ids: ids[rows.clone()].to_vec(), types: types[rows].to_vec(), truncated: 0 }
        };
        self.u32("lengths").into_iter().enumerate().map(text).collect()
    }

    fn batch(&self, task: Task) -> TextBatch {
        let targets = match task {
            Task::Classes | Task::Weighted => Targets::Classes(self.u32("labels")),
            Task::Labels => {
                let given = |row: &[u32]| {
                    (0..).zip(row).filter(|(_, there)| **there == 1).map(|(label, _)| label).collect()
                };
                Targets::Labels(self.u32("labels").chunks(3).map(given).collect())
            }
            Task::Number => Targets::Numbers(self.f32("labels")),
            Task::Pairs(_) => Targets::Pairs,
        };
        TextBatch { tokens: TOKENS, texts: self.texts(), targets }
    }

    /// The model of the case on a device, ready to learn.
    fn model(&self, gpu: &Gpu, task: Task) -> Model {
        let names = |count: usize| (0..count).map(|id| format!("LABEL_{id}")).collect::<Vec<_>>();
        let head = |config: &Config, count, pooling, pooler| {
            let problem = match task {
                Task::Number => ProblemType::Regression,
                Task::Labels => ProblemType::MultiLabelClassification,
                _ => ProblemType::SingleLabelClassification,
            };
            config.classifier(names(count), problem, pooling, pooler)
        };
        let write = |config: Config, body: &dyn Fn(&str) -> Vec<f32>| {
            let model = Model::new(gpu, config, true).unwrap();
            let heads = self.named("weights/");
            model
                .load(|name| {
                    let of_head = heads.iter().any(|head| head == name);
                    Ok(if of_head { self.f32(&format!("weights/{name}")) } else { body(name) })
                })
                .unwrap();
            model
        };
        if self.case.starts_with("wgrad") {
            let golden = common::golden::Golden::open("relative_untied_mask");
            let body = |name: &str| golden.f32(&format!("weights/{name}"));
            let (pooling, pooler) = match self.case {
                "wgrad_mean" => (Pooling::Mean, true),
                _ => (Pooling::Cls, false),
            };
            return write(head(&golden.config, 2, pooling, pooler), &body);
        }
        let folder = ModelFolder::load(golden_folder()).unwrap();
        let config = match task {
            Task::Pairs(_) => folder.config.encoder(),
            Task::Classes | Task::Weighted | Task::Labels => head(&folder.config, 3, Pooling::Cls, true),
            Task::Number => head(&folder.config, 1, Pooling::Cls, true),
        };
        write(config, &|name| folder.weights.f32(name).unwrap())
    }
}

const CASES: [(&str, Task); 8] = [
    ("bert_classes", Task::Classes),
    ("bert_weighted", Task::Weighted),
    ("bert_labels", Task::Labels),
    ("bert_number", Task::Number),
    ("bert_pairs", Task::Pairs(0)),
    ("bert_negatives", Task::Pairs(2)),
    ("wgrad_classes", Task::Classes),
    ("wgrad_mean", Task::Classes),
];

fn options(case: &str, dropout: f32) -> TrainerOptions {
    let (epsilon, weight_decay) = if case.starts_with("wgrad") { (1e-12, 0.01) } else { (1e-6, 0.0) };
    let group = GroupOptions { beta1: 0.9, beta2: 0.98, epsilon, weight_decay, ..Default::default() };
    let optimizer = OptimizerOptions::uniform(group, 0.0);
    TrainerOptions { storage: DType::F32, dropout, optimizer, seed: 1 }
}

#[track_caller]
fn close(found: f64, expected: f32, what: &str) {
    let expected = f64::from(expected);
    let bound = WHOLE_MODEL * expected.abs().max(1.0);
    assert!((found - expected).abs() <= bound, "{what}: {found} instead of {expected}");
}

#[test]
fn ten_steps_equal_pytorch() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for (case, task) in CASES {
            let golden = Golden::open(case);
            let mut trainer =
                Trainer::new(&gpu, golden.model(&gpu, task), task.objective(), options(case, 0.0)).unwrap();
            let batch = golden.batch(task);

            let readout = match task {
                Task::Pairs(_) => Readout::Vector { pooling: Pooling::Mean.into(), normalize: true },
                _ => Readout::Head,
            };
            let mut session = Session::new(&gpu, trainer.shared_model(), DType::F32);
            let found = pollster::block_on(session.compute(readout, &batch.texts, &mut |_| ()));
            let found = found.unwrap().concat();
            drop(session);
            for (found, expected) in found.iter().zip(golden.f32("outputs")) {
                close(f64::from(*found), expected, &format!("{case}, {kind:?}: an output"));
            }

            common::poison_gradients(&trainer.model().parameters);
            trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
            let parameters = &trainer.model().parameters;
            let names = golden.named("gradients/");
            assert!(names.len() >= 2);
            for name in names {
                let found = pollster::block_on(parameters.read_gradient(&name)).unwrap();
                let error = relative(&found, &golden.f32(&format!("gradients/{name}")));
                assert!(error <= GRADIENT, "{case}, {kind:?}: gradient of {name} off by {error:e}");
            }

            let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
            for step in 0..10 {
                let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
                close(report.loss, losses[step], &format!("{case}, {kind:?}: loss at step {step}"));
                close(report.gradient_norm, norms[step], &format!("{case}, {kind:?}: norm at step {step}"));
            }
            for name in golden.named("weights_after/") {
                let found = pollster::block_on(trainer.model().parameters.read(&name)).unwrap();
                let error = relative(&found, &golden.f32(&format!("weights_after/{name}")));
                assert!(error <= WHOLE_MODEL, "{case}, {kind:?}: {name} after ten steps off by {error:e}");
            }
        }
    }
}

/// The losses of some steps, and a weight after them.
fn run(gpu: &Gpu, seed: u64, dropout: f32, parts: usize) -> (Vec<f64>, Vec<f32>) {
    let golden = Golden::open("bert_classes");
    let options = TrainerOptions { seed, ..options("bert_classes", dropout) };
    let mut trainer = Trainer::new(gpu, golden.model(gpu, Task::Classes), Classes, options).unwrap();
    let whole = golden.batch(Task::Classes);
    let Targets::Classes(classes) = &whole.targets else { unreachable!() };
    let size = whole.texts.len() / parts;
    let batches: Vec<TextBatch> = (0..parts)
        .map(|part| TextBatch {
            tokens: TOKENS,
            texts: whole.texts[part * size..][..size].to_vec(),
            targets: Targets::Classes(classes[part * size..][..size].to_vec()),
        })
        .collect();
    let losses = (0..4).map(|_| pollster::block_on(trainer.step(&batches, 1e-3)).unwrap().loss).collect();
    let name = "bert.encoder.layer.0.intermediate.dense.weight";
    (losses, pollster::block_on(trainer.model().parameters.read(name)).unwrap())
}

#[test]
fn with_dropout_the_same_seed_is_the_same_run() {
    let Some(gpu) = common::gpu() else { return };
    let first = run(&gpu, 7, 0.1, 1);
    assert_eq!(first, run(&gpu, 7, 0.1, 1));
    let other = run(&gpu, 8, 0.1, 1);
    assert_ne!(first.0[0], other.0[0], "another seed drops others");
    let without = run(&gpu, 7, 0.0, 1);
    assert_ne!(first.0[0], without.0[0]);
    // Every step drops others: with nothing learned in between, losses would repeat.
    assert!(first.0.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_mean_over_dropout_is_near_the_loss_without() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("bert_classes");
    let batch = golden.batch(Task::Classes);
    let mean = |dropout: f32, steps: u32| {
        let options = options("bert_classes", dropout);
        let mut trainer = Trainer::new(&gpu, golden.model(&gpu, Task::Classes), Classes, options).unwrap();
        // A learning rate of 0 leaves the weights as they are.
        let losses = (0..steps)
            .map(|_| pollster::block_on(trainer.step(std::slice::from_ref(&batch), 0.0)).unwrap().loss);
        losses.sum::<f64>() / f64::from(steps)
    };
    let (with, without) = (mean(0.02, 200), mean(0.0, 1));
    assert!((with - without).abs() < 0.1 * without, "{with} with little dropout, {without} without");
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let Some(gpu) = common::gpu() else { return };
    let (whole, parts) = (run(&gpu, 1, 0.0, 1), run(&gpu, 1, 0.0, 2));
    whole.0.iter().zip(&parts.0).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
}

/// The mean of classes that count differently is that over what the whole step weighs, however it is divided.
#[test]
fn weighted_micro_batches_add_up_to_the_batch() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("bert_weighted");
    let options = options("bert_weighted", 0.0);
    let objective = WeightedClasses { weights: vec![0.5, 1.25, 4.0] };
    let mut trainer = Trainer::new(&gpu, golden.model(&gpu, Task::Weighted), objective, options).unwrap();
    let whole = golden.batch(Task::Weighted);
    let Targets::Classes(classes) = &whole.targets else { unreachable!() };
    let parts: Vec<TextBatch> = (0..whole.texts.len())
        .map(|text| TextBatch {
            tokens: TOKENS,
            texts: vec![whole.texts[text].clone()],
            targets: Targets::Classes(vec![classes[text]]),
        })
        .collect();
    let measured = pollster::block_on(trainer.evaluate(&parts)).unwrap();
    close(measured.loss, golden.f32("losses")[0], "measured in parts");
    for step in 0..3 {
        let report = pollster::block_on(trainer.step(&parts, 1e-3)).unwrap();
        close(report.loss, golden.f32("losses")[step], "learned in parts");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("bert_classes");
    let options = options("bert_classes", 0.0);
    let mut trainer = Trainer::new(&gpu, golden.model(&gpu, Task::Classes), Classes, options).unwrap();
    let good = golden.batch(Task::Classes);
    for wrong in [
        TextBatch { targets: Targets::Classes(vec![0, 1, 2, 3]), ..good.clone() },
        TextBatch { targets: Targets::Classes(vec![0]), ..good.clone() },
        TextBatch { targets: Targets::Numbers(vec![0.0; 4]), ..good.clone() },
        TextBatch { tokens: 16, ..good.clone() },
        TextBatch { texts: Vec::new(), targets: Targets::Classes(Vec::new()), ..good.clone() },
    ] {
        pollster::block_on(trainer.step(&[wrong], 1e-3)).unwrap_err();
    }
    pollster::block_on(trainer.step(&[good], 1e-3)).unwrap();
}

/// The model with f16 copies of its values.
fn with_weights_f16(model: Model) -> Model {
    let model = model.with_weights_f16().unwrap();
    for (name, _) in model.parameters.shapes() {
        let values = pollster::block_on(model.parameters.read(&name)).unwrap();
        model.parameters.write(&name, &values).unwrap();
    }
    model
}

/// Every gradient of the model of a case for a batch of its texts, repeated until there are `pairs` with so many `negatives`
/// each.
fn contrastive_gradients(
    gpu: &Gpu,
    (pairs, negatives): (usize, usize),
    at_once: usize,
) -> Vec<(String, Vec<f32>)> {
    let golden = Golden::open("bert_pairs");
    let objective = Pairs { pooling: Pooling::Mean, factor: 20.0, at_once, negatives };
    let options = options("bert_pairs", 0.0);
    let mut trainer =
        Trainer::new(gpu, golden.model(gpu, Task::Pairs(negatives)), objective, options).unwrap();
    let texts = golden.texts();
    // Texts that differ in one token each, so that no two of them are the same.
    let text = |number: usize| {
        let mut text = texts[number % texts.len()].clone();
        let middle = text.ids.len() / 2;
        text.ids[middle] = 10 + number as u32 % 50;
        text
    };
    let batch = TextBatch {
        tokens: TOKENS,
        texts: (0..(2 + negatives) * pairs).map(text).collect(),
        targets: Targets::Pairs,
    };
    assert_eq!(trainer.accumulate(&[batch]).unwrap(), pairs);
    let parameters = &trainer.model().parameters;
    let read = |name: String| {
        let gradient = pollster::block_on(parameters.read_gradient(&name)).unwrap();
        (name, gradient)
    };
    parameters.shapes().into_iter().map(|(name, _)| read(name)).collect()
}

/// A batch of pairs computed chunk by chunk has the gradient of the whole batch, not that of smaller batches.
#[test]
fn chunks_of_a_contrastive_batch_give_its_gradient() {
    let Some(gpu) = common::gpu() else { return };
    for (pairs, at_once) in
        [((24, 0), 5), ((24, 0), 1), ((33, 0), 32), ((512, 0), 32), ((25, 1), 4), ((7, 3), 2)]
    {
        let whole = contrastive_gradients(&gpu, pairs, pairs.0);
        let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let largest = whole.iter().map(|(_, values)| norm(values)).fold(0.0, f64::max);
        assert!(largest > 0.0);
        for ((name, found), (_, expected)) in contrastive_gradients(&gpu, pairs, at_once).iter().zip(&whole) {
            let off: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            // Some gradients, such as that of the keys' biases, are rounding alone.
            let bound = 1e-5 * norm(expected) + 1e-7 * largest;
            assert!(norm(&off) <= bound, "{name}: off by {:e} of {:e}", norm(&off), norm(expected));
        }
    }
}

#[test]
fn mixed_precision_learns_what_f32_learns() {
    let Some(gpu) = common::gpu() else { return };
    if !common::has_f16(&gpu) {
        return;
    }
    for (case, task) in CASES {
        let golden = Golden::open(case);
        let options = TrainerOptions { storage: DType::F16, ..options(case, 0.0) };
        let model = with_weights_f16(golden.model(&gpu, task));
        let mut trainer = Trainer::new(&gpu, model, task.objective(), options).unwrap();
        let batch = golden.batch(task);
        let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
        for step in 0..10 {
            // A first loss scale that is too large for a gradient is halved, and nothing has changed.
            let mut tries =
                (0..8).map(|_| pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap());
            let report = tries.find(|report| !report.skipped).unwrap_or_default();
            for (what, found, expected) in
                [("loss", report.loss, losses[step]), ("norm", report.gradient_norm, norms[step])]
            {
                let expected = f64::from(expected);
                let off = (found - expected).abs() / expected.abs().max(0.1);
                assert!(off < 0.03, "{case}: {what} {found} instead of {expected} at step {step}");
            }
        }
    }
}

/// All that training changes is in the tensors: written into another trainer they lead to the same bits, dropout
/// included.
#[test]
fn a_trainer_goes_on_from_the_tensors_of_another() {
    let Some(gpu) = common::gpu() else { return };
    let storages = [DType::F32, DType::F16].into_iter();
    for storage in storages.filter(|&storage| storage == DType::F32 || gpu.capabilities().f16) {
        let golden = Golden::open("bert_classes");
        let batch = golden.batch(Task::Classes);
        let options = TrainerOptions { storage, ..options("bert_classes", 0.1) };
        let trainer = || {
            let model = golden.model(&gpu, Task::Classes);
            let model = if storage == DType::F16 { with_weights_f16(model) } else { model };
            Trainer::new(&gpu, model, Classes, options).unwrap()
        };
        let step = |trainer: &mut Trainer<Classes>| {
            pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap().loss
        };
        let mut first = trainer();
        for _ in 0..3 {
            step(&mut first);
        }
        let mut second = trainer();
        for (name, _) in [first.model_tensors(), first.optimizer_tensors()].concat() {
            let values = pollster::block_on(first.read(&name)).unwrap();
            second.write(&name, &values).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(step(&mut first).to_bits(), step(&mut second).to_bits(), "{storage:?}");
        }
    }
}
