//! `wgrad pretrain`, as far as it goes without a GPU.

use assert_cmd::Command;
use wgrad::data::{Batcher, BatcherOptions};
use wgrad::files::{ModelFolder, Weights};
use wgrad::nn::initial_values;
use wgrad::train::TrainConfig;

use crate::Place;
use crate::common::program::{command, json};

pub(crate) const SMALL: [&str; 12] = [
    "--set",
    "model.hidden_size=16",
    "--set",
    "model.intermediate_size=16",
    "--set",
    "batch_sequences=8",
    "--set",
    "warmup_steps=2",
    "--set",
    "model.initializer_range=0.3",
    "--set",
    "evaluate.sequences=5",
];

pub(crate) fn pretrain(place: &Place, out: &str) -> Command {
    let mut command = command(&["pretrain"]);
    command.arg("--data").arg(place.path("data")).arg("--out").arg(place.path(out));
    command
}

fn fails(command: &mut Command) -> String {
    let output = command.assert().failure().get_output().clone();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty() && !text.contains("panicked"), "{text}");
    text
}

#[test]
fn first_weights_and_batches_are_those_of_the_run() {
    let place = Place::new();
    let mut command = pretrain(&place, "first");
    command.args(["--preset", "micro", "--steps", "12", "--seed", "5", "--micro-batch", "4", "--init-only"]);
    command.arg("--dump-batches").arg(place.path("batches.safetensors")).args(SMALL).arg("--json");
    let json = json(&["pretrain"], command.assert().success().get_output());

    let folder = ModelFolder::load(place.path("first")).unwrap();
    assert_eq!(json["parameters"], folder.config.parameter_count());
    assert_eq!((folder.config.hidden_size, folder.config.vocab_size), (16, place.dataset.vocab_size()));
    for spec in folder.config.parameters() {
        assert_eq!(folder.weights.f32(&spec.name).unwrap(), initial_values(&spec, 5), "{}", spec.name);
    }

    let file = std::fs::read(place.path("batches.safetensors")).unwrap();
    let arrays = safetensors::SafeTensors::deserialize(&file).unwrap();
    let ints = |name: &str| {
        let bytes = arrays.tensor(name).unwrap().data().to_vec();
        bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    assert_eq!(arrays.tensor("input_ids").unwrap().shape(), [12, 8, 16]);
    assert_eq!(arrays.tensor("bounds").unwrap().shape(), [12, 8, 16, 2]);
    assert_eq!(arrays.tensor("held_out/input_ids").unwrap().shape(), [2, 4, 16]);
    let options = BatcherOptions { seed: 5, ..BatcherOptions::default() };
    let batcher = Batcher::new(place.dataset.clone(), options).unwrap();
    let width = arrays.tensor("masked_rows").unwrap().shape()[1];
    let mut most = 0;
    for step in 0..12 {
        let batch = batcher.train(step as u64 * 8..(step as u64 + 1) * 8).unwrap();
        let same = |name: &str, values: &[u32], each: usize| {
            let part = &ints(name)[step * each..][..values.len()];
            assert!(part.iter().zip(values).all(|(a, b)| *a as u32 == *b), "{name} of step {step}");
            ints(name)[step * each + values.len()..(step + 1) * each].to_vec()
        };
        assert!(same("input_ids", &batch.input_ids, 128).is_empty());
        assert!(same("bounds", batch.bounds.as_flattened(), 256).is_empty());
        assert!(same("masked_rows", &batch.masked_rows, width).iter().all(|row| *row == -1));
        assert!(same("labels", &batch.labels, width).iter().all(|label| *label == -1));
        most = most.max(batch.labels.len());
    }
    assert_eq!(most, width);
    let rates = arrays.tensor("lr").unwrap().data().to_vec();
    let rates: Vec<_> = rates.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
    let plan = TrainConfig {
        steps: Some(12),
        batch_sequences: 8,
        warmup_steps: 2,
        ..TrainConfig::preset("micro").unwrap()
    };
    let expected: Vec<_> = plan.plan().unwrap().steps_from(0).map(|step| step.learning_rate).collect();
    assert_eq!(rates, expected);
    // Five held-out sequences are filled up to eight; the empty ones see nothing and guess nothing.
    let bounds = ints("held_out/bounds");
    assert!(bounds[5 * 32..].iter().all(|bound| *bound == 0) && bounds[4 * 32 + 1] > 0);
    assert!(
        ints("held_out/masked_rows")[arrays.tensor("held_out/labels").unwrap().shape()[1]..]
            .iter()
            .all(|row| *row < 16)
    );

    // What is there is not overwritten.
    let mut again = pretrain(&place, "first");
    let error = fails(again.args(["--preset", "micro", "--init-only"]).args(SMALL));
    assert!(error.contains("a folder without a model"), "{error}");
    assert!(Weights::open(place.path("first/model.safetensors")).is_ok());
}

#[test]
fn mistakes_are_told_on_one_line() {
    let place = Place::new();
    let cases: [(&[&str], &str); 9] = [
        (&[], "--preset"),
        (&["--preset", "huge"], "preset: expected one of"),
        (&["--preset", "micro", "--config", "x.toml"], "cannot be used with"),
        (&["--preset", "micro", "--allow-changes"], "--resume"),
        (&["--config", "/nowhere/x.toml"], "/nowhere/x.toml: cannot read"),
        (&["--resume"], "train.json: cannot read"),
        (&["--preset", "micro", "--set", "rate=1"], "rate: expected a known setting, perhaps `masking.rate`"),
        (
            &["--preset", "micro", "--init-only", "--steps", "9", "--set", "warmup_steps=9"],
            "warmup_steps: expected fewer than",
        ),
        (
            &["--preset", "notebook", "--dump-batches", "x"],
            "dump-batches: expected a run with `ramp` `constant`",
        ),
    ];
    for (arguments, expected) in cases {
        let error = fails(pretrain(&place, "out").args(arguments));
        assert!(error.contains(expected), "{error}");
        assert!(!place.path("out").exists());
    }
    let mut command = command(&["pretrain", "--preset", "micro", "--out", "o", "--data", "/nowhere"]);
    let error = fails(&mut command);
    assert!(error.contains("/nowhere"), "{error}");
}

#[test]
fn fault_52_a_folder_that_is_no_runs_is_left_as_it_is() {
    let place = Place::new();
    let theirs = ["README.md", "config.json", "metrics.csv", "lock"];
    let out = place.path("project");
    std::fs::create_dir_all(out.join("checkpoints/.partial-mine")).unwrap();
    for name in theirs {
        std::fs::write(out.join(name), format!("my {name}")).unwrap();
    }
    let unchanged = || {
        for name in theirs {
            assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), format!("my {name}"));
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), theirs.len() + 1);
        assert!(out.join("checkpoints/.partial-mine").exists());
    };
    let new: &[&str] = &["--preset", "micro"];
    for arguments in [new, &["--preset", "micro", "--init-only"], &["--preset", "micro", "--resume"]] {
        let error = fails(pretrain(&place, "project").args(arguments).args(SMALL));
        assert!(error.contains("a new or empty folder, or a run's"), "{error}");
        unchanged();
    }
    let mut quickstart = command(&["quickstart", "--out"]);
    let error = fails(quickstart.arg(&out));
    assert!(error.contains("a new or empty folder"), "{error}");
    unchanged();
    // Even by force a lock of another kind is not emptied.
    let mut forced = pretrain(&place, "project");
    let error = fails(forced.args(new).args(["--init-only", "--force"]).args(SMALL));
    assert!(error.contains("a lock, which holds a process's id"), "{error}");
    unchanged();
    std::fs::remove_file(out.join("lock")).unwrap();
    std::fs::remove_dir_all(out.join("checkpoints")).unwrap();
    let mut forced = pretrain(&place, "project");
    forced.args(new).args(["--init-only", "--force"]).args(SMALL).assert().success();
    ModelFolder::load(&out).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("metrics.csv")).unwrap(), "my metrics.csv");
}

/// Without MPI each of them would train alone, and all in one folder.
#[cfg(not(feature = "mpi"))]
#[test]
fn one_of_several_processes_is_refused_without_mpi() {
    use crate::common::program;

    let launchers = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "4"),
        ("PMI_RANK", "PMI_SIZE", "2"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "3"),
    ];
    for (rank, variable, size) in launchers {
        let arguments = ["pretrain", "--preset", "micro", "--data", "none", "--out", "none"];
        let output = command(&arguments).env(rank, "1").env(variable, size).output().unwrap();
        let told = program::error(&output, 1);
        assert!(told.contains("--features mpi") && told.contains(&format!("{size} processes")), "{told}");
        // One process is none of several.
        let output = command(&arguments).env(rank, "0").env(variable, "1").output().unwrap();
        assert!(!program::error(&output, 1).contains("mpi"));
    }
}
