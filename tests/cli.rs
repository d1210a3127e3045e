//! `wgrad doctor` and `wgrad fill-mask`, as a person runs them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::folder::folder;
use common::golden::Golden;
use common::program::{command, error, json, run, stdout};
use wgrad::optim::Rule;

fn fill(model: &Path, rest: &[&str]) -> Output {
    run(&[&["fill-mask", "--model", model.to_str().unwrap()], rest].concat(), "")
}

#[test]
fn doctor_examines_the_adapter() {
    let Some(gpu) = common::gpu() else { return };
    let report = json(&["doctor"], &run(&["doctor", "--all-kernels", "--json"], ""));
    assert_eq!(report["ok"], true);
    assert_eq!(report["wgrad"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["device"]["name"], gpu.capabilities().name.as_str());
    let chosen = report["chosen"].as_u64().unwrap() as usize;
    assert_eq!(report["adapters"][chosen]["name"], report["device"]["name"]);
    assert_eq!(report["device"]["max_binding"], 128 << 20);
    let kernels = report["kernels"].as_array().unwrap();
    let operations = wgrad::ops::all();
    let storages = 1 + usize::from(gpu.capabilities().f16);
    assert_eq!(kernels.len(), 2 * storages * operations.len() + Rule::ALL.len());
    for &rule in Rule::ALL {
        let found = kernels.iter().find(|kernel| kernel["operation"] == rule.name()).unwrap();
        let cases = wgrad::optim::cases(rule).len();
        assert_eq!((&found["own"], &found["cases"]), (&true.into(), &cases.into()));
        assert!(found["result"]["bound"].as_f64().unwrap() > 0.0 && found["passed"] == found["cases"]);
    }
    for operation in operations {
        let found: Vec<_> = kernels.iter().filter(|k| k["operation"] == operation.name).collect();
        assert_eq!(found.iter().filter(|k| k["own"] == true).count(), storages);
        for kernel in found {
            assert_eq!(kernel["cases"].as_u64().unwrap() as usize, (operation.cases)().len());
            for what in ["result", "gradient"] {
                let [error, bound] = ["error", "bound"].map(|key| kernel[what][key].as_f64().unwrap());
                assert!(kernel["own"] == false || (error <= bound && bound > 0.0), "{kernel}");
            }
        }
    }
    let own = kernels.iter().find(|kernel| kernel["own"] == true).unwrap();
    assert_eq!(own["kind"], report["device"]["kind"]);
    let speeds = report["matmul"].as_array().unwrap();
    assert_eq!(speeds.len(), 6);
    assert!(speeds.iter().all(|speed| speed["gflops"].as_f64().unwrap() > 0.0));
    assert!(report["copy_gbps"].as_f64().unwrap() > 0.0);
}

#[test]
fn without_an_adapter_the_exit_code_is_3_and_the_cure_is_told() {
    let told = error(&run(&["doctor", "--adapter", "no such thing"], ""), 3);
    assert!(told.contains("no such thing"), "{told}");
    if !cfg!(target_os = "linux") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &Golden::open("relative_untied_mask"));
    let model = dir.path().to_str().unwrap();
    for arguments in [vec!["doctor"], vec!["doctor", "--json"], vec!["fill-mask", "--model", model, "[MASK]"]]
    {
        let mut command = command(&arguments);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        let told = error(&command.output().unwrap(), 3);
        assert!(told.contains("apt-get install mesa-vulkan-drivers"), "{told}");
    }
}

#[test]
fn masks_are_guessed() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &Golden::open("absolute_untied_mask"));
    let text = "w7 [MASK] w9 [MASK]";
    let output = fill(dir.path(), &[text, "--top-k", "3", "--json"]);
    assert!(output.stderr.is_empty());
    let found = json(&["fill-mask"], &output);
    let masks = found["masks"].as_array().unwrap();
    assert_eq!((masks.len(), found["tokens"].as_u64(), found["truncated"].as_u64()), (2, Some(6), Some(0)));
    assert!(!found["adapter"].as_str().unwrap().is_empty());
    let told = stdout(&fill(dir.path(), &[text, "--top-k", "3"]));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2 * 4 + 1, "{told}");
    assert_eq!((lines[0], lines[4]), ("[MASK] 1", "[MASK] 2"));
    for (index, mask) in masks.iter().enumerate() {
        for (line, candidate) in lines[4 * index + 1..].iter().zip(mask["candidates"].as_array().unwrap()) {
            let share = format!("{:.1}%", 100.0 * candidate["probability"].as_f64().unwrap());
            assert!(line.contains(candidate["token"].as_str().unwrap()) && line.contains(&share), "{line}");
        }
    }
    assert_eq!(lines[8], found["text"].as_str().unwrap());
    assert!(lines[8].starts_with("w7 ") && !lines[8].contains("[MASK]"));

    // A text that is too long is said to be, once.
    let long = format!("{} [MASK]", "w7 ".repeat(100));
    let output = fill(dir.path(), &[&long]);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(said.starts_with("note: ") && said.contains("48 tokens; 55 were truncated"), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert_eq!(stdout(&output).lines().count(), 6);
}

#[test]
fn what_cannot_be_guessed_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    assert!(error(&fill(&model, &["[MASK]"]), 1).contains("nothing there"));
    folder(&model, &Golden::open("relative_untied_mask"));
    // As a folder that others wrote, which has no list of checksums.
    std::fs::remove_file(model.join("checksums.json")).unwrap();
    let weights = model.join("model.safetensors");
    let good = std::fs::read(&weights).unwrap();
    if common::gpu().is_some() {
        assert!(error(&fill(&model, &["w7 w8"]), 1).contains("expected [MASK] where a word"));
        assert!(error(&fill(&model, &[""]), 1).contains("an empty text"));
        assert!(error(&fill(&model, &["[MASK]", "--top-k", "0"]), 1).contains("top-k"));
        let mut bad = good.clone();
        let end = bad.len();
        bad[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
        std::fs::write(&weights, &bad).unwrap();
        let told = error(&fill(&model, &["[MASK]"]), 1);
        assert!(told.contains("finite weights in `cls.predictions.decoder.weight`"), "{told}");
        // Those too that have no use for the head that has broken down.
        let stated = [
            &["embed", "w7", "--pooling", "mean"][..],
            &["similarity", "w7", "w8", "--pooling", "mean"],
            &["info"],
        ];
        for command in stated {
            let told = error(&run(&[command, &["--model", model.to_str().unwrap()]].concat(), ""), 1);
            assert!(told.contains("finite weights in `cls.predictions.decoder.weight`"), "{told}");
        }
        let told = error(&fill(&model, &["[MASK]", "--allow-non-finite"]), 1);
        assert!(told.contains("finite logits"), "{told}");
    }
    for (bytes, says) in [
        (&good[..good.len() - 10], "model.safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "LFS"),
        (b"<!DOCTYPE html><html>", "model.safetensors"),
    ] {
        std::fs::write(&weights, bytes).unwrap();
        let told = error(&fill(&model, &["[MASK]"]), 1);
        assert!(told.contains(says), "{told}");
    }
    std::fs::write(&weights, &good).unwrap();
    std::fs::write(model.join("tokenizer.json"), common::folder::tokenizer(61)).unwrap();
    let told = error(&fill(&model, &["[MASK]"]), 1);
    assert!(told.contains("tokenizer.json: expected at most 60 tokens"), "{told}");
    std::fs::remove_file(&weights).unwrap();
    assert!(error(&fill(&model, &["[MASK]"]), 1).contains("no model.safetensors"));
    assert_eq!(run(&["fill-mask", "[MASK]"], "").status.code(), Some(2));
    for help in ["doctor", "fill-mask"] {
        assert!(stdout(&run(&[help, "--help"], "")).contains("JSON: {"));
    }
}
