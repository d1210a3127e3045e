//! Every operation and the optimizer against their f64 references, forward and backward, with the kernels of every
//! kind of adapter on the adapter at hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::tensor::DType;
use wgrad::{ops, optim};

fn run_all(gpu: &Gpu, storage: DType) {
    let mut failures = Vec::new();
    let mut count = 0;
    for operation in ops::all() {
        for case in (operation.cases)() {
            count += 1;
            match pollster::block_on(case.run(gpu, storage, 64)) {
                Ok(outcome) if outcome.passed() => {}
                outcome => failures.push(format!("{}: {outcome:?}", operation.name)),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0);
}

#[test]
fn every_operation_equals_its_reference_with_kernels_for_software_adapters() {
    if let Some(gpu) = common::gpu_as(AdapterKind::Software) {
        run_all(&gpu, DType::F32);
    }
}

#[test]
fn every_operation_equals_its_reference_with_kernels_for_any_gpu() {
    if let Some(gpu) = common::gpu_as(AdapterKind::Plain) {
        run_all(&gpu, DType::F32);
    }
}

#[test]
fn every_operation_equals_its_reference_stored_as_f16() {
    for kind in [AdapterKind::Software, AdapterKind::Plain] {
        match common::gpu_as(kind) {
            Some(gpu) if gpu.capabilities().f16 => run_all(&gpu, DType::F16),
            Some(gpu) => eprintln!("SKIPPED: {} has no f16", gpu.capabilities().name),
            None => {}
        }
    }
}

#[test]
fn the_optimizer_equals_its_reference() {
    let Some(gpu) = common::gpu() else { return };
    for case in optim::cases() {
        let outcome = pollster::block_on(case.run(&gpu)).unwrap();
        assert!(outcome.passed(), "{outcome:?}");
    }
}
