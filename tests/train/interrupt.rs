//! Fault 40: Ctrl-C, as the program receives it.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::program;
use crate::{Place, common};
use wgrad::files::{ModelFolder, RunFolder};
use wgrad::store::Disk;
use wgrad::train::metrics;

/// The program at work.
struct Running {
    child: Child,
    told: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stderr.take().unwrap()).lines();
        Running { child, told }
    }

    /// Waits for a line on standard error.
    fn expect(&mut self, text: &str) {
        let mut seen = Vec::new();
        for line in self.told.by_ref().map(Result::unwrap) {
            if line.contains(text) {
                return;
            }
            seen.push(line);
        }
        panic!("no `{text}` in {seen:#?}");
    }

    fn interrupt(&self) {
        let signal = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(signal.success());
    }

    /// Waits for the end: the status, what was printed, and how long it took.
    fn end(mut self) -> (ExitStatus, String, Duration) {
        let began = Instant::now();
        // Whoever writes to a closed standard error would notice.
        self.told.by_ref().for_each(drop);
        let output = self.child.wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap(), began.elapsed())
    }
}

fn wgrad(command: &str) -> Command {
    let mut wgrad = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    wgrad.arg(command).stdin(Stdio::null());
    wgrad
}

fn pretrain(data: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = wgrad("pretrain");
    command.arg("--data").arg(data).arg("--out").arg(out).args(arguments).arg("--json");
    command
}

#[test]
fn ctrl_c_saves_and_the_run_resumes() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let command = |arguments: &[&str]| pretrain(&place.path("data"), &place.path("run"), arguments);
    let recipe = place.path("recipe.json");
    let config = place.config(&["steps=100000", "learning_rate=0.01", "evaluate.every=2"]);
    std::fs::write(&recipe, serde_json::to_string(&config).unwrap()).unwrap();

    let mut running = Running::start(&mut command(&["--config", recipe.to_str().unwrap()]));
    running.expect("step 2/100000 ");
    running.interrupt();
    running.expect("stopping after this step");
    let (status, summary, _) = running.end();
    assert_eq!(status.code(), Some(130));
    let summary = program::told(&["pretrain"], &summary);
    assert_eq!(summary["interrupted"], true);
    let steps = summary["steps"].as_u64().unwrap();
    assert!((2..100_000).contains(&steps));
    ModelFolder::load(place.path("run")).unwrap();
    assert_eq!(
        RunFolder::open(Arc::new(Disk), place.path("run")).unwrap().latest().unwrap().unwrap().step,
        steps
    );

    // Its own recipe; a shorter run is another one.
    let last = (steps + 3).to_string();
    let refused = command(&["--resume", "--steps", &last]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("`recipe.steps`"));
    let resumed = command(&["--resume", "--steps", &last, "--allow-changes"]).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let summary: Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!((&summary["steps"], &summary["interrupted"]), (&(steps + 3).into(), &false.into()));
    assert!(String::from_utf8(resumed.stderr).unwrap().contains(&format!("going on after step {steps}")));
}

#[test]
fn a_second_ctrl_c_quits_at_once_and_spares_the_checkpoint() {
    if common::gpu().is_none() {
        return;
    }
    // One sequence at a time, so that a step lasts for a while on any device.
    let place = Place::with(1500, 0);
    let (data, run) = (place.path("data"), place.path("run"));
    let recipe = place.path("recipe.json");
    let config = place.config(&["steps=9", "batch_sequences=1500", "micro_batch=1", "checkpoint.every=1"]);
    std::fs::write(&recipe, serde_json::to_string(&config).unwrap()).unwrap();

    let start = |arguments: &[&str]| {
        let mut running = Running::start(&mut pretrain(&data, &run, arguments));
        running.expect(" parameters");
        // It comes to the step from here without a look at any signal.
        std::thread::sleep(Duration::from_millis(100));
        running.interrupt();
        running.expect("stopping after this step");
        running
    };
    let (status, summary, step) = start(&["--config", recipe.to_str().unwrap()]).end();
    assert_eq!(
        (status.code(), program::told(&["pretrain"], &summary)["steps"].as_u64()),
        (Some(130), Some(1))
    );

    let running = start(&["--resume"]);
    running.interrupt();
    let (status, summary, quit) = running.end();
    assert_eq!((status.code(), summary.as_str()), (Some(130), ""));
    assert!(quit < step / 2, "it took {quit:?} to quit, and {step:?} to end a step");
    assert_eq!(RunFolder::open(Arc::new(Disk), &run).unwrap().latest().unwrap().unwrap().step, 1);
    ModelFolder::load(&run).unwrap();
    let (status, summary, _) = start(&["--resume"]).end();
    assert_eq!(
        (status.code(), program::told(&["pretrain"], &summary)["steps"].as_u64()),
        (Some(130), Some(2))
    );
}

#[test]
fn a_quickstart_stopped_by_ctrl_c_goes_on_when_called_again() {
    if common::gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let quickstart = |arguments: &[&str]| {
        let mut command = wgrad("quickstart");
        command.arg("--out").arg(&out).args(arguments);
        command
    };
    // Interrupts it after step `step`.
    let stopped = |mut running: Running, step: usize| {
        running.expect(" parameters");
        let rows = || metrics::read(&out).map_or(0, |rows| rows.last().map_or(0, |row| row.step as usize));
        while rows() < step {
            assert!(running.child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        running.interrupt();
        running.expect("stopping after this step");
        let (status, told, _) = running.end();
        assert_eq!(status.code(), Some(130));
        (told, RunFolder::open(Arc::new(Disk), &out).unwrap().latest().unwrap().unwrap().step)
    };
    let (told, first) = stopped(Running::start(&mut quickstart(&["--steps", "10000"])), 1);
    assert!((1..10_000).contains(&first), "{first}");
    assert!(told.starts_with(&format!("stopped after {first} of 10000 steps; go on with")), "{told}");
    assert!(told.ends_with(&format!(" quickstart --out {}\n", out.display())), "{told}");

    // The same run: its steps need not be said again.
    let mut running = Running::start(&mut quickstart(&["--json"]));
    running.expect("going on with the quickstart");
    let (told, second) = stopped(running, first as usize + 1);
    let told = program::told(&["quickstart"], &told);
    assert!(second > first && told["summary"]["steps"] == second && told["summary"]["total_steps"] == 10_000);
    // What is counted in the text is near what is true of the language.
    let [exact, counted] = ["exact", "summary"].map(|of| told[of]["unigram_entropy"].as_f64().unwrap());
    assert!(exact != counted && (exact - counted).abs() < 0.05, "{exact} {counted}");

    // Brought to its end, it tells its results.
    let (data, last) = (out.join("data"), (second + 1).to_string());
    let shorter = ["--resume", "--allow-changes", "--set", "warmup_steps=0", "--steps", &last];
    let output = pretrain(&data, &out, &shorter).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = quickstart(&[]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.contains(&format!("{last} steps in ")), "{told}");
    assert!(told.contains("guessing by frequency") && told.matches("[MASK]: ").count() == 3, "{told}");
}
