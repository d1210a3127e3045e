//! The whole model against PyTorch: hidden states, logits, loss, every named gradient, ten AdamW steps.
//! `tests/golden/model.py` makes the files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::{CASES, Golden, options, relative, split};
use half::f16;
use safetensors::SafeTensors;
use wgrad::autograd::Graph;
use wgrad::gpu::{AdapterKind, Buffer, Gpu};
use wgrad::models::Inputs;
use wgrad::nn::Ids;
use wgrad::ops::embedding;
use wgrad::tensor::{DType, Tensor};
use wgrad::train::{MlmOptions, StepEngine, Trainer};

/// Relative L2 distance allowed between gradients, as for single operations.
const GRADIENT: f64 = 1e-4;
/// The largest difference allowed between hidden states, logits and losses.
const WHOLE_MODEL: f64 = 1e-4;
/// Relative L2 distance allowed between them where activations are stored as f16.
const STORED_AS_F16: f64 = 1e-2;

fn largest(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |worst, d| if d <= worst || worst.is_nan() { worst } else { d })
}

fn each(check: impl Fn(&Gpu, &str, &Golden)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in CASES {
            check(&gpu, &format!("{case}, {kind:?}"), &Golden::open(case));
        }
    }
}

#[test]
fn gradients_and_ten_steps_equal_pytorch() {
    each(|gpu, case, golden| {
        let mut trainer = golden.trainer(gpu);
        let batch = golden.batch();
        let close = |found: f64, expected: f32, what: &str| {
            let expected = f64::from(expected);
            assert!(
                (found - expected).abs() <= WHOLE_MODEL * expected.abs().max(1.0),
                "{case}: {what} {found} {expected}"
            );
        };

        trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
        for (name, _) in trainer.model_tensors() {
            let found = pollster::block_on(trainer.model().parameters.read_gradient(&name)).unwrap();
            let error = relative(&found, &golden.f32(&format!("gradients/{name}")));
            assert!(error <= GRADIENT, "{case}: gradient of {name} off by {error:e}");
        }

        let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
        for step in 0..10 {
            let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
            close(report.loss, losses[step], &format!("loss at step {step}"));
            close(report.gradient_norm, norms[step], &format!("gradient norm at step {step}"));
            assert!(!report.skipped);
        }
        let tensors = SafeTensors::deserialize(&golden.bytes).unwrap();
        let mut compared = 0;
        for name in tensors.names().into_iter().filter_map(|name| name.strip_prefix("weights_after/")) {
            let found = pollster::block_on(trainer.read(name)).unwrap();
            let error = relative(&found, &golden.f32(&format!("weights_after/{name}")));
            assert!(error <= WHOLE_MODEL, "{case}: {name} after ten steps off by {error:e}");
            compared += 1;
        }
        assert!(compared >= 2);

        // Three micro-batches of one sequence each give the step of one micro-batch.
        let mut parts = golden.trainer(gpu);
        let report = pollster::block_on(parts.step(&split(&batch), 1e-3)).unwrap();
        close(report.loss, losses[0], "loss of three micro-batches");
        close(report.gradient_norm, norms[0], "gradient norm of three micro-batches");
    });
}

#[test]
fn hidden_states_and_logits_equal_pytorch() {
    each(|gpu, case, golden| {
        for (name, error) in forward(gpu, golden, DType::F32, largest) {
            assert!(error <= WHOLE_MODEL, "{case}: {name} off by {error:e}");
        }
    });
}

/// The smallest configuration stored as f16; on matrix units where the environment asks for them.
#[test]
fn hidden_states_and_logits_of_f16_are_near_pytorch() {
    let Some(gpu) = common::gpu_as(AdapterKind::Gpu) else { return };
    if !common::has_f16(&gpu) {
        return;
    }
    for (name, error) in forward(&gpu, &Golden::open(CASES[0]), DType::F16, relative) {
        assert!(error <= STORED_AS_F16, "{name} off by {error:e}");
    }
    if gpu.capabilities().matrix_tile.is_some() {
        println!("the model on the matrix units of {}", gpu.capabilities().name);
    }
}

/// How far hidden states and logits are from PyTorch's where they are stored as the type says, by `distance`.
fn forward(
    gpu: &Gpu,
    golden: &Golden,
    storage: DType,
    distance: fn(&[f32], &[f32]) -> f64,
) -> Vec<(String, f64)> {
    let mut trainer =
        Trainer::pretraining(gpu, golden.config.clone(), MlmOptions { storage, ..options(4) }).unwrap();
    golden.fill(&mut trainer);
    let model = trainer.model();
    let batch = golden.batch();
    let mut graph = Graph::inference(gpu).with_storage(storage);
    let g = &mut graph;
    let ids = |g: &mut Graph, ids: &[u32]| {
        let index = embedding::index(ids);
        Ids {
            ids: g.constant(ids, [ids.len()], DType::U32).unwrap(),
            index: g.constant(&index, [index.len()], DType::U32).unwrap(),
        }
    };
    let positions: Vec<u32> = (0..3).flat_map(|_| 0..40).collect();
    let inputs = Inputs {
        sequences: 3,
        tokens: 40,
        words: ids(g, &batch.input_ids).into(),
        positions: Some(ids(g, &positions)),
        types: None,
        bounds: g.constant(&batch.bounds, [120, 2], DType::U32).unwrap(),
        rotary: None,
    };
    let rows = g.constant(&batch.masked_rows, [batch.masked_rows.len()], DType::U32).unwrap();
    let hidden = model.encode(g, &inputs).unwrap();
    let logits = model.masked_logits(g, &hidden.last, &rows).unwrap();
    let mut kept = Vec::new();
    let mut keep = |g: &mut Graph, name: String, tensor: &Tensor| {
        let elements = tensor.shape().elements();
        let buffer = g.keep(gpu, "kept", tensor.view()).unwrap();
        kept.push((name, buffer, elements, tensor.dtype()));
    };
    keep(g, "hidden/embeddings".into(), &hidden.embeddings);
    for (index, layer) in hidden.layers.iter().enumerate() {
        keep(g, format!("hidden/{index}"), layer);
    }
    keep(g, "hidden/final".into(), &hidden.last);
    keep(g, "logits".into(), &logits);
    graph.finish(gpu, "hidden states").unwrap().replay().unwrap();
    let values = |(name, buffer, elements, dtype): (String, Buffer, usize, DType)| {
        let found: Vec<f32> = match dtype {
            DType::F16 => {
                let halves: Vec<f16> = pollster::block_on(gpu.read(&buffer, 0, elements)).unwrap();
                halves.into_iter().map(f32::from).collect()
            }
            _ => pollster::block_on(gpu.read(&buffer, 0, elements)).unwrap(),
        };
        let error = distance(&found, &golden.f32(&name));
        (name, error)
    };
    kept.into_iter().map(values).collect()
}
