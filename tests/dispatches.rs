//! Sizes: what is larger than a binding is computed in chunks, what would run long in several dispatches, and neither
//! changes a result.
//!
//! One adapter is enough: how work is divided does not depend on the driver.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::{Golden, options, relative, split};
use wgrad::Error;
use wgrad::autograd::Graph;
use wgrad::gpu::{AdapterKind, GpuOptions, LONGEST_DISPATCH};
use wgrad::models::{Config, InputBuffers, Model, Targets};
use wgrad::ops::matmul::linear;
use wgrad::ops::measure::settle_speed;
use wgrad::tensor::DType;
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, Trainer, Workload};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// The bits of everything a trainer would save.
fn state(trainer: &mut Trainer<MaskedTokens>) -> Vec<Vec<u32>> {
    let names = [trainer.model_tensors(), trainer.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(trainer.read(name)).unwrap();
    names.iter().map(|(name, _)| read(name).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn steps_cut_into_short_dispatches_are_the_same() {
    for kind in KINDS {
        for storage in [DType::F32, DType::F16] {
            // So slow that every product is cut into tiles, and every segment of the optimizer into pieces.
            let states = [None, Some(1e6)].map(|speed| {
                let options = GpuOptions { kind: Some(kind), speed, ..Default::default() };
                let gpu =
                    common::open(options).filter(|gpu| storage == DType::F32 || gpu.capabilities().f16)?;
                let golden = Golden::open("relative_tied_mask");
                let sizes = MlmOptions { storage, ..common::golden::options(1) };
                let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
                golden.fill(&mut trainer);
                for _ in 0..2 {
                    pollster::block_on(trainer.step(&split(&golden.batch()), 1e-3)).unwrap();
                }
                Some(state(&mut trainer))
            });
            assert!(states[0] == states[1], "{kind:?}, {storage:?}: cuts changed a bit");
        }
    }
}

/// The dispatches of a step of `base`, all of whose layers are alike, on a device of 10 GFLOP/s.
#[test]
fn no_dispatch_of_a_large_model_takes_long() {
    const SPEED: f64 = 10e9;
    for kind in KINDS {
        let options = GpuOptions { kind: Some(kind), speed: Some(SPEED), ..Default::default() };
        let Some(gpu) = common::open(options) else { return };
        let Workload { model, sequences, tokens, targets, .. } = Workload::named("base").unwrap();
        let config = Config { num_hidden_layers: 1, ..model };
        let model = Model::new(&gpu, config, true).unwrap();
        let slots = InputBuffers::new(&gpu, &model.config, sequences, tokens).unwrap();
        let mut graph = Graph::training(&gpu);
        let inputs = slots.inputs(&mut graph, &model.config).unwrap();
        let targets = Targets {
            rows: graph.constant(&vec![0u32; targets], [targets], DType::U32).unwrap(),
            labels: graph.constant(&vec![0u32; targets], [targets], DType::U32).unwrap(),
            weights: graph.constant(&vec![0f32; targets], [targets], DType::F32).unwrap(),
        };
        let hidden = model.encode(&mut graph, &inputs).unwrap();
        let guesses = model.masked_loss(&mut graph, &hidden.last, &targets).unwrap();
        let ones = graph.constant(&vec![1f32; 608], [608], DType::F32).unwrap();
        graph.backward(&guesses.loss, ones).unwrap();
        let list = graph.recorder().expected();
        let cut = ["matmul", "embedding", "cross_entropy"];
        for (name, _, seconds) in &list {
            // What goes through activations once is not cut.
            let most = if cut.iter().any(|part| name.starts_with(part)) { LONGEST_DISPATCH } else { 0.25 };
            assert!(*seconds <= most, "{kind:?}: {name} takes {seconds} s");
        }
        // Nothing is lost: the products' operations are those of the formula.
        let products = list.iter().filter(|(name, ..)| name.starts_with("matmul"));
        let products = products.map(|(_, cost, _)| cost.flops).sum::<f64>() / SPEED;
        let rows = (sequences * tokens) as f64;
        let expected = (rows * model.config.body_flops(tokens) + 608.0 * model.config.head_flops()) / SPEED;
        let share = products / expected;
        assert!((0.99..1.01).contains(&share), "{kind:?}: {products} s of {expected}");
        assert!(list.len() > 300, "{} commands", list.len());
    }
}

#[test]
fn speeds_are_measured_once() {
    let Some(gpu) = common::gpu() else { return };
    assert!(!gpu.knows_speed() && gpu.speed() > 1e9);
    pollster::block_on(settle_speed(&gpu)).unwrap();
    let speed = gpu.speed();
    assert!(gpu.knows_speed() && speed > 1e8 && gpu.allocated() == 0, "{speed}");
    pollster::block_on(settle_speed(&gpu)).unwrap();
    assert_eq!(gpu.speed(), speed);
    // Without memory for it, one is assumed.
    let Some(gpu) = common::open(GpuOptions { memory: Some(1 << 16), ..Default::default() }) else { return };
    pollster::block_on(settle_speed(&gpu)).unwrap();
    assert!(!gpu.knows_speed());
}

/// A narrow model with a large vocabulary.
fn wide_vocabulary() -> Config {
    Config {
        vocab_size: 32768,
        hidden_size: 16,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        ..Golden::open("relative_untied_mask").config
    }
}

/// 256 sequences of 128 tokens: 4864 rows of 32768 logits are five bindings of f32.
#[test]
fn many_targets_of_a_large_vocabulary_fit_default_limits() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for storage in [DType::F32, DType::F16] {
            if storage == DType::F16 && !gpu.capabilities().f16 {
                continue;
            }
            let sizes = MlmOptions { micro_batch: 256, seq_len: 128, targets: 4864, storage, ..options(1) };
            let memory = Trainer::plan(&gpu, wide_vocabulary(), sizes).unwrap();
            // One chunk and, on software adapters, the texture it is read through.
            assert!(memory.transient < 500 << 20, "{kind:?}, {storage:?}: {memory:?}");
        }
    }
}

/// Two chunks of logits in one replay, as against one chunk in each of two replays.
#[test]
fn chunks_of_a_large_vocabulary_add_up() {
    let Some(gpu) = common::gpu() else { return };
    let rows = 1100;
    let workload = Workload {
        recompute: 0,
        model: wide_vocabulary(),
        sequences: 30,
        tokens: 40,
        targets: rows,
        precision: wgrad::train::Precision::F32,
    };
    assert!(rows * workload.model.vocab_size * 4 > 128 << 20);
    let [both, each] = [rows, rows / 2].map(|targets| {
        let sizes = MlmOptions { targets, ..workload.options() };
        let mut trainer = Trainer::pretraining(&gpu, workload.model.clone(), sizes).unwrap();
        trainer.accumulate(&[workload.batch()]).unwrap();
        let parameters = &trainer.model().parameters;
        let gradients: Vec<_> = parameters
            .shapes()
            .into_iter()
            .map(|(name, _)| (name.clone(), pollster::block_on(parameters.read_gradient(&name)).unwrap()))
            .collect();
        let measured = pollster::block_on(trainer.evaluate(&[workload.batch()])).unwrap();
        (gradients, measured)
    });
    for ((name, found), (_, expected)) in both.0.iter().zip(&each.0) {
        let error = relative(found, expected);
        assert!(error < 1e-5, "{name} off by {error:e}");
        assert!(expected.iter().any(|&g| g != 0.0), "{name}");
    }
    assert!((both.1.loss / each.1.loss - 1.0).abs() < 1e-5 && both.1.loss > 5.0);
    assert_eq!((both.1.accuracy, both.1.masked), (each.1.accuracy, rows as u64));
}

#[test]
fn bindings_are_as_large_as_is_asked_for_and_to_be_had() {
    let least = 128 << 20;
    let open = |max_binding| common::open(GpuOptions { max_binding, ..Default::default() });
    let (Some(usual), Some(most), Some(few)) = (open(None), open(Some(u64::MAX)), open(Some(1 << 20))) else {
        return;
    };
    assert_eq!((usual.capabilities().max_binding, usual.capabilities().max_buffer), (least, 256 << 20));
    let about = most.capabilities();
    assert!(about.max_binding >= least && about.max_buffer >= about.max_binding.max(256 << 20));
    let words = (about.max_binding / 4).min(160 << 20) as usize;
    assert!(Graph::inference(&most).output("large", [words], &[]).is_ok());
    if about.max_binding > least {
        assert!(Graph::inference(&usual).output("large", [words], &[]).is_err());
    }
    assert_eq!(few.capabilities().max_binding, 1 << 20);
    let refused = Graph::inference(&few).output("small", [(1 << 18) + 4], &[]).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused}");
}

/// Software adapters read operands through textures, which hold no more than 32 Mi elements.
#[test]
fn operands_too_large_for_a_texture_are_refused() {
    let Some(gpu) = common::gpu_as(AdapterKind::Cpu) else { return };
    if !gpu.capabilities().f16 {
        return;
    }
    let mut graph = Graph::inference(&gpu).with_storage(DType::F16);
    let x = graph.output("x", [(1 << 20) + 4, 32], &[]).unwrap();
    let weight = graph.output("weight", [4, 32], &[]).unwrap();
    let told = linear(&mut graph, &x, &weight).unwrap_err();
    assert!(matches!(told, Error::Limit { .. }) && told.to_string().contains("67108864"), "{told}");
}

/// Many rounds in one submission are as many replays: each adds its gradient.
#[test]
fn a_repeated_recording_runs_as_often_as_it_should() {
    let Some(gpu) = common::gpu() else { return };
    let x = gpu.upload("x", &[1f32, 2.0, 3.0, 4.0]).unwrap();
    let d_x = gpu.upload("d_x", &[0f32; 4]).unwrap();
    let mut graph = Graph::training(&gpu);
    let tensor = graph.parameter(&x, &d_x, [4]).unwrap();
    let y = wgrad::ops::scale::scale(&mut graph, &tensor, 3.0).unwrap();
    let ones = graph.constant(&[1f32; 4], [4], DType::F32).unwrap();
    graph.backward(&y, ones).unwrap();
    let recording = graph.finish(&gpu, "three times x").unwrap();
    for (count, after) in [(1, 1.0), (7, 8.0), (0, 8.0), (5000, 5008.0)] {
        recording.repeat(count).unwrap();
        let found: Vec<f32> = pollster::block_on(gpu.read(&d_x, 0, 4)).unwrap();
        assert_eq!(found, [3.0 * after; 4]);
    }
}
