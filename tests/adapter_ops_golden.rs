//! Single operations against PyTorch: `tests/golden/ops.py` wrote what they are compared with.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use wgrad::Result;
use wgrad::autograd::Graph;
use wgrad::files::Weights;
use wgrad::gpu::{AdapterKind, Buffer, Gpu};
use wgrad::ops;
use wgrad::tensor::{DType, Tensor};

/// The tensors of one operation.
struct Golden {
    file: Weights,
    operation: &'static str,
}

impl Golden {
    fn of(operation: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ops.safetensors");
        Golden { file: Weights::open(path).unwrap(), operation }
    }

    fn name(&self, tensor: &str) -> String {
        format!("{}/{tensor}", self.operation)
    }

    fn f32(&self, tensor: &str) -> Vec<f32> {
        self.file.f32(&self.name(tensor)).unwrap()
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        self.file.shape(&self.name(tensor)).unwrap().to_vec()
    }

    /// Indices, stored as i32.
    fn u32(&self, tensor: &str) -> Vec<u32> {
        let bytes = std::fs::read(self.file.path()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = tensors.tensor(&self.name(tensor)).unwrap();
        assert_eq!(view.dtype(), safetensors::Dtype::I32);
        view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// Compares `y` and the gradients of `inputs` with PyTorch's, given its `d_y`.
    fn compare(
        &self,
        gpu: &Gpu,
        inputs: &[&str],
        d_y: &[f32],
        y: &[f32],
        operation: impl FnOnce(&mut Graph, &[Tensor]) -> Result<Tensor>,
    ) {
        let mut graph = Graph::training(gpu);
        let mut gradients = Vec::new();
        let mut tensors = Vec::new();
        for name in inputs {
            let values = self.f32(name);
            let value = gpu.upload(name, &values).unwrap();
            let gradient = gpu.buffer(name, values.len() as u64 * 4).unwrap();
            tensors.push(graph.parameter(&value, &gradient, self.shape(name).as_slice()).unwrap());
            gradients.push((name, gradient, values.len()));
        }
        let result = operation(&mut graph, &tensors).unwrap();
        let kept = graph.keep(gpu, "y", result.view()).unwrap();
        let d_y = graph.constant(d_y, result.shape().dims(), DType::F32).unwrap();
        graph.backward(&result, d_y).unwrap();
        graph.finish(gpu, "golden").unwrap().replay().unwrap();

        let read = |buffer: &Buffer, count| pollster::block_on(gpu.read::<f32>(buffer, 0, count)).unwrap();
        for (i, (found, expected)) in read(&kept, y.len()).iter().zip(y).enumerate() {
            let error = (found - expected).abs() / (1.0 + expected.abs());
            assert!(error <= 1e-5, "{}: y[{i}] = {found}, not {expected}", self.operation);
        }
        for (name, gradient, count) in gradients {
            let expected = self.f32(&format!("d_{name}"));
            let (mut error, mut norm) = (0.0, 0.0);
            for (found, expected) in read(&gradient, count).iter().zip(&expected) {
                error += f64::from(found - expected).powi(2);
                norm += f64::from(*expected).powi(2);
            }
            let distance = (error / norm).sqrt();
            assert!(distance <= 1e-5, "{}: d_{name} is {distance:e} away", self.operation);
        }
    }
}

fn on_both_kinds(test: impl Fn(&Gpu)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        if let Some(gpu) = common::gpu_as(kind) {
            test(&gpu);
        }
    }
}

#[test]
fn layer_norm_equals_pytorch() {
    let golden = Golden::of("layer_norm");
    on_both_kinds(|gpu| {
        golden.compare(gpu, &["x", "weight", "bias"], &golden.f32("d_y"), &golden.f32("y"), |graph, x| {
            ops::layer_norm::layer_norm(graph, &x[0], &x[1], &x[2], 1e-6)
        });
    });
}

#[test]
fn gelu_equals_pytorch() {
    let golden = Golden::of("gelu");
    on_both_kinds(|gpu| {
        golden.compare(gpu, &["x"], &golden.f32("d_y"), &golden.f32("y"), |graph, x| {
            ops::gelu::gelu(graph, &x[0])
        });
    });
}

#[test]
fn embedding_equals_pytorch() {
    let golden = Golden::of("embedding");
    let ids = golden.u32("ids");
    let index = ops::embedding::index(&ids);
    on_both_kinds(|gpu| {
        golden.compare(gpu, &["weight"], &golden.f32("d_y"), &golden.f32("y"), |graph, x| {
            let ids = graph.constant(&ids, [ids.len()], DType::U32)?;
            let index = graph.constant(&index, [index.len()], DType::U32)?;
            ops::embedding::embedding(graph, &x[0], &ids, &index)
        });
    });
}

#[test]
fn cross_entropy_equals_pytorch() {
    let golden = Golden::of("cross_entropy");
    let (labels, weights, row_losses) =
        (golden.u32("labels"), golden.f32("weights"), golden.f32("row_losses"));
    let weighted: Vec<f32> = weights.iter().zip(&row_losses).map(|(w, loss)| w * loss).collect();
    let sum: f32 = weighted.iter().sum();
    assert!((sum - golden.f32("y")[0]).abs() < 1e-5 * sum);
    // PyTorch's loss is the sum over rows, so each row's gradient is that of the sum.
    let d_y = vec![golden.f32("d_y")[0]; labels.len()];
    let classes = golden.shape("logits")[1];
    on_both_kinds(|gpu| {
        golden.compare(gpu, &["logits"], &d_y, &weighted, |graph, x| {
            let labels = graph.constant(&labels, [labels.len()], DType::U32)?;
            let weights = graph.constant(&weights, [weights.len()], DType::F32)?;
            Ok(ops::cross_entropy::cross_entropy(graph, &x[0], &labels, &weights, classes)?.loss)
        });
    });
}
