//! What goes wrong on a device is an error that says what to do; what cannot be learnt from changes nothing; the
//! same work gives the same bits.
//!
//! One adapter is enough: the faults are put in by the tests.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

#[path = "../common/mod.rs"]
mod common;
mod device;
mod sizes;
mod steps;

use wgrad::data::Batch;
use wgrad::gpu::AdapterKind;
use wgrad::train::{MaskedTokens, StepEngine, StepReport, Trainer};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

fn step(trainer: &mut Trainer<MaskedTokens>, batches: &[Batch]) -> wgrad::Result<StepReport> {
    pollster::block_on(trainer.step(batches, 1e-3))
}

/// The bits of everything a trainer would save.
fn state(trainer: &mut Trainer<MaskedTokens>) -> Vec<(String, Vec<u32>)> {
    let names = [trainer.model_tensors(), trainer.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(trainer.read(name)).unwrap();
    names.into_iter().map(|(n, _)| (n.clone(), read(&n).into_iter().map(f32::to_bits).collect())).collect()
}

fn gradients(trainer: &Trainer<MaskedTokens>) -> Vec<(String, Vec<f32>)> {
    let parameters = &trainer.model().parameters;
    let read = |name: &str| pollster::block_on(parameters.read_gradient(name)).unwrap();
    parameters.shapes().into_iter().map(|(name, _)| (name.clone(), read(&name))).collect()
}

fn bits(gradients: &[(String, Vec<f32>)]) -> Vec<(&str, Vec<u32>)> {
    gradients.iter().map(|(n, v)| (n.as_str(), v.iter().map(|x| x.to_bits()).collect())).collect()
}
