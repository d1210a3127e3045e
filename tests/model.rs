//! The whole model against PyTorch: hidden states, logits, loss, every named gradient, ten AdamW steps.
//! `tests/golden/model.py` makes the files.

mod common;

use safetensors::SafeTensors;
use wgrad::autograd::Graph;
use wgrad::bert::{Config, HeadInit, Ids, Inputs, PositionEmbedding, encode, mlm_logits};
use wgrad::data::Batch;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::ops::embedding;
use wgrad::optim::AdamWOptions;
use wgrad::tensor::{DType, Tensor};
use wgrad::train::{Learner, MlmLearner, MlmOptions};

/// Relative L2 distance allowed between gradients, as for single operations.
const GRADIENT: f64 = 1e-4;
/// The largest difference allowed between hidden states, logits and losses.
const WHOLE_MODEL: f64 = 1e-4;

struct Golden {
    bytes: Vec<u8>,
    config: Config,
}

impl Golden {
    fn open(case: &str) -> Self {
        let path = format!("{}/tests/golden/{case}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let text = &metadata.metadata().as_ref().unwrap()["config"];
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let size = |key: &str| json[key].as_u64().unwrap() as usize;
        let mut config = Config::preset("micro").unwrap();
        config.vocab_size = size("vocab_size");
        config.hidden_size = size("hidden_size");
        config.num_hidden_layers = size("num_hidden_layers");
        config.num_attention_heads = size("num_attention_heads");
        config.intermediate_size = size("intermediate_size");
        config.max_position_embeddings = size("max_position_embeddings");
        config.layer_norm_eps = json["layer_norm_eps"].as_f64().unwrap();
        config.tie_word_embeddings = json["tie_word_embeddings"].as_bool().unwrap();
        config.head_init = HeadInit::Normal;
        if json["position_embedding_type"] == "absolute" {
            config.position_embedding_type = PositionEmbedding::Absolute;
        }
        Golden { bytes, config }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        bytemuck::pod_collect_to_vec(data.data())
    }

    fn u32(&self, name: &str) -> Vec<u32> {
        self.f32(name).into_iter().map(f32::to_bits).collect()
    }

    fn batch(&self) -> Batch {
        let (sequences, seq_len) = (3, 40);
        let bounds = self.u32("bounds").chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        Batch {
            sequences,
            seq_len,
            input_ids: self.u32("input_ids"),
            bounds,
            masked_rows: self.u32("masked_rows"),
            labels: self.u32("labels"),
            tokens: sequences * seq_len,
            truncated: 0,
        }
    }

    fn learner(&self, gpu: &Gpu) -> MlmLearner {
        let options = MlmOptions {
            // One sequence more than the batch has, so that filling up is tried too.
            micro_batch: 4,
            seq_len: 40,
            targets: 20,
            optimizer: AdamWOptions::default(),
            seed: 1,
        };
        let mut learner = MlmLearner::new(gpu, self.config.clone(), options).unwrap();
        for (name, _) in learner.model_tensors() {
            learner.write(&name, &self.f32(&format!("weights/{name}"))).unwrap();
        }
        learner
    }
}

fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().zip(expected).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let error: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = pairs().map(|(_, b)| b * b).sum();
    (error / norm.max(1e-20)).sqrt()
}

fn largest(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

const CASES: [&str; 4] =
    ["relative_untied_mask", "relative_untied_nomask", "relative_tied_mask", "absolute_untied_mask"];

fn each(check: impl Fn(&Gpu, &str, &Golden)) {
    for kind in [AdapterKind::Software, AdapterKind::Plain] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in CASES {
            check(&gpu, &format!("{case}, {kind:?}"), &Golden::open(case));
        }
    }
}

#[test]
fn gradients_and_ten_steps_equal_pytorch() {
    each(|gpu, case, golden| {
        let mut learner = golden.learner(gpu);
        let batch = golden.batch();
        let close = |found: f64, expected: f32, what: &str| {
            let expected = f64::from(expected);
            assert!(
                (found - expected).abs() <= WHOLE_MODEL * expected.abs().max(1.0),
                "{case}: {what} {found} {expected}"
            );
        };

        learner.accumulate(std::slice::from_ref(&batch)).unwrap();
        for (name, _) in learner.model_tensors() {
            let found = pollster::block_on(learner.model().parameters.read_gradient(&name)).unwrap();
            let error = relative(&found, &golden.f32(&format!("gradients/{name}")));
            assert!(error <= GRADIENT, "{case}: gradient of {name} off by {error:e}");
        }

        let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
        for step in 0..10 {
            let report = pollster::block_on(learner.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
            close(report.loss, losses[step], &format!("loss at step {step}"));
            close(report.gradient_norm, norms[step], &format!("gradient norm at step {step}"));
            assert!(!report.skipped);
        }
        let tensors = SafeTensors::deserialize(&golden.bytes).unwrap();
        let mut compared = 0;
        for name in tensors.names().into_iter().filter_map(|name| name.strip_prefix("weights_after/")) {
            let found = pollster::block_on(learner.read(name)).unwrap();
            let error = relative(&found, &golden.f32(&format!("weights_after/{name}")));
            assert!(error <= WHOLE_MODEL, "{case}: {name} after ten steps off by {error:e}");
            compared += 1;
        }
        assert!(compared >= 2);

        // Three micro-batches of one sequence each give the step of one micro-batch.
        let mut parts = golden.learner(gpu);
        let report = pollster::block_on(parts.step(&split(&batch), 1e-3)).unwrap();
        close(report.loss, losses[0], "loss of three micro-batches");
        close(report.gradient_norm, norms[0], "gradient norm of three micro-batches");
    });
}

/// The sequences of `batch`, one per micro-batch.
fn split(batch: &Batch) -> Vec<Batch> {
    let tokens = batch.seq_len;
    (0..batch.sequences)
        .map(|sequence| {
            let rows = sequence * tokens..(sequence + 1) * tokens;
            let targets = || {
                let pairs = batch.masked_rows.iter().zip(&batch.labels);
                pairs.filter(|(row, _)| rows.contains(&(**row as usize)))
            };
            Batch {
                sequences: 1,
                seq_len: tokens,
                input_ids: batch.input_ids[rows.clone()].to_vec(),
                bounds: batch.bounds[rows.clone()].to_vec(),
                masked_rows: targets().map(|(row, _)| row - rows.start as u32).collect(),
                labels: targets().map(|(_, label)| *label).collect(),
                tokens,
                truncated: 0,
            }
        })
        .collect()
}

#[test]
fn hidden_states_and_logits_equal_pytorch() {
    each(|gpu, case, golden| {
        let learner = golden.learner(gpu);
        let (config, parameters) = (&learner.model().config, &learner.model().parameters);
        let batch = golden.batch();
        let mut graph = Graph::inference(gpu);
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
            words: ids(g, &batch.input_ids),
            positions: Some(ids(g, &positions)),
            bounds: g.constant(&batch.bounds, [120, 2], DType::U32).unwrap(),
        };
        let rows = g.constant(&batch.masked_rows, [batch.masked_rows.len()], DType::U32).unwrap();
        let hidden = encode(g, config, parameters, &inputs).unwrap();
        let logits = mlm_logits(g, config, parameters, &hidden.last, &rows).unwrap();
        let mut kept = Vec::new();
        let mut keep = |g: &mut Graph, name: String, tensor: &Tensor| {
            let elements = tensor.shape().elements();
            let buffer = gpu.buffer("kept", elements as u64 * 4).unwrap();
            let to = g.recorder().bind(&(&buffer).into());
            g.recorder().copy(tensor.view(), to);
            kept.push((name, buffer, elements));
        };
        keep(g, "hidden/embeddings".into(), &hidden.embeddings);
        for (index, layer) in hidden.layers.iter().enumerate() {
            keep(g, format!("hidden/{index}"), layer);
        }
        keep(g, "hidden/final".into(), &hidden.last);
        keep(g, "logits".into(), &logits);
        graph.finish("hidden states").unwrap().replay().unwrap();
        for (name, buffer, elements) in kept {
            let found: Vec<f32> = pollster::block_on(gpu.read(&buffer, 0, elements)).unwrap();
            let error = largest(&found, &golden.f32(&name));
            assert!(error <= WHOLE_MODEL, "{case}: {name} off by {error:e}");
        }
    });
}
