//! Lion (Chen et al. 2023): steps of one size in the direction of a moving mean, which is all that it keeps.

use super::{CONSTANTS, Definition, Element, GroupOptions, Part};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};

params! { vectors: u32, learning_rate: f32, decay: f32, beta1: f32, beta2: f32 }

const UPDATE: KernelSpec = KernelSpec::new(shader!("lion"), "update", [2, 2], LAYOUT, CONSTANTS);
const UPDATE_HALVES: KernelSpec = KernelSpec { entry: "update_halves", writes: 3, ..UPDATE };

pub(super) const RULE: Definition = Definition {
    title: "Lion",
    moments: &["exp_avg"],
    scalars: None,
    kernels: &[UPDATE, UPDATE_HALVES],
    structs: &[],
    flops: 11.0,
    update,
    reference,
};

fn update(graph: &mut Graph, options: &GroupOptions, part: &Part) -> Result<()> {
    let GroupOptions { learning_rate, weight_decay: decay, beta1, beta2, .. } = *options;
    let params = Params { vectors: part.vectors(), learning_rate, decay, beta1, beta2 };
    part.dispatch(graph, [&UPDATE, &UPDATE_HALVES], params)
}

fn reference(options: &GroupOptions, element: &mut Element<'_>) {
    let GroupOptions { learning_rate, weight_decay, beta1, beta2, .. } = *options;
    let [b1, b2, decay] = [beta1, beta2, weight_decay].map(f64::from);
    let Element { gradient: g, weight, moments, .. } = element;
    let rate = element.rate * f64::from(learning_rate);
    let mean = b1 * moments[0] + (1.0 - b1) * *g;
    let direction = if mean == 0.0 { 0.0 } else { mean.signum() };
    moments[0] = b2 * moments[0] + (1.0 - b2) * *g;
    **weight -= rate * (decay * **weight + direction);
}
