//! Every operation and the optimizer against their f64 references, forward and backward, with the kernels of every
//! kind of adapter on the adapter at hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands};
use wgrad::ops::Case;
use wgrad::tensor::DType;
use wgrad::train::stress::{Sizes, stress_units};
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
    if let Some(gpu) = common::gpu_as(AdapterKind::Cpu) {
        run_all(&gpu, DType::F32);
    }
}

#[test]
fn every_operation_equals_its_reference_with_kernels_for_any_gpu() {
    if let Some(gpu) = common::gpu_as(AdapterKind::Gpu) {
        run_all(&gpu, DType::F32);
    }
}

#[test]
fn every_operation_equals_its_reference_stored_as_f16() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        match common::gpu_as(kind) {
            Some(gpu) if common::has_f16(&gpu) => run_all(&gpu, DType::F16),
            _ => {}
        }
    }
}

/// On whatever has units: a GPU, or a newer lavapipe as `scripts/units` runs it, which multiplies f32 without listing it.
#[test]
fn products_and_attention_equal_their_reference_on_matrix_units() {
    for operands in [MatrixOperands::F16, MatrixOperands::F32] {
        on_units(operands);
    }
}

/// Attention on units with blocks that are not full, widths that are no multiple of a tile, distances, biases and dropout.
const FUSED: [&str; 3] =
    ["T 70, H 1, D 36 less 0, 4 buckets", "D 16 less 0, 32 buckets of biases, 0.1", "D 28 less 2"];

fn on_units(operands: MatrixOperands) {
    let with = |matrix_units| GpuOptions {
        kind: Some(AdapterKind::Gpu),
        matrix_units,
        unlisted_matrix_units: true,
        ..Default::default()
    };
    let Some(units) = common::open(with(Some(operands))) else { return };
    let Some(plain) = common::open(with(None)) else { return };
    let about = units.capabilities();
    if about.matrix_tile.is_none() {
        eprintln!("SKIPPED: {} has no matrix units for {operands} that there are kernels for", about.name);
        return;
    }
    for operation in ops::all().into_iter().filter(|o| ["attention", "matmul"].contains(&o.name)) {
        // A lavapipe compiles attention on units for half a minute. scripts/long/units leaves none of these out.
        let left_out = |case: &Case| {
            case.name().starts_with("Fused") && !FUSED.iter().any(|sizes| case.name().contains(sizes))
        };
        for case in (operation.cases)().into_iter().filter(|case| !left_out(case)) {
            let outcome = pollster::block_on(case.run(&units, operands.into(), 64)).unwrap();
            assert!(outcome.passed(), "{}: {outcome:?}", operation.name);
        }
    }
    let sizes = Sizes { replays: 5, product: 256, ..Sizes::of(AdapterKind::Cpu) };
    for stressed in pollster::block_on(stress_units(&units, &plain, sizes)).unwrap() {
        assert!(stressed.passed(), "{stressed:?}");
    }
    let model = if about.vulkan_memory_model { ", Vulkan's memory model spelled out" } else { "" };
    println!("{operands} on the matrix units of {}{model}", about.name);
}

#[test]
fn the_optimizer_equals_its_reference() {
    let Some(gpu) = common::gpu() else { return };
    for case in optim::Rule::ALL.iter().flat_map(|&rule| optim::cases(rule)) {
        let outcome = pollster::block_on(case.run(&gpu)).unwrap();
        assert!(outcome.passed(), "{outcome:?}");
    }
}
