//! The program on several processes, started by `mpirun`: `cargo test --features mpi --test mpi`.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::program;
use wgrad::files::RunFolder;
use wgrad::store::Disk;

/// All ranks must have ended after so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with data of a small corpus, a recipe, and a table of labelled texts.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let words = ["the", "dog", "sees", "a", "small", "house", "and", "runs", "over"];
        let sentence = |number: usize| -> String {
            let word = |at: usize| words[(number * number / 7 + at * (1 + number % 3)) % words.len()];
            (0..8 + number % 6).map(word).collect::<Vec<_>>().join(" ")
        };
        let text: Vec<_> = (0..200).map(sentence).collect();
        fs::write(place.path("text.txt"), text.join("\n")).unwrap();
        let table: Vec<_> =
            (0..48).map(|n| format!("{},{}", sentence(n), if n % 2 == 0 { "even" } else { "odd" })).collect();
        fs::write(place.path("table.csv"), format!("text,label\n{}\n", table.join("\n"))).unwrap();
        let recipe = "preset = 'micro'\nsteps = 9\nwarmup_steps = 2\nbatch_sequences = 8\nmicro_batch = 2\n\
                      evaluate = { every = 4, sequences = 8 }\ncheckpoint = { every = 3, minutes = 0, keep = 2 }\n\
                      model = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16 }\n";
        fs::write(place.path("recipe.toml"), recipe).unwrap();
        let [text, tok, data] = ["text.txt", "tok", "data"].map(|name| place.path(name));
        let [text, tok, data] = [&text, &tok, &data].map(|path| path.to_str().unwrap());
        program::stdout(&program::run(
            &["tokenizer", "train", text, "--vocab-size", "256", "--out", tok],
            "",
        ));
        let prepare = [
            "data",
            "prepare",
            text,
            "--tokenizer",
            tok,
            "--out",
            data,
            "--seq-len",
            "16",
            "--held-out",
            "8",
        ];
        program::stdout(&program::run(&prepare, ""));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `pretrain` into the folder `out`.
    fn pretrain(&self, ranks: usize, out: &str, more: &[&str]) -> Command {
        let mut command = wgrad(ranks);
        command.arg("pretrain").arg("--data").arg(self.path("data")).arg("--out").arg(self.path(out));
        command.args(["--precision", "f32"]).args(more);
        if !more.contains(&"--resume") {
            command.arg("--config").arg(self.path("recipe.toml"));
        }
        command
    }

    /// The model that a run has left.
    fn model(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("model.safetensors")).unwrap()
    }
}

/// The program, started as so many processes, or by itself.
fn wgrad(ranks: usize) -> Command {
    let program = env!("CARGO_BIN_EXE_wgrad");
    let mut command = Command::new(if ranks == 1 { program } else { "mpirun" });
    if ranks > 1 {
        command.args(["--oversubscribe", "-n", &ranks.to_string(), program]);
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", program::stderr(&output));
    program::stderr(&output)
}

/// The ranks of a run into the folder `out`, and their processes.
fn processes(out: &Path) -> Vec<(usize, u32)> {
    let parts = |path: PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        let parts = bytes.split(|byte| *byte == 0);
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>()
    };
    let found = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = parts(entry.path().join("environ"));
        let rank = environment.iter().find_map(|one| one.strip_prefix("OMPI_COMM_WORLD_RANK="))?;
        let arguments = parts(entry.path().join("cmdline"));
        let is_of_run = arguments.iter().any(|one| Path::new(one) == out);
        is_of_run.then_some((rank.parse().ok()?, id))
    });
    found.collect()
}

/// The ranks of a run with so many, once all are there.
fn all_processes(out: &Path, ranks: usize) -> Vec<(usize, u32)> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        let mut found = processes(out);
        if found.len() == ranks {
            found.sort_unstable();
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("there are not {ranks} ranks");
}

fn signal(process: u32, name: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success()
    );
}

/// Waits until a checkpoint is there, and says of which step.
fn checkpoint(out: &Path) -> u64 {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        let names = fs::read_dir(out.join("checkpoints")).into_iter().flatten().flatten();
        let steps = names.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok());
        if let Some(step) = steps.max() {
            return step;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("there is no checkpoint");
}

/// Whether a process has ended with all its threads. One that is killed has no arguments any more while it still holds its
/// files, and with them the lock of the run.
fn is_gone(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.into_iter().all(|thread| {
        let state = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // Its name, which stands before the state, may hold anything.
        state.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
    })
}

/// Waits for the end of all ranks of a run, which must not take long. `mpirun` itself may end a moment before them.
fn ended(child: Child, ranks: &[(usize, u32)]) -> Output {
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    while !ranks.iter().all(|(_, process)| is_gone(*process)) {
        assert!(began.elapsed() < DEADLINE, "there is a rank after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < DEADLINE, "it took {:?}", began.elapsed());
    output
}

/// The newest checkpoint is whole.
fn is_whole(out: &Path) {
    let newest = RunFolder::open(std::sync::Arc::new(Disk), out).unwrap().latest().unwrap().unwrap();
    assert!(newest.step > 0 && newest.notes.is_empty(), "{:?}", newest.notes);
}

#[test]
fn two_processes_train_to_the_bits_of_one() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    succeed(place.pretrain(1, "one", &["--blocks", "2"]));
    succeed(place.pretrain(2, "two", &[]));
    assert!(place.model("one") == place.model("two"));
    let recipes = ["one", "two"].map(|out| fs::read_to_string(place.path(out).join("train.json")).unwrap());
    assert_eq!(recipes[0], recipes[1]);
    assert!(recipes[0].contains("\"blocks\": 2"), "{}", recipes[0]);

    // Another number of blocks is another order of sums.
    succeed(place.pretrain(1, "alone", &[]));
    assert!(place.model("alone") != place.model("two"));

    let finetune = |ranks: usize, out: &str, more: &[&str]| {
        let mut command = wgrad(ranks);
        command.args(["finetune", "--task", "classify", "--epochs", "1", "--precision", "f32"]);
        command.arg("--model").arg(place.path("one")).arg("--train").arg(place.path("table.csv"));
        command.arg("--eval").arg(place.path("table.csv")).arg("--out").arg(place.path(out)).args(more);
        succeed(command)
    };
    finetune(1, "tuned one", &["--blocks", "2"]);
    finetune(2, "tuned two", &[]);
    assert!(place.model("tuned one") == place.model("tuned two"));

    // Gradients that are rounded on their way, and what that waits for.
    succeed(place.pretrain(1, "rounded one", &["--blocks", "2", "--wire", "f16"]));
    let mut rounded = place.pretrain(2, "rounded two", &["--wire", "f16", "--profile", "--json"]);
    let told = program::told(&["pretrain"], &program::stdout(&rounded.output().unwrap()));
    let profile = told["profile"].as_array().unwrap();
    assert!(profile.len() == 2 && profile.iter().all(|rank| rank["steps"] == told["steps"]), "{told}");
    assert!(place.model("rounded one") == place.model("rounded two"));
    assert!(place.model("rounded one") != place.model("one"));

    // Mistakes are told once.
    let output = place.pretrain(2, "two", &[]).output().unwrap();
    let told = program::stderr(&output);
    assert!(!output.status.success());
    assert_eq!(told.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{told}");
    let output = place.pretrain(2, "none", &["--blocks", "1"]).output().unwrap();
    assert!(program::stderr(&output).contains("start at most 1 ranks"), "{}", program::stderr(&output));
}

#[test]
fn fault_44_a_rank_that_dies_ends_all_ranks() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    succeed(place.pretrain(1, "whole", &["--blocks", "2", "--steps", "60"]));
    for rank in [0, 1] {
        let name = format!("killed {rank}");
        let out = place.path(&name);
        let child = place.pretrain(2, &name, &["--steps", "60"]).spawn().unwrap();
        let ranks = all_processes(&out, 2);
        checkpoint(&out);
        signal(ranks[rank].1, "KILL");
        assert!(!ended(child, &ranks).status.success());
        is_whole(&out);
        // With as many ranks, and with fewer.
        succeed(place.pretrain(2 - rank, &name, &["--resume"]));
        assert!(place.model("whole") == place.model(&name), "rank {rank}");
    }
}

#[test]
fn fault_65_a_rank_that_hangs_ends_all_ranks() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    // The last of three: the one between them waits for it, and lives. Both at once, as each waits for silence.
    std::thread::scope(|scope| {
        for last in [1, 2] {
            let place = &place;
            scope.spawn(move || ends_when_one_is_stopped(place, last));
        }
    });
}

/// Stops the last of some ranks: all end, and name it.
fn ends_when_one_is_stopped(place: &Place, last: usize) {
    let name = format!("stopped {last}");
    let out = place.path(&name);
    let child = place.pretrain(last + 1, &name, &["--steps", "100000"]).spawn().unwrap();
    let ranks = all_processes(&out, last + 1);
    checkpoint(&out);
    signal(ranks[last].1, "STOP");
    let output = ended(child, &ranks);
    let told = program::stderr(&output);
    assert!(!output.status.success());
    let said: Vec<&str> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    let expected = format!("error: rank {last}: nothing was heard of it for 3");
    assert!(said.len() == 1 && said[0].starts_with(&expected), "{told}");
    is_whole(&out);
}
