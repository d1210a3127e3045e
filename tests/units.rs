//! More of what runs on matrix units than every test run has time for: `scripts/long/units` asks for it, a test in a
//! process, and keeps the lines that begin with `row`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use wgrad::gpu::{AdapterKind, Gpu, GpuOptions, MatrixOperands};
use wgrad::ops;
use wgrad::ops::matmul::Layout;
use wgrad::ops::measure::matmul_recording;
use wgrad::tensor::DType;

/// A device opened for f16 on its units, without which there is nothing to run.
fn units() -> Gpu {
    let options = GpuOptions {
        kind: Some(AdapterKind::Gpu),
        matrix_units: Some(MatrixOperands::F16),
        ..Default::default()
    };
    let gpu = common::open(options).unwrap();
    let about = gpu.capabilities();
    assert!(about.matrix_tile.is_some(), "{} has no matrix units that there are kernels for", about.name);
    gpu
}

#[test]
#[ignore = "long: scripts/long/units"]
fn names_of_operations_and_the_driver() {
    println!("driver\t{}, {}", units().capabilities().name, units().capabilities().driver);
    ops::all().iter().for_each(|operation| println!("operation\t{}", operation.name));
}

/// The operation that `WGRAD_TEST_OPERATION` names, all cases.
#[test]
#[ignore = "long: scripts/long/units"]
fn one_operation_equals_its_reference() {
    let name = std::env::var("WGRAD_TEST_OPERATION").unwrap();
    let gpu = units();
    let operation = ops::all().into_iter().find(|operation| operation.name == name).unwrap();
    // Errors over their bounds.
    let (mut cases, mut result, mut gradient): (_, f64, f64) = (0, 0.0, 0.0);
    for case in (operation.cases)() {
        let outcome = pollster::block_on(case.run(&gpu, DType::F16, 64)).unwrap();
        assert!(outcome.passed(), "{outcome:?}");
        cases += 1;
        result = result.max(outcome.forward.0 / outcome.forward.1);
        gradient = outcome.gradients.iter().map(|one| one.1 / one.2).fold(gradient, f64::max);
    }
    println!("row\t{name}\t{cases} cases pass; result {result:.2} of its bound, gradients {gradient:.2}");
}

/// A checksum over the bits of products in every layout, with and without edges.
#[test]
#[ignore = "long: scripts/long/units"]
fn bits_of_products() {
    let gpu = units();
    let mut sums = Vec::new();
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        for [m, n, k] in [[256, 256, 256], [132, 196, 1028]] {
            let (recording, result) = matmul_recording(&gpu, layout, DType::F16, [m, n, k]).unwrap();
            recording.replay().unwrap();
            let bits: Vec<u32> = pollster::block_on(gpu.read(&result, 0, m * n / 2)).unwrap();
            assert!(bits.iter().any(|&pair| pair != 0));
            sums.push(format!("{:08x}", crc32fast::hash(bytemuck::cast_slice(&bits))));
        }
    }
    println!("row\tbits of products\t{}", sums.join(" "));
}
