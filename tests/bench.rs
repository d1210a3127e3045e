//! `wgrad bench`, and the measurement of steps under it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use common::program::{json, run};
use serde_json::Value;
use wgrad::models::Config;
use wgrad::train::benchmark::Work;
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

/// The lines of a profile add up to its totals, and those first that matter most.
fn check_profile(report: &Value, timed: bool) {
    let (lines, totals) = (report["profile"].as_array().unwrap(), &report["totals"]);
    for key in ["flops", "bytes", "roofline_ms"] {
        let sum: f64 = lines.iter().map(|line| number(line, key)).sum();
        assert!((sum / number(totals, key) - 1.0).abs() < 1e-9, "{key}");
    }
    let count: f64 = lines.iter().map(|line| number(line, "count")).sum();
    assert_eq!(count, number(totals, "dispatches") + number(totals, "transfers"));
    let [gflops, units, gbps] = ["gflops", "unit_gflops", "gbps"].map(|key| number(&report["peaks"], key));
    for line in lines {
        let peak = if line["units"] == true { units } else { gflops };
        let least = [number(line, "flops") / peak / 1e6, number(line, "bytes") / gbps / 1e6];
        let roofline = number(line, "roofline_ms");
        assert!((roofline - least[0].max(least[1])).abs() <= 1e-9 * roofline, "{line}");
        let limit = if least[0] > least[1] { "compute" } else { "memory" };
        assert_eq!(line["limit"], limit, "{line}");
        let is_dispatch = line["groups"][0] != 0;
        assert_eq!(line.get("ms").is_some(), timed && is_dispatch, "{line}");
        if let Some(ms) = line.get("ms").and_then(Value::as_f64) {
            assert!((number(line, "share") * ms / roofline - 1.0).abs() < 1e-9);
            assert!((number(line, "lost_ms") + roofline - ms).abs() < 1e-9 * ms.max(1.0));
        }
    }
    let lost = |line: &Value| line.get("lost_ms").unwrap_or(&line["roofline_ms"]).as_f64().unwrap();
    assert!(lines.is_sorted_by(|a, b| lost(a) >= lost(b)));
}

/// Whatever the machine, a round is counted for a GPU that is only described.
#[test]
fn rounds_are_counted_for_a_gpu_that_is_not_there() {
    for (what, least) in [("step", 100), ("finetune", 100), ("embed", 30)] {
        let arguments = ["bench", what, "--precision", "mixed", "--as", "15e12,30e12,448e9", "--json"];
        let report = json(&["bench", what], &run(&arguments, ""));
        assert_eq!((&report["precision"], report.get("device")), (&"mixed".into(), None));
        assert_eq!(report["peaks"], serde_json::json!({"gflops": 15e3, "unit_gflops": 30e3, "gbps": 448.0}));
        check_profile(&report, false);
        assert!(number(&report["totals"], "dispatches") > f64::from(least), "{what}");
        let lines = report["profile"].as_array().unwrap();
        assert!(lines.iter().any(|line| line["units"] == true && line["limit"] == "compute"), "{what}");
    }
    // The products of a step are those of the formula, and no kernel for CPUs is among them.
    let report = json(&["bench", "step"], &run(&["bench", "step", "--as", "1e13,1e13,1e12", "--json"], ""));
    let lines = report["profile"].as_array().unwrap();
    let products = lines.iter().filter(|line| line["kernel"].as_str().unwrap().starts_with("matmul_tiled"));
    let flops: f64 = products.map(|line| number(line, "flops")).sum();
    let share = flops / Workload::named("tiny").unwrap().flops();
    assert!((0.99..1.01).contains(&share), "{share}");
    let refused = run(&["bench", "gemm", "--profile"], "");
    assert!(!refused.status.success());
}

#[test]
fn rounds_are_taken_apart() {
    if common::gpu().is_none() {
        return;
    }
    for what in ["step", "finetune", "embed"] {
        let report = bench_with(what, &["--sequences", "1", "--profile"]);
        let timed = report["totals"].get("ms").is_some();
        check_profile(&report, timed);
        assert!(number(&report, "texts_per_second") > 0.0 && number(&report, "gflops") > 0.0);
        assert_eq!(report.get("submit_ms").is_some(), what != "embed");
    }
}

#[test]
fn steps_are_timed_and_counted() {
    let Some(gpu) = common::gpu() else { return };
    let mut model = Config::preset("micro").unwrap();
    model.vocab_size = 300;
    let workload =
        Workload { model, sequences: 3, tokens: 20, targets: 7, precision: Precision::F32, recompute: 0 };
    let mut told = Vec::new();
    let speed =
        pollster::block_on(benchmark::rounds(&gpu, Work::Step, &workload, 0.3, 1, false, |s| told.push(s)))
            .unwrap();
    assert_eq!(told.len(), speed.rounds.len() + 1);
    assert_eq!(told[0], speed.first);
    let sum: f64 = speed.rounds.iter().sum();
    assert!(sum >= 0.3 && sum - speed.rounds.last().unwrap() < 0.3);
    let submit = speed.submit.unwrap();
    assert!(submit > 0.0 && submit < speed.median());
    // Values, gradients, two moments, and what a step needs beside them.
    assert!(speed.peak_bytes > 16 * workload.model.parameter_count());
    assert_eq!(gpu.allocated(), 0);
    assert!(gpu.peak_allocated() >= speed.peak_bytes);
}
