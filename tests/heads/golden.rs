//! Heads that label words against PyTorch, in every family, and what is found in texts against `transformers`' pipeline:
//! `tests/golden/token_heads.py` and `token_pipeline.py` wrote what they are compared with.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wgrad::data::task::Encoded;
use wgrad::files::{ModelFolder, Weights};
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{Readout, Session, TokenClassifier};
use wgrad::models::{Head, Model};
use wgrad::optim::{GroupOptions, OptimizerOptions};
use wgrad::tensor::DType;
use wgrad::train::objective::{Targets, TextBatch, TokenClasses};
use wgrad::train::{StepEngine, Trainer, TrainerOptions};

use crate::common;
use crate::common::golden::relative;

const FAMILIES: [&str; 10] = [
    "bert_silu",
    "roberta",
    "xlm_roberta",
    "camembert",
    "distilbert",
    "electra",
    "mpnet",
    "modernbert",
    "nomic_bert",
    "gte",
];
const TOKENS: usize = 20;
const CLASSES: usize = 5;
/// The largest difference allowed between outputs and losses, and relative L2 distance between gradients.
const BOUND: f64 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

struct Golden {
    file: Weights,
    bytes: Vec<u8>,
    family: &'static str,
}

impl Golden {
    fn f32(&self, name: &str) -> Vec<f32> {
        self.file.f32(&format!("{}/{name}", self.family)).unwrap()
    }

    fn i32(&self, name: &str) -> Vec<i32> {
        let tensors = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(&format!("{}/{name}", self.family)).unwrap();
        view.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn named(&self, prefix: &str) -> Vec<String> {
        let prefix = format!("{}/{prefix}", self.family);
        self.file.names().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn batch(&self) -> TextBatch {
        let (ids, labels) = (self.i32("input_ids"), self.i32("labels"));
        let lengths = self.i32("lengths");
        let text = |(b, length): (usize, &i32)| {
            let row = &ids[b * TOKENS..][..*length as usize];
            Encoded { ids: row.iter().map(|&id| id as u32).collect(), ..Encoded::default() }
        };
        let judged = |labels: &[i32]| {
            let labels = (0..).zip(labels).filter(|(_, label)| **label >= 0);
            labels.map(|(place, label)| (place, *label as u32)).collect()
        };
        TextBatch {
            tokens: TOKENS,
            texts: lengths.iter().enumerate().map(text).collect(),
            targets: Targets::Tokens(labels.chunks(TOKENS).map(judged).collect()),
        }
    }

    /// The encoder of the family with the golden head.
    fn model(&self, gpu: &Gpu) -> Model {
        let folder = ModelFolder::load(golden("families").join(self.family)).unwrap();
        let config = folder.config.token_classifier((0..CLASSES).map(|id| format!("LABEL_{id}")).collect());
        assert_eq!(config.head(), Some(Head::TokenClassifier));
        config.validate().unwrap();
        let heads = self.named("weights/");
        let model = Model::new(gpu, config, true).unwrap();
        model
            .load(|name| match heads.iter().any(|head| head == name) {
                true => Ok(self.f32(&format!("weights/{name}"))),
                false => folder.weights.f32(name),
            })
            .unwrap();
        model
    }
}

fn options() -> TrainerOptions {
    let group = GroupOptions { beta1: 0.9, beta2: 0.98, epsilon: 1e-6, ..Default::default() };
    let optimizer = OptimizerOptions::uniform(group, 0.0);
    TrainerOptions { storage: DType::F32, dropout: 0.0, optimizer, seed: 1 }
}

#[track_caller]
fn close(found: f64, expected: f32, what: &str) {
    let expected = f64::from(expected);
    let bound = BOUND * expected.abs().max(1.0);
    assert!((found - expected).abs() <= bound, "{what}: {found} instead of {expected}");
}

#[test]
fn heads_of_every_family_equal_pytorch_with_and_without_class_weights() {
    let file = golden("token_heads.safetensors");
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for family in FAMILIES {
            let golden =
                Golden { file: Weights::open(&file).unwrap(), bytes: std::fs::read(&file).unwrap(), family };
            let batch = golden.batch();
            for (kind, weights) in [("plain", Vec::new()), ("weighted", golden.f32("class_weights"))] {
                let what = format!("{family}, {kind}");
                let objective = TokenClasses { weights };
                let mut trainer = Trainer::new(&gpu, golden.model(&gpu), objective, options()).unwrap();
                let mut session = Session::new(&gpu, trainer.shared_model(), DType::F32);
                let mut progress = |_| ();
                let found = session.compute(Readout::TokenClasses, &batch.texts, &mut progress);
                let found = pollster::block_on(found).unwrap();
                for (text, (row, expected)) in
                    found.iter().zip(golden.f32("logits").chunks(TOKENS * CLASSES)).enumerate()
                {
                    assert_eq!(row.len(), batch.texts[text].ids.len() * CLASSES);
                    let pairs = row.iter().zip(expected);
                    pairs.for_each(|(a, b)| close(f64::from(*a), *b, &format!("{what}: a logit")));
                }
                drop(session);

                // In parts, whose sums weigh what the whole does.
                let parts: Vec<TextBatch> = (0..batch.texts.len())
                    .map(|text| {
                        let Targets::Tokens(list) = &batch.targets else { unreachable!() };
                        let targets = Targets::Tokens(vec![list[text].clone()]);
                        TextBatch { tokens: TOKENS, texts: vec![batch.texts[text].clone()], targets }
                    })
                    .collect();
                for batches in [std::slice::from_ref(&batch), &parts] {
                    trainer.accumulate(batches).unwrap();
                    let parameters = &trainer.model().parameters;
                    let names = golden.named(&format!("{kind}/gradients/"));
                    assert!(names.len() >= 3, "{names:?}");
                    for name in names {
                        let found = pollster::block_on(parameters.read_gradient(&name)).unwrap();
                        let error = relative(&found, &golden.f32(&format!("{kind}/gradients/{name}")));
                        assert!(error <= BOUND, "{what}: gradient of {name} off by {error:e}");
                    }
                    let loss = golden.f32(&format!("{kind}/loss"))[0];
                    let measured = pollster::block_on(trainer.evaluate(batches)).unwrap();
                    close(measured.loss, loss, &format!("{what}: measured loss"));
                }
                let loss = golden.f32(&format!("{kind}/loss"))[0];
                let step = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
                close(step.loss, loss, &format!("{what}: loss"));
                let next = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
                assert!(next.loss < step.loss, "{what}: {next:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(gpu) = common::gpu() else { return };
    let file = golden("token_heads.safetensors");
    let golden = Golden {
        bytes: std::fs::read(&file).unwrap(),
        file: Weights::open(file).unwrap(),
        family: "roberta",
    };
    let good = golden.batch();
    let with = |labels: Vec<(u32, u32)>| {
        let Targets::Tokens(mut list) = good.targets.clone() else { unreachable!() };
        list[2] = labels;
        TextBatch { targets: Targets::Tokens(list), ..good.clone() }
    };
    let mut trainer = Trainer::new(&gpu, golden.model(&gpu), TokenClasses::default(), options()).unwrap();
    for wrong in [
        with(vec![(1, 0)]),
        with(vec![(0, CLASSES as u32)]),
        with(vec![(0, 1), (0, 2)]),
        TextBatch { targets: Targets::Classes(vec![0, 1, 2]), ..good.clone() },
    ] {
        pollster::block_on(trainer.step(&[wrong], 1e-3)).unwrap_err();
    }
    // A text without a labelled word is none of the mean.
    pollster::block_on(trainer.step(&[with(Vec::new())], 1e-3)).unwrap();
    let weights = TokenClasses { weights: vec![1.0; CLASSES - 1] };
    let mut trainer = Trainer::new(&gpu, golden.model(&gpu), weights, options()).unwrap();
    let error = pollster::block_on(trainer.step(&[good], 1e-3)).unwrap_err().to_string();
    assert!(error.contains("class-weights"), "{error}");
}

#[test]
fn what_is_found_in_texts_is_what_the_pipeline_of_transformers_finds() {
    let Some(gpu) = common::gpu() else { return };
    let all: Value =
        serde_json::from_slice(&std::fs::read(golden("token_pipeline/found.json")).unwrap()).unwrap();
    for (folder, texts) in all.as_object().unwrap() {
        let folder = ModelFolder::load(golden("token_pipeline").join(folder)).unwrap();
        let mut model = TokenClassifier::open(&gpu, &folder, DType::F32).unwrap();
        assert_eq!(model.longest(), 64);
        let texts = texts.as_array().unwrap();
        let read: Vec<&str> = texts.iter().map(|text| text["text"].as_str().unwrap()).collect();
        let found = pollster::block_on(model.predict(&read, &mut |_| ())).unwrap();
        let mut kinds = std::collections::HashSet::new();
        for ((text, tagged), expected) in read.iter().zip(&found).zip(texts) {
            let expected = expected["entities"].as_array().unwrap();
            assert_eq!(tagged.entities.len(), expected.len(), "{text}: {:?}", tagged.entities);
            for (span, expected) in tagged.entities.iter().zip(expected) {
                assert_eq!(span.label, expected["label"].as_str().unwrap());
                kinds.insert(span.label.clone());
                let places = ["start", "end"].map(|key| expected[key].as_u64().unwrap() as usize);
                assert_eq!([span.start, span.end], places, "{text}");
                let characters: Vec<char> = text.chars().collect();
                assert_eq!(span.text, characters[span.start..span.end].iter().collect::<String>());
                close(span.score, expected["score"].as_f64().unwrap() as f32, text);
            }
            assert_eq!(tagged.truncated, 0);
        }
        assert!(kinds.len() > 1, "{kinds:?}");
    }
}
