//! What PyTorch computed with a model, and how it is compared.

use std::path::Path;

use safetensors::SafeTensors;
use wgrad::autograd::Graph;
use wgrad::gpu::{Buffer, Gpu};
use wgrad::tensor::Tensor;

/// Relative L2 distance allowed between gradients, as for single operations.
pub const GRADIENT: f64 = 1e-4;
/// The largest difference allowed between hidden states, logits and losses.
pub const WHOLE_MODEL: f64 = 1e-4;

/// A file of tensors.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(path: &Path) -> Self {
        Tensors(std::fs::read(path).unwrap())
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data())
    }

    pub fn u32(&self, name: &str) -> Vec<u32> {
        self.f32(name).into_iter().map(f32::to_bits).collect()
    }

    /// The names under a prefix, without it.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let names = tensors.names().into_iter();
        names.filter_map(|name| name.strip_prefix(prefix)).map(str::to_string).collect()
    }

    /// The range that each of B · `tokens` rows attends to: its sequence's `lengths`, nothing in padding.
    pub fn bounds(&self, tokens: usize) -> Vec<[u32; 2]> {
        let of = |length: u32| (0..tokens as u32).map(move |t| if t < length { [0, length] } else { [0, 0] });
        self.u32("lengths").into_iter().flat_map(of).collect()
    }
}

/// Has the values of a tensor kept when the recording runs.
pub fn keep(gpu: &Gpu, graph: &mut Graph, tensor: &Tensor) -> (Buffer, usize) {
    (graph.keep(gpu, "kept", tensor.view()).unwrap(), tensor.shape().elements())
}

pub fn read(gpu: &Gpu, (buffer, elements): &(Buffer, usize)) -> Vec<f32> {
    pollster::block_on(gpu.read(buffer, 0, *elements)).unwrap()
}

/// Compares numbers of a whole model.
pub fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let bound = WHOLE_MODEL * f64::from(expected.abs().max(1.0));
        let error = f64::from((found - expected).abs());
        assert!(error <= bound, "{what}: {found} {expected}");
    }
}
