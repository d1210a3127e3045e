//! `wgrad finetune`, `wgrad evaluate` and `wgrad predict`, as a person runs them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::folder::folder;
use common::golden::Golden;
use common::program::{error, json, run, stderr, stdout};
use serde_json::Value;

/// A model and GLUE's SST-2, whose good texts have w7 and whose bad ones w8.
fn place(dir: &Path) -> [PathBuf; 3] {
    let [model, glue, out] = ["model", "glue", "out"].map(|name| dir.join(name));
    folder(&model, &Golden::open("relative_untied_mask"));
    fs::create_dir_all(glue.join("SST-2")).unwrap();
    for (name, rows) in [("train.tsv", 0..120), ("dev.tsv", 300..330)] {
        let row = |i: usize| format!("w{} w{} \"w{}\t{}\n", 10 + i % 40, 8 - i % 2, 12 + i % 31, i % 2);
        let rows: String = rows.map(row).collect();
        fs::write(glue.join("SST-2").join(name), format!("sentence\tlabel\n{rows}")).unwrap();
    }
    [model, glue, out]
}

#[test]
fn a_task_of_glue_from_its_folder_to_predictions() {
    let Some(gpu) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let paths = place(dir.path());
    let [model, glue, out] = paths.each_ref().map(|path| path.to_str().unwrap());
    let task = ["--task", "sst2", "--data", glue];
    let how = ["--model", model, "--out", out, "--lr", "3e-3", "--epochs", "3", "--seeds", "3", "--json"];
    let output = run(&[&["finetune"][..], &task, &how].concat(), "");
    let report = json(&["finetune"], &output);
    assert_eq!(report["seeds"].as_array().unwrap().len(), 3);
    assert_eq!(report["median"][0][1], "accuracy");
    let accuracy = report["median"][0][2].as_f64().unwrap();
    assert!(accuracy > 0.9, "{report}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("seed 2, epoch 3: dev accuracy"), "{told}");

    let evaluate = ["evaluate", "--model", out, "--json", "--precision"];
    let evaluate = |precision| json(&["evaluate"], &run(&[&evaluate[..], &[precision], &task].concat(), ""));
    let measured = evaluate("f32");
    assert_eq!(measured["sets"][0]["scores"]["accuracy"].as_f64(), Some(accuracy));
    assert_eq!(measured["precision"], "f32");
    let mixed = evaluate("mixed");
    assert_eq!(mixed["precision"], if gpu.capabilities().f16 { "f16" } else { "f32" });
    assert!(mixed["sets"][0]["scores"]["accuracy"].as_f64().unwrap() > 0.9, "{mixed}");
    let plain = stdout(&run(&[&["evaluate", "--model", out][..], &task].concat(), ""));
    assert!(plain.starts_with("dev accuracy") && plain.ends_with("(30 texts)\n"), "{plain}");

    for precision in ["auto", "mixed"] {
        let predict = ["predict", "--model", out, "--precision", precision, "--matrix-units", "off"];
        let found = stdout(&run(&predict, "w20 w7 w21\n\nw8\n"));
        let labels: Vec<&str> = found.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!((labels.len(), labels[0], labels[2]), (3, "positive", "negative"), "{found}");
    }
    let found = json(&["predict"], &run(&["predict", "--model", out, "--json"], "w20 w7\tw21"));
    assert_eq!((&found["text"], &found["pair"]), (&Value::from("w20 w7"), &Value::from("w21")));
    let shares = found["probabilities"].as_object().unwrap();
    assert!((shares["negative"].as_f64().unwrap() + shares["positive"].as_f64().unwrap() - 1.0).abs() < 1e-9);

    // Faults 19 and 20: what was put right, and what was cut off, are said once.
    let mut text = b"w20 w7\xff\r\n".to_vec();
    text.extend("w7 ".repeat(2000).bytes());
    let output = run(&["predict", "--model", out], text);
    assert_eq!(stdout(&output).lines().count(), 2);
    let told = stderr(&output);
    assert!(told.contains("1 pieces of invalid UTF-8 replaced, 1 carriage returns"), "{told}");
    assert!(told.contains("1 texts of over") && told.contains("were truncated"), "{told}");
    let output = run(&["predict", "--model", out, "--strict"], b"w20 w7\xff\n".to_vec());
    assert!(error(&output, 1).contains("--strict"));

    // A second run does not overwrite the first.
    let output = run(&[&["finetune"][..], &task, &how].concat(), "");
    assert!(error(&output, 1).contains("a folder without a model"));
}

#[test]
fn what_a_run_takes_is_told_chosen_and_kept() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = place(dir.path());
    let [model, glue, out] = paths.each_ref().map(|path| path.to_str().unwrap());
    let task = ["finetune", "--task", "sst2", "--data", glue, "--model", model, "--precision", "f32"];
    let finetune = |rest: &[&str]| run(&[&task[..], &["--micro-batch", "auto"], rest].concat(), "");
    let dry = ["--dry-run", "--json", "--epochs", "2", "--seeds", "2", "--recompute", "auto"];
    let told = json(&["pretrain"], &finetune(&[&dry[..], &["--gpu-memory", "1GB"]].concat()));
    // 120 texts in batches of 16, twice for each of two seeds.
    assert_eq!((told["micro_batch"].as_u64(), told["steps"].as_u64()), (Some(16), Some(32)));
    assert_eq!(told["sequences"].as_u64(), Some(480));
    assert!(told["tokens"].as_u64().unwrap() > 480 * 3 && told["hours"].as_f64().unwrap() > 0.0);
    let refused = finetune(&["--dry-run", "--gpu-memory", "100kB"]);
    assert!(error(&refused, 1).contains("micro_batch"));
    let plain = stdout(&run(&[&task[..], &["--dry-run"]].concat(), ""));
    assert!(plain.contains("memory       ") && plain.contains("16 sequences in"), "{plain}");
    assert!(!Path::new(out).exists());

    // Another size than the recipe's, and on resuming the same although more would fit.
    let batch = || {
        let recipe = fs::read(Path::new(out).join("finetune.json")).unwrap();
        serde_json::from_slice::<Value>(&recipe).unwrap()["recipe"]["micro_batch"].as_u64()
    };
    let takes = |size: &str| {
        let dry = ["--dry-run", "--json", "--batch", "60", "--micro-batch", size];
        let told = json(&["pretrain"], &run(&[&task[..], &dry].concat(), ""));
        told["memory"]["total"].as_u64().unwrap()
    };
    let (fits, more) = (takes("20"), takes("30"));
    assert!(fits < more);
    let run_it = ["--out", out, "--epochs", "1", "--batch", "60"];
    let output = finetune(&[&run_it[..], &["--gpu-memory", &fits.to_string()]].concat());
    assert!(stderr(&output).contains("micro-batch 20: the largest that fits within"), "{}", stderr(&output));
    assert!(output.status.success(), "{}", stderr(&output));
    let chosen = batch();
    assert_eq!(chosen, Some(20));
    // As one that was killed before its first checkpoint.
    fs::remove_file(Path::new(out).join("model.safetensors")).unwrap();
    fs::create_dir_all(Path::new(out).join("checkpoints")).unwrap();
    let output = finetune(&[&run_it[..], &["--resume"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(batch(), chosen);
}

#[test]
fn faults_are_told_on_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let paths = place(dir.path());
    let [model, _, out] = paths.each_ref().map(|path| path.to_str().unwrap());
    let table = dir.path().join("train.csv");
    fs::write(&table, "text,label\nw5,a\nw6,b,c\n").unwrap();
    let table = table.to_str().unwrap();
    let finetune =
        |rest: &[&str]| run(&[&["finetune", "--model", model, "--out", out][..], rest].concat(), "");
    let text = error(&finetune(&["--task", "classify", "--train", table, "--eval", table]), 1);
    assert!(text.contains("train.csv, line 3: expected 2 columns, found 3"), "{text}");
    let text = error(&finetune(&["--task", "classify", "--train", table]), 1);
    assert!(text.contains("line 3") || text.contains("--eval FILE"), "{text}");
    let text = error(&finetune(&["--task", "rte", "--data", dir.path().to_str().unwrap()]), 1);
    assert!(text.contains("found no dev.tsv"), "{text}");
    let negatives = ["--negative-column", "label"];
    let text = error(&finetune(&[&["--task", "contrastive", "--train", table][..], &negatives].concat()), 1);
    assert!(text.contains("pair-column: expected the column of the texts that belong"), "{text}");
    let task = ["--task", "classify", "--train", table, "--eval", table];
    let text = error(&finetune(&[&task[..], &negatives].concat()), 1);
    assert!(text.contains("negative-column: expected --task contrastive, found classify"), "{text}");
    let text = error(&run(&["predict", "--model", model], "w5\n"), 1);
    assert!(text.contains("a head that classifies texts"), "{text}");
    assert!(!Path::new(out).exists());
}
