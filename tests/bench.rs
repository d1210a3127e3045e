//! `wgrad bench`, and the measurement of steps under it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use common::program::{json, run};
use serde_json::Value;
use wgrad::models::Config;
use wgrad::train::{Precision, Workload, benchmark};

fn bench(what: &str) -> Value {
    bench_with(what, &[])
}

fn bench_with(what: &str, more: &[&str]) -> Value {
    let arguments = ["bench", what, "--workload", "tiny", "--seconds", "0", "--json"];
    let report = json(&["bench", what], &run(&[&arguments, more].concat(), ""));
    assert_eq!((report["bench"].as_str(), report["workload"].as_str()), (Some(what), Some("tiny")));
    assert!(what == "replay" || report["peak_gflops"].as_f64().unwrap() > 0.0);
    report
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn products_are_those_of_the_linear_layers() {
    if common::gpu().is_none() {
        return;
    }
    let report = bench("gemm");
    let shapes = report["shapes"].as_array().unwrap();
    assert_eq!(shapes.len(), 15);
    let size = |shape: &Value| ["m", "n", "k"].map(|key| number(shape, key) as usize);
    assert_eq!(size(&shapes[0]), [2048, 768, 256]);
    assert_eq!(size(&shapes[9]), [293, 256, 8192]);
    assert_eq!(size(&shapes[13]), [256, 1024, 2048]);
    let mut logarithms = 0.0;
    for shape in shapes {
        let flops: usize = 2 * size(shape).iter().product::<usize>();
        let gflops = number(shape, "gflops");
        assert!((flops as f64 / number(shape, "ms") / 1e6 / gflops - 1.0).abs() < 1e-9);
        assert!((number(shape, "share") * number(&report, "peak_gflops") / gflops - 1.0).abs() < 1e-9);
        logarithms += gflops.ln() / 15.0;
    }
    let mean = number(&report["geometric_mean"], "all");
    assert!((mean.ln() - logarithms).abs() < 1e-9);
}

/// Square products, in f16 where the adapter has it.
#[test]
fn square_products_are_measured_in_both_precisions() {
    let Some(gpu) = common::gpu() else { return };
    let mut precisions = vec!["f32"];
    if gpu.capabilities().f16 {
        precisions.push("mixed");
    }
    for precision in precisions {
        let report = bench_with("gemm", &["--size", "128", "--precision", precision, "--sequences", "2"]);
        assert_eq!((&report["precision"], &report["sequences"]), (&precision.into(), &2.into()));
        let shapes = report["shapes"].as_array().unwrap();
        assert_eq!(shapes.len(), 3);
        for shape in shapes {
            assert_eq!(["m", "n", "k"].map(|key| number(shape, key)), [128.0; 3]);
            assert!(number(shape, "gflops") > 0.0);
        }
    }
}

#[test]
fn attention_is_measured_at_two_lengths() {
    if common::gpu().is_none() {
        return;
    }
    let report = bench("attention");
    let shapes = report["shapes"].as_array().unwrap();
    let text = |shape: &Value, name| shape[name].as_str().unwrap().to_owned();
    let about: Vec<_> =
        shapes.iter().map(|s| (number(s, "tokens") as u64, text(s, "form"), text(s, "pass"))).collect();
    let expected = [128, 512].map(|tokens| {
        ["unfused", "fused"]
            .map(|form| ["forward", "both"].map(|pass| (tokens, form.to_owned(), pass.to_owned())))
    });
    assert_eq!(about, expected.concat().concat());
    assert_eq!(shapes.iter().filter(|shape| shape["chosen"] == true).count(), 4);
    assert!(shapes.iter().all(|shape| number(shape, "sequences") * number(shape, "tokens") == 2048.0));
    assert!(shapes.iter().all(|shape| number(shape, "gflops") > 0.0));
}

#[test]
fn the_cpus_part_needs_no_gpu() {
    let report = bench("replay");
    let kinds = report["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 2);
    assert!(kinds.iter().all(|kind| number(kind, "ms") >= number(kind, "fastest_ms")));
}

#[test]
fn steps_are_timed_and_counted() {
    let Some(gpu) = common::gpu() else { return };
    let mut model = Config::preset("micro").unwrap();
    model.vocab_size = 300;
    let workload = Workload { model, sequences: 3, tokens: 20, targets: 7, precision: Precision::F32 };
    let mut told = Vec::new();
    let speed = pollster::block_on(benchmark::steps(&gpu, &workload, 0.3, false, |s| told.push(s))).unwrap();
    assert_eq!(told.len(), speed.steps.len() + 1);
    assert_eq!(told[0], speed.first_step);
    let sum: f64 = speed.steps.iter().sum();
    assert!(sum >= 0.3 && sum - speed.steps.last().unwrap() < 0.3);
    assert!(speed.submit > 0.0 && speed.submit < speed.median());
    // Values, gradients, two moments, and what a step needs beside them.
    assert!(speed.peak_bytes > 16 * workload.model.parameter_count());
    assert_eq!(gpu.allocated(), 0);
    assert!(gpu.peak_allocated() >= speed.peak_bytes);
}
