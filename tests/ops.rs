//! Every operation against its f64 reference, forward and backward, on the adapter at hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use wgrad::gpu::AdapterKind;
use wgrad::ops;

#[test]
fn every_operation_equals_its_reference_with_kernels_for_cpus() {
    compare(AdapterKind::Software);
}

#[test]
fn every_operation_equals_its_reference_with_kernels_for_gpus() {
    compare(AdapterKind::Plain);
}

fn compare(kind: AdapterKind) {
    let Some(gpu) = common::gpu_as(kind) else { return };
    let mut failures = Vec::new();
    let mut count = 0;
    for operation in ops::all() {
        for case in (operation.cases)() {
            let outcome = pollster::block_on(case.run(&gpu, 64)).unwrap();
            count += 1;
            if !outcome.passed() {
                failures.push(format!("{}: {outcome:?}", operation.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0);
}
