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
use wgrad::bert::{Config, Model, Pooling, ProblemType};
use wgrad::checkpoint::{ModelFolder, Weights};
use wgrad::data::task::Encoded;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::outputs::{Outputs, Wanted};
use wgrad::optim::AdamWOptions;
use wgrad::train::finetune::{Objective, Targets, TaskBatch, TaskLearner, TaskOptions};

/// Relative L2 distance allowed between gradients, as for single operations.
const GRADIENT: f64 = 1e-4;
/// The largest difference allowed between outputs and losses.
const WHOLE_MODEL: f64 = 1e-4;
const TOKENS: usize = 32;

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

    fn batch(&self, objective: Objective) -> TaskBatch {
        let targets = match objective {
            Objective::Classes => Targets::Classes(self.u32("labels")),
            Objective::Number => Targets::Numbers(self.f32("labels")),
            Objective::Pairs { .. } => Targets::Pairs,
        };
        TaskBatch { tokens: TOKENS, texts: self.texts(), targets }
    }

    /// The model of the case on a device, ready to learn.
    fn model(&self, gpu: &Gpu, objective: Objective) -> Model {
        let names = |count: usize| (0..count).map(|id| format!("LABEL_{id}")).collect::<Vec<_>>();
        let head = |config: &Config, count, pooling, pooler| {
            let problem = match objective {
                Objective::Number => ProblemType::Regression,
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
        let config = match objective {
            Objective::Pairs { .. } => folder.config.encoder(),
            Objective::Classes => head(&folder.config, 3, Pooling::Cls, true),
            Objective::Number => head(&folder.config, 1, Pooling::Cls, true),
        };
        write(config, &|name| folder.weights.f32(name).unwrap())
    }
}

const PAIRS: Objective = Objective::Pairs { pooling: Pooling::Mean, factor: 20.0 };
const CASES: [(&str, Objective); 5] = [
    ("bert_classes", Objective::Classes),
    ("bert_number", Objective::Number),
    ("bert_pairs", PAIRS),
    ("wgrad_classes", Objective::Classes),
    ("wgrad_mean", Objective::Classes),
];

fn options(case: &str, objective: Objective, dropout: f32) -> TaskOptions {
    let (epsilon, weight_decay) = if case.starts_with("wgrad") { (1e-12, 0.01) } else { (1e-6, 0.0) };
    let optimizer = AdamWOptions { beta1: 0.9, beta2: 0.98, epsilon, weight_decay, clip: 0.0 };
    TaskOptions { objective, dropout, optimizer, seed: 1 }
}

#[track_caller]
fn close(found: f64, expected: f32, what: &str) {
    let expected = f64::from(expected);
    let bound = WHOLE_MODEL * expected.abs().max(1.0);
    assert!((found - expected).abs() <= bound, "{what}: {found} instead of {expected}");
}

#[test]
fn ten_steps_equal_pytorch() {
    for kind in [AdapterKind::Software, AdapterKind::Plain] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for (case, objective) in CASES {
            let golden = Golden::open(case);
            let mut learner =
                TaskLearner::new(&gpu, golden.model(&gpu, objective), options(case, objective, 0.0)).unwrap();
            let batch = golden.batch(objective);

            let wanted = if objective == PAIRS { Wanted::Vector(Pooling::Mean) } else { Wanted::Head };
            let mut outputs = Outputs::new(&gpu, wanted);
            let mut quiet = |_| ();
            let found = outputs.compute(learner.model(), &batch.texts, &mut quiet);
            let found = pollster::block_on(found).unwrap().concat();
            for (found, expected) in found.iter().zip(golden.f32("outputs")) {
                close(f64::from(*found), expected, &format!("{case}, {kind:?}: an output"));
            }

            learner.accumulate(std::slice::from_ref(&batch)).unwrap();
            let parameters = &learner.model().parameters;
            let names = golden.named("gradients/");
            assert!(names.len() >= 2);
            for name in names {
                let found = pollster::block_on(parameters.read_gradient(&name)).unwrap();
                let error = relative(&found, &golden.f32(&format!("gradients/{name}")));
                assert!(error <= GRADIENT, "{case}, {kind:?}: gradient of {name} off by {error:e}");
            }

            let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
            for step in 0..10 {
                let report = pollster::block_on(learner.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
                close(report.loss, losses[step], &format!("{case}, {kind:?}: loss at step {step}"));
                close(report.gradient_norm, norms[step], &format!("{case}, {kind:?}: norm at step {step}"));
            }
            for name in golden.named("weights_after/") {
                let found = pollster::block_on(learner.model().parameters.read(&name)).unwrap();
                let error = relative(&found, &golden.f32(&format!("weights_after/{name}")));
                assert!(error <= WHOLE_MODEL, "{case}, {kind:?}: {name} after ten steps off by {error:e}");
            }
        }
    }
}

/// The losses of some steps, and a weight after them.
fn run(gpu: &Gpu, seed: u64, dropout: f32, parts: usize) -> (Vec<f64>, Vec<f32>) {
    let golden = Golden::open("bert_classes");
    let options = TaskOptions { seed, ..options("bert_classes", Objective::Classes, dropout) };
    let mut learner = TaskLearner::new(gpu, golden.model(gpu, Objective::Classes), options).unwrap();
    let whole = golden.batch(Objective::Classes);
    let Targets::Classes(classes) = &whole.targets else { unreachable!() };
    let size = whole.texts.len() / parts;
    let batches: Vec<TaskBatch> = (0..parts)
        .map(|part| TaskBatch {
            tokens: TOKENS,
            texts: whole.texts[part * size..][..size].to_vec(),
            targets: Targets::Classes(classes[part * size..][..size].to_vec()),
        })
        .collect();
    let losses = (0..4).map(|_| pollster::block_on(learner.step(&batches, 1e-3)).unwrap().loss).collect();
    let name = "bert.encoder.layer.0.intermediate.dense.weight";
    (losses, pollster::block_on(learner.model().parameters.read(name)).unwrap())
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
    let batch = golden.batch(Objective::Classes);
    let mean = |dropout: f32, steps: u32| {
        let options = options("bert_classes", Objective::Classes, dropout);
        let mut learner = TaskLearner::new(&gpu, golden.model(&gpu, Objective::Classes), options).unwrap();
        // A learning rate of 0 leaves the weights as they are.
        let losses = (0..steps)
            .map(|_| pollster::block_on(learner.step(std::slice::from_ref(&batch), 0.0)).unwrap().loss);
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

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("bert_classes");
    let options = options("bert_classes", Objective::Classes, 0.0);
    let mut learner = TaskLearner::new(&gpu, golden.model(&gpu, Objective::Classes), options).unwrap();
    let good = golden.batch(Objective::Classes);
    for wrong in [
        TaskBatch { targets: Targets::Classes(vec![0, 1, 2, 3]), ..good.clone() },
        TaskBatch { targets: Targets::Classes(vec![0]), ..good.clone() },
        TaskBatch { targets: Targets::Numbers(vec![0.0; 4]), ..good.clone() },
        TaskBatch { tokens: 16, ..good.clone() },
        TaskBatch { texts: Vec::new(), targets: Targets::Classes(Vec::new()), ..good.clone() },
    ] {
        pollster::block_on(learner.step(&[wrong], 1e-3)).unwrap_err();
    }
    pollster::block_on(learner.step(&[good], 1e-3)).unwrap();
}
