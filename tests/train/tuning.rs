//! Forms of kernels: measured, chosen, and kept with a run.

use wgrad::gpu::{AdapterKind, Choices, Gpu, GpuOptions};
use wgrad::train::tune::tune;
use wgrad::train::{Precision, Settings, Workload};

use crate::common::program::command;
use crate::{Place, common};

#[test]
fn both_forms_are_measured_and_one_is_taken() {
    let kind = Some(AdapterKind::Gpu);
    let open = |choices: &Choices| GpuOptions { kind, choices: choices.clone(), ..GpuOptions::default() };
    if common::open(open(&Choices::default())).is_none() {
        return;
    }
    let model = Place::new().config(&[]).model;
    let precision = Precision::F32;
    let workload = Workload { model, sequences: 4, tokens: 16, targets: 8, precision, recompute: 0 };
    let mut told = Vec::new();
    let tuned = pollster::block_on(tune(
        async |choices: &Choices| Gpu::open(&open(choices)).await,
        &workload,
        (0.0, 1),
        |trials| told.extend(trials.clone()),
    ));
    let tuned = tuned.unwrap();
    assert_eq!(told, tuned.trials);
    let of = |trial: &wgrad::train::tune::Trial| (trial.choice.name, trial.form, trial.tokens);
    assert_eq!(
        told.iter().map(of).collect::<Vec<_>>(),
        [
            ("sums", "parts", 16),
            ("sums", "whole", 16),
            ("attention.short", "unfused", 128),
            ("attention.short", "fused", 128),
            ("attention.long", "unfused", 512),
            ("attention.long", "fused", 512),
        ]
    );
    for both in told.chunks(2) {
        let [taken, other] = if both[0].taken { [&both[0], &both[1]] } else { [&both[1], &both[0]] };
        assert!(taken.taken && !other.taken);
        assert_eq!(tuned.choices.get(taken.choice.name), Some(taken.form));
        // By rule the first form of each is taken here, and it stays unless the other was faster both times.
        let faster = both[1].seconds.iter().zip(&both[0].seconds).all(|(second, first)| first > second);
        assert!(!both[1].taken || faster, "{both:?}");
    }
}

/// Another form rounds otherwise, so a run goes on with its own wherever that is.
#[test]
fn a_run_keeps_its_forms() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let recipe = place.path("recipe.json");
    let config = place.config(&["steps=4"]);
    std::fs::write(&recipe, serde_json::to_string(&config).unwrap()).unwrap();
    let (data, out) = (place.path("data"), place.path("run"));
    let pretrain = |arguments: &[&str]| {
        let mut pretrain = command(&["pretrain"]);
        pretrain.arg("--data").arg(&data).arg("--out").arg(&out).args(arguments).output().unwrap()
    };
    let stored = || Settings::file(&out.join("train.json")).unwrap().config().unwrap().kernels;
    let forms = "kernels=sums=parts attention.short=fused";
    let ended = pretrain(&["--config", recipe.to_str().unwrap(), "--set", forms]);
    assert!(ended.status.success(), "{ended:?}");
    // An adapter that is a CPU has no use for parts, and the run says so.
    let told = String::from_utf8_lossy(&ended.stderr);
    let is_cpu = common::gpu().unwrap().capabilities().kind == AdapterKind::Cpu;
    assert_eq!(told.contains("(sums=parts)"), is_cpu, "{told}");
    assert_eq!(stored().to_string(), "sums=parts attention.short=fused");
    // Neither another recipe nor its own makes it forget them.
    for with in [&["--config", recipe.to_str().unwrap()][..], &[]] {
        let more = ["--resume", "--allow-changes", "--steps", "5"];
        let ended = pretrain(&[with, &more].concat());
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(stored().to_string(), "sums=parts attention.short=fused");
    }
    // A run that was asked for the rules stays with them, whatever is measured later.
    let ended = pretrain(&["--resume", "--allow-changes", "--steps", "6", "--set", "kernels=rules"]);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(stored(), Choices::rules());
    let refused = pretrain(&["--config", recipe.to_str().unwrap(), "--force", "--set", "kernels=tiles=8"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`tiles=8`"), "{refused:?}");
}
