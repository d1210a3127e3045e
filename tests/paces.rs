//! On a slow device, everything that a command records is cut into submissions none of which should take long.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::folder::tokenizer;
use wgrad::data::task::Encoded;
use wgrad::gpu::{Gpu, GpuOptions, LONGEST_SUBMISSION};
use wgrad::infer::attention::AttentionReader;
use wgrad::infer::{EmbedOptions, Embedder, FillMask, Readout, Session};
use wgrad::models::{Config, Freeze, Model, Pooling, Poolings, ProblemType};
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::text::Tokenizer;
use wgrad::train::objective::{Classes, Targets, TextBatch};
use wgrad::train::{MlmOptions, Trainer, TrainerOptions};

/// Operations per second that the device is said to reach.
const SPEED: f64 = 50e9;

/// A text of this many tokens takes a model of [`config`] longer than a submission may.
const TOKENS: usize = 1024;

fn gpu() -> Option<Gpu> {
    let gpu = common::open(GpuOptions { speed: Some(SPEED), ..Default::default() })?;
    assert!(gpu.take_plans().is_empty());
    Some(gpu)
}

/// A model with the special tokens of [`tokenizer`].
fn config(vocab_size: usize) -> Config {
    Config {
        vocab_size,
        hidden_size: 384,
        intermediate_size: 1536,
        num_attention_heads: 6,
        num_hidden_layers: 4,
        max_position_embeddings: TOKENS,
        cls_token_id: 0,
        mask_token_id: 1,
        sep_token_id: 2,
        pad_token_id: 3,
        ..Config::preset("tiny").unwrap()
    }
}

fn classifier() -> Config {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    config(64).classifier(labels, ProblemType::SingleLabelClassification, Pooling::Cls, false)
}

fn model(gpu: &Gpu, config: Config, trained: bool) -> Model {
    let model = Model::new(gpu, config, trained).unwrap();
    model.initialize(1).unwrap();
    model
}

fn words() -> Tokenizer {
    Tokenizer::from_bytes(tokenizer(64)).unwrap()
}

/// As many tokens as a model sees, with a mask among them.
fn text() -> String {
    format!("[MASK] {}", "w7 ".repeat(TOKENS - 3))
}

fn encoded(tokens: usize) -> Encoded {
    Encoded { ids: vec![7; tokens], types: vec![0; tokens], truncated: 0 }
}

/// The plans of everything recorded so far, by name: none of a submission that takes long. Those of `long` are cut.
fn check(gpu: &Gpu, long: &[&str], short: &[&str]) {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, plan) in gpu.take_plans() {
        for seconds in &plan {
            assert!(*seconds <= LONGEST_SUBMISSION, "{name}: a submission of {seconds} s in {plan:?}");
        }
        let total = totals.entry(name).or_default();
        *total = total.max(plan.iter().sum());
    }
    let names: Vec<&str> = totals.keys().copied().collect();
    let mut expected = [long, short].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in long {
        // Otherwise this would say nothing.
        assert!(totals[name] > LONGEST_SUBMISSION, "{name} takes {} s in all", totals[name]);
    }
}

#[test]
fn pretraining_is_cut() {
    let Some(gpu) = gpu() else { return };
    let options = MlmOptions {
        freeze: Freeze::Nothing,
        recompute: 0,
        micro_batch: 8,
        seq_len: 128,
        targets: 64,
        storage: DType::F32,
        optimizer: OptimizerOptions::default(),
        seed: 1,
    };
    Trainer::plan(&gpu, config(48000), options).unwrap();
    let long = ["training step", "evaluation", "optimizer step"];
    check(&gpu, &long, &["clear totals", "clear totals and gradients"]);
}

#[test]
fn finetuning_is_cut() {
    let Some(gpu) = gpu() else { return };
    let options =
        TrainerOptions { storage: DType::F32, dropout: 0.1, optimizer: OptimizerOptions::default(), seed: 1 };
    let mut trainer = Trainer::new(&gpu, model(&gpu, classifier(), true), Classes, options).unwrap();
    let batch = TextBatch {
        tokens: 128,
        texts: vec![encoded(128), encoded(100)],
        targets: Targets::Classes(vec![0, 1]),
    };
    assert_eq!(trainer.accumulate(&[batch]).unwrap(), 2);
    check(&gpu, &["training step"], &["clear totals", "clear totals and gradients", "optimizer step"]);
}

#[test]
fn prediction_and_its_evaluation_are_cut() {
    let Some(gpu) = gpu() else { return };
    let model = Arc::new(model(&gpu, classifier(), false));
    let texts = [encoded(TOKENS)];
    let vector = Readout::Vector { pooling: Pooling::Mean.into(), normalize: true };
    for (readout, name) in [(Readout::Head, "outputs"), (vector, "embedding")] {
        let mut session = Session::new(&gpu, Arc::clone(&model), DType::F32);
        let found = pollster::block_on(session.compute(readout, &texts, &mut |_| {})).unwrap();
        assert_eq!(found.len(), 1);
        check(&gpu, &[name], &[]);
    }
}

#[test]
fn embedding_is_cut() {
    let Some(gpu) = gpu() else { return };
    let options = EmbedOptions { max_tokens: TOKENS, ..Poolings::from(Pooling::Mean).into() };
    let model = model(&gpu, config(64).encoder(), false);
    let mut embedder = Embedder::new(&gpu, model, words(), options).unwrap();
    let found = pollster::block_on(embedder.embed(&[text()], &mut |_| {})).unwrap();
    assert_eq!(found.tokens, TOKENS);
    check(&gpu, &["embedding"], &[]);
}

#[test]
fn filling_masks_is_cut() {
    let Some(gpu) = gpu() else { return };
    let mut model = FillMask::new(&gpu, model(&gpu, config(64), false), words()).unwrap();
    let filled = pollster::block_on(model.fill(&text(), 1)).unwrap();
    assert_eq!(filled.tokens, TOKENS);
    check(&gpu, &["prediction"], &[]);
}

#[test]
fn attention_maps_are_cut() {
    let Some(gpu) = gpu() else { return };
    let mut reader = AttentionReader::new(&gpu, model(&gpu, config(64), false), words()).unwrap();
    let read = pollster::block_on(reader.read(&text(), None)).unwrap();
    assert_eq!(read.tokens.len(), TOKENS);
    check(&gpu, &["attention"], &[]);
}
