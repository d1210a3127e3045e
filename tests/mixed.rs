//! Mixed precision: activations stored as f16, and a loss scale that adapts.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::{Golden, options, relative};
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::tensor::DType;
use wgrad::train::{MaskedTokens, MlmOptions, Precision, StepEngine, Trainer};

/// Runs `test` with the kernels of both kinds of adapter, where there is f16.
fn each(test: impl Fn(&Gpu)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        match common::gpu_as(kind) {
            Some(gpu) if common::has_f16(&gpu) => test(&gpu),
            _ => {}
        }
    }
}

fn trainer(gpu: &Gpu, golden: &Golden) -> Trainer<MaskedTokens> {
    let options = MlmOptions { storage: DType::F16, ..options(4) };
    let mut trainer = Trainer::pretraining(gpu, golden.config.clone(), options).unwrap();
    golden.fill(&mut trainer);
    trainer
}

fn read(trainer: &mut Trainer<MaskedTokens>, name: &str) -> Vec<f32> {
    pollster::block_on(trainer.read(name)).unwrap()
}

/// Ten steps, every gradient of the first, and the weights at the end against PyTorch's in f32.
#[test]
fn ten_steps_stay_near_those_of_f32() {
    each(|gpu| {
        for case in common::golden::CASES {
            let golden = Golden::open(case);
            let mut trainer = trainer(gpu, &golden);
            let batch = golden.batch();
            trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
            let scale = read(&mut trainer, "adamw.step")[0];
            assert_eq!(scale, 65536.0);
            for (name, _) in trainer.model_tensors() {
                let gradient = pollster::block_on(trainer.model().parameters.read_gradient(&name)).unwrap();
                let gradient: Vec<f32> = gradient.iter().map(|g| g / scale).collect();
                let error = relative(&gradient, &golden.f32(&format!("gradients/{name}")));
                assert!(error < 0.02, "{case}: gradient of {name} off by {error:e}");
            }
            let (losses, norms) = (golden.f32("losses"), golden.f32("gradient_norms"));
            for step in 0..10 {
                let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
                assert!(!report.skipped);
                for (found, expected) in [(report.loss, losses[step]), (report.gradient_norm, norms[step])] {
                    let error = (found / f64::from(expected) - 1.0).abs();
                    assert!(error < 0.01, "{case}, step {step}: {found} instead of {expected}");
                }
            }
        }
    });
}

/// A gradient that does not fit f16 changes nothing but the scale, until it fits.
#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    each(overflow);
}

/// The same where a driver's conversion to f16 makes 65504 of all that is larger.
#[test]
fn an_overflow_is_noticed_where_f16_saturates() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let options = GpuOptions { kind: Some(kind), saturate_f16: true, ..Default::default() };
        match common::open(options) {
            Some(gpu) if common::has_f16(&gpu) => overflow(&gpu),
            _ => {}
        }
    }
}

fn overflow(gpu: &Gpu) {
    let golden = Golden::open(common::golden::CASES[0]);
    let mut trainer = trainer(gpu, &golden);
    let batch = golden.batch();
    let state = read(&mut trainer, "adamw.step");
    let first = (1u64 << 30) as f32;
    trainer.write("adamw.step", &[first, 7.0, state[2], state[3], state[4]]).unwrap();
    let name = "bert.encoder.layer.0.output.dense.weight";
    let (mut skipped, before) = (0, read(&mut trainer, name));
    loop {
        let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
        let state = read(&mut trainer, "adamw.step");
        if !report.skipped {
            assert_eq!(state[..2], [first / 2f32.powi(skipped), 1.0]);
            break;
        }
        skipped += 1;
        assert_eq!(state, [first / 2f32.powi(skipped), 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(read(&mut trainer, name), before);
        assert!(skipped < 20, "never fits");
    }
    assert!(skipped > 3, "{skipped} steps were skipped");
    assert_ne!(read(&mut trainer, name), before);
}

/// After 2000 clean steps the scale doubles.
#[test]
fn the_scale_grows_again() {
    each(|gpu| {
        let golden = Golden::open(common::golden::CASES[0]);
        let mut trainer = trainer(gpu, &golden);
        let batch = golden.batch();
        trainer.write("adamw.step", &[4.0, 1998.0, 1.0, 1.0, 0.0]).unwrap();
        let mut states = Vec::new();
        for _ in 0..3 {
            let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap();
            assert!(!report.skipped);
            states.push(read(&mut trainer, "adamw.step")[..2].to_vec());
        }
        assert_eq!(states, [[4.0, 1999.0], [8.0, 0.0], [8.0, 1.0]]);
    });
}

/// The optimizer's f16 copies are those of its f32 weights: a trainer that is given the weights goes on alike.
#[test]
fn a_restored_run_goes_on_bit_for_bit() {
    each(|gpu| {
        let golden = Golden::open(common::golden::CASES[0]);
        let batch = golden.batch();
        let step = |trainer: &mut Trainer<MaskedTokens>| {
            pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-3)).unwrap()
        };
        let mut one = trainer(gpu, &golden);
        for _ in 0..3 {
            step(&mut one);
        }
        let mut other = trainer(gpu, &golden);
        for (name, _) in [one.model_tensors(), one.optimizer_tensors()].concat() {
            let values = read(&mut one, &name);
            other.write(&name, &values).unwrap();
        }
        for _ in 0..3 {
            let (a, b) = (step(&mut one), step(&mut other));
            assert_eq!((a.loss, a.gradient_norm), (b.loss, b.gradient_norm));
        }
    });
}

#[test]
fn without_f16_precision_is_f32() {
    let Some(gpu) = common::open(GpuOptions { without_f16: true, ..Default::default() }) else { return };
    let mut adapter = gpu.capabilities().clone();
    assert!(!adapter.f16);
    for precision in [Precision::F32, Precision::Mixed, Precision::Auto] {
        assert_eq!(precision.on(&adapter), Precision::F32);
    }
    adapter.f16 = true;
    adapter.kind = AdapterKind::Gpu;
    assert_eq!(Precision::Auto.on(&adapter), Precision::Mixed);
    assert_eq!(Precision::F32.on(&adapter), Precision::F32);
    adapter.kind = AdapterKind::Cpu;
    assert_eq!(Precision::Auto.on(&adapter), Precision::F32);
    assert_eq!(Precision::Mixed.on(&adapter), Precision::Mixed);
}
