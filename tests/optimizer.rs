//! Optimizers whose rules and settings differ by the role of parameters, in a whole trainer.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use common::golden::{Golden, options, split};
use wgrad::gpu::Gpu;
use wgrad::nn::{Declarations, Init, Parameters, Role};
use wgrad::optim::{Optimizer, OptimizerOptions, Proofs, Rule, Totals};
use wgrad::tensor::DType;
use wgrad::train::{GroupConfig, MaskedTokens, MlmOptions, OptimizerConfig, StepEngine, Trainer};

/// Lion for matrices, nothing for embeddings, AdamW with two pairs of β for the rest.
fn mixed_rules() -> OptimizerConfig {
    let none = GroupConfig::default();
    let adamw = GroupConfig { rule: Some(Rule::default()), ..none };
    OptimizerConfig {
        rule: "lion".parse().unwrap(),
        embedding: GroupConfig { lr: Some(0.0), ..none },
        head: adamw,
        vector: GroupConfig { betas: Some([0.8, 0.9]), ..adamw },
        ..OptimizerConfig::uniform([0.9, 0.99], 1e-12, 0.01, 0.5)
    }
}

fn trainer(gpu: &Gpu, golden: &Golden, storage: DType) -> Trainer<MaskedTokens> {
    let sizes = MlmOptions { storage, optimizer: mixed_rules().options(), ..options(1) };
    let mut trainer = Trainer::pretraining(gpu, golden.config.clone(), sizes).unwrap();
    golden.fill(&mut trainer);
    trainer
}

fn steps(trainer: &mut Trainer<MaskedTokens>, golden: &Golden, count: usize) {
    for _ in 0..count {
        let report = pollster::block_on(trainer.step(&split(&golden.batch()), 1e-3)).unwrap();
        assert!(!report.skipped);
    }
}

fn bits(trainer: &mut Trainer<MaskedTokens>, name: &str) -> Vec<u32> {
    pollster::block_on(trainer.read(name)).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_role_is_updated_as_its_settings_say() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("absolute_untied_mask");
    let mut trainer = trainer(&gpu, &golden, DType::F32);
    let specs = golden.config.parameters();
    assert!(Role::ALL.iter().all(|&role| specs.iter().any(|spec| spec.role == role)));
    let before: Vec<_> = specs.iter().map(|spec| bits(&mut trainer, &spec.name)).collect();
    steps(&mut trainer, &golden, 1);
    for (spec, before) in specs.iter().zip(&before) {
        let changed = bits(&mut trainer, &spec.name) != *before;
        assert_eq!(changed, spec.role != Role::Embedding, "{}", spec.name);
    }
    let tensors = trainer.optimizer_tensors();
    let shape = |name: &str| tensors.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.clone());
    assert_eq!(shape("lion.step"), Some(vec![3]));
    assert_eq!(shape("adamw.scalars.head"), Some(vec![2]));
    assert_eq!(shape("adamw.scalars.vector"), Some(vec![2]));
    for spec in &specs {
        assert_eq!(shape(&format!("exp_avg.{}", spec.name)).as_ref(), Some(&spec.shape));
        let adamw = matches!(spec.role, Role::Head | Role::Vector);
        assert_eq!(shape(&format!("exp_avg_sq.{}", spec.name)).is_some(), adamw, "{}", spec.name);
    }
}

/// What is read from one trainer and written into another is all there is, also where rules differ.
#[test]
fn the_state_of_several_rules_goes_on_bit_for_bit() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("absolute_untied_mask");
    let halves = gpu.capabilities().f16.then_some(DType::F16);
    for storage in [DType::F32].into_iter().chain(halves) {
        let mut one = trainer(&gpu, &golden, storage);
        steps(&mut one, &golden, 2);
        let mut other = trainer(&gpu, &golden, storage);
        let names = [one.model_tensors(), one.optimizer_tensors()].concat();
        for (name, _) in &names {
            let values = pollster::block_on(one.read(name)).unwrap();
            other.write(name, &values).unwrap();
        }
        steps(&mut one, &golden, 2);
        steps(&mut other, &golden, 2);
        for (name, _) in &names {
            assert!(bits(&mut one, name) == bits(&mut other, name), "{storage:?}: {name}");
        }
    }
}

/// A step of nothing would say that all went well.
#[test]
fn an_optimizer_with_nothing_to_train_is_refused() {
    let Some(gpu) = common::gpu() else { return };
    let mut declarations = Declarations::default();
    declarations.scope().vector("kept", 4, Init::Zeros);
    let options = OptimizerOptions::default();
    let parameters = Parameters::new(&gpu, &declarations, None, options.division(), |_| false).unwrap();
    let totals = Totals::new(&gpu).unwrap();
    let told = match Optimizer::new(&parameters, options, &totals) {
        Ok(mut optimizer) => pollster::block_on(optimizer.step(1e-3, &Proofs::default())).unwrap_err(),
        Err(error) => error,
    };
    assert!(told.to_string().contains("expected trained parameters, found none"), "{told}");
}
