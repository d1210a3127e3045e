//! Runs on a device: the same bits whether they were stopped or not, and a command that heeds Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Outcome, Place, assert_same, common, result};
use wgrad::gpu::Gpu;
use wgrad::train::{Event, MlmLearner, RunOptions, Summary, TrainConfig, run};

fn train_on(gpu: &Gpu, options: &RunOptions, stop_after: Option<u64>) -> Summary {
    let stop = AtomicBool::new(false);
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) if stop_after == Some(row.step) => stop.store(true, Ordering::Relaxed),
        _ => {}
    };
    let open =
        async |config: &TrainConfig| MlmLearner::new(gpu, config.model.clone(), config.learner_options());
    pollster::block_on(run(options, open, &mut watch, &stop)).unwrap()
}

#[test]
fn a_stopped_run_goes_on_bitwise_on_the_device() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02", "checkpoint.every=100"];
    let whole = place.options("whole", &changes);
    let summary = train_on(&gpu, &whole, None);
    assert_eq!((summary.steps, summary.skipped_steps), (12, 0));
    assert!(summary.device == gpu.capabilities().name && !summary.device.is_empty());
    let expected: Outcome = result(&whole.out);

    let options = place.options("stopped", &changes);
    assert!(train_on(&gpu, &options, Some(4)).interrupted);
    let options = RunOptions { resume: true, ..options };
    assert!(train_on(&gpu, &options, Some(7)).interrupted);
    assert_eq!(train_on(&gpu, &options, None).steps, 12);
    assert_same(&result(&options.out), &expected, "stopped twice on the device");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_resumes() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
        command.arg("pretrain").arg("--data").arg(place.path("data")).arg("--out").arg(place.path("run"));
        command.args(arguments).arg("--json").stdin(Stdio::null());
        command
    };
    let recipe = place.path("recipe.json");
    let config = place.config(&["steps=100000", "learning_rate=0.01", "evaluate.every=2"]);
    std::fs::write(&recipe, serde_json::to_string(&config).unwrap()).unwrap();
    let recipe = recipe.to_str().unwrap();

    let mut child =
        command(&["--config", recipe]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut told = told.map(|line| line.unwrap());
    assert!(told.any(|line| line.starts_with("step 2/100000 ")));
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert!(told.any(|line| line.contains("stopping after this step")));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["interrupted"], true);
    let steps = summary["steps"].as_u64().unwrap();
    assert!((2..100_000).contains(&steps));
    wgrad::checkpoint::ModelFolder::load(place.path("run")).unwrap();

    // Its own recipe; a shorter run is another one.
    let last = (steps + 3).to_string();
    let refused = command(&["--resume", "--steps", &last]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("`recipe.steps`"));
    let resumed = command(&["--resume", "--steps", &last, "--allow-changes"]).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!((&summary["steps"], &summary["interrupted"]), (&(steps + 3).into(), &false.into()));
    assert!(String::from_utf8(resumed.stderr).unwrap().contains(&format!("going on after step {steps}")));
}
