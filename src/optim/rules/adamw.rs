//! AdamW (Loshchilov & Hutter 2019).

use std::mem::offset_of;

use super::{CONSTANTS, Definition, Element, GroupOptions, Part, Scalars};
use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, View, params, shader, shared};

params! { vectors: u32, learning_rate: f32, decay: f32, beta1: f32, beta2: f32, epsilon: f32 }

shared! {
    /// β1ᵗ and β2ᵗ, and what follows from them in a step.
    struct Correction { power1: f32, power2: f32, rate: f32, root: f32 }
}

const ADVANCE: KernelSpec = KernelSpec::new(shader!("adamw"), "advance", [1, 1], LAYOUT, CONSTANTS);
const UPDATE: KernelSpec = KernelSpec { entry: "update", reads: 3, writes: 3, ..ADVANCE };
const UPDATE_HALVES: KernelSpec = KernelSpec { entry: "update_halves", writes: 4, ..UPDATE };

pub(super) const RULE: Definition = Definition {
    title: "AdamW",
    moments: &["exp_avg", "exp_avg_sq"],
    scalars: Some(Scalars {
        first: || {
            bytemuck::cast_slice(&[Correction { power1: 1.0, power2: 1.0, rate: 0.0, root: 0.0 }]).to_vec()
        },
        kept: offset_of!(Correction, rate) / 4,
        advance,
        reference: |options, step| [options.beta1, options.beta2].map(|b| f64::from(b).powi(step)).to_vec(),
    }),
    kernels: &[ADVANCE, UPDATE, UPDATE_HALVES],
    structs: &[Correction::SHARED],
    flops: 15.0,
    update,
    reference,
};

fn params(options: &GroupOptions, vectors: u32) -> Params {
    let GroupOptions { learning_rate, weight_decay: decay, beta1, beta2, epsilon, .. } = *options;
    Params { vectors, learning_rate, decay, beta1, beta2, epsilon }
}

fn advance(graph: &mut Graph, options: &GroupOptions, decided: View, correction: View) -> Result<()> {
    graph.dispatch((&ADVANCE, CONSTANTS), params(options, 0), &[decided], &[correction], [1, 1, 1])?.once();
    Ok(())
}

fn update(graph: &mut Graph, options: &GroupOptions, part: &Part) -> Result<()> {
    part.dispatch(graph, [&UPDATE, &UPDATE_HALVES], params(options, part.vectors()))
}

fn reference(options: &GroupOptions, element: &mut Element<'_>) {
    let GroupOptions { learning_rate, weight_decay, beta1, beta2, epsilon, .. } = *options;
    let [b1, b2, decay, epsilon] = [beta1, beta2, weight_decay, epsilon].map(f64::from);
    let Element { step, gradient: g, weight, moments, .. } = element;
    let rate = element.rate * f64::from(learning_rate);
    moments[0] = b1 * moments[0] + (1.0 - b1) * *g;
    moments[1] = b2 * moments[1] + (1.0 - b2) * *g * *g;
    let (mean, square) = (moments[0] / (1.0 - b1.powi(*step)), moments[1] / (1.0 - b2.powi(*step)));
    **weight -= rate * (decay * **weight + mean / (square.sqrt() + epsilon));
}
