//! Changed files through every reader: see `README.md`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a fuzzer ends at the first surprise")]

mod mutate;
mod targets;

use std::cell::RefCell;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, Once};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use mutate::{Source, mutate};
use targets::{Seed, TARGETS, Target};

/// What one target came to.
struct Outcome {
    inputs: u64,
    /// Inputs that were read to their end.
    taken: u64,
}

/// The longest that one input may take, on a machine that has other things to do.
const LONGEST: Duration = Duration::from_secs(30);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// An input of a target: the number of its sound file, and its bytes.
fn input(target: &Target, seeds: &[Seed], seed: u64, number: u64) -> (usize, Vec<u8>) {
    let mut random = Source::new(seed ^ u64::from(crc32fast::hash(target.name.as_bytes())), number);
    let chosen = random.below(seeds.len());
    (chosen, mutate(&seeds[chosen].bytes, seeds[chosen].shape, &mut random))
}

/// Reads inputs from number `first` on until there are `most`, or until the time is over.
fn fuzz(target: &Target, seed: u64, first: u64, most: u64, time: Duration) -> Outcome {
    let seeds = (target.seeds)();
    let scratch = tempfile::tempdir().unwrap();
    for seed in &seeds {
        // What is wrong with a sound file would hide everything else.
        assert!((target.read)(seed, &seed.bytes, scratch.path()), "{}: {}", target.name, seed.path.display());
    }
    let started = Instant::now();
    let mut outcome = Outcome { inputs: 0, taken: 0 };
    while outcome.inputs < most && started.elapsed() < time {
        let number = first + outcome.inputs;
        let (chosen, bytes) = input(target, &seeds, seed, number);
        let from = seeds[chosen].path.display();
        let told = format!("{}: input {number} of seed {seed}, made of {from}", target.name);
        let watch = Watch::new(&told);
        let read = catch_unwind(AssertUnwindSafe(|| (target.read)(&seeds[chosen], &bytes, scratch.path())));
        drop(watch);
        let Ok(taken) = read else {
            let path = env::temp_dir().join(format!("wgrad-fuzz-{}-{seed}-{number}", target.name));
            fs::write(&path, &bytes).unwrap();
            let why = TOLD.with(|told| told.borrow().clone());
            panic!("{told}, panics; kept as {}: {why}", path.display());
        };
        outcome.taken += u64::from(taken);
        outcome.inputs += 1;
    }
    let peak = peak_megabytes();
    assert!(peak < 1500, "{}: {peak} MB for inputs of some kilobytes", target.name);
    outcome
}

/// Ends the process where an input takes too long, since nothing else can stop a thread.
struct Watch;

static BEGUN: Mutex<Vec<(ThreadId, Instant, String)>> = Mutex::new(Vec::new());
static WATCHER: Once = Once::new();

impl Watch {
    fn new(told: &str) -> Watch {
        WATCHER.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                    let begun = BEGUN.lock().unwrap();
                    if let Some((.., told)) = begun.iter().find(|(_, begun, _)| begun.elapsed() > LONGEST) {
                        eprintln!("{told}, takes longer than {LONGEST:?}");
                        std::process::abort();
                    }
                }
            });
        });
        BEGUN.lock().unwrap().push((std::thread::current().id(), Instant::now(), told.to_owned()));
        Watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let own = std::thread::current().id();
        BEGUN.lock().unwrap().retain(|(thread, ..)| *thread != own);
    }
}

/// The most memory that this process has taken; 0 where the system does not tell.
fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000)
}

thread_local! {
    /// What the last panic said. Those that readers catch would fill the screen; others are told by whoever ends by them.
    static TOLD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes what panics say, and gives the seed.
fn prepare() -> u64 {
    std::panic::set_hook(Box::new(|about| TOLD.with(|told| *told.borrow_mut() = about.to_string())));
    number("WGRAD_FUZZ_SEED", 0)
}

/// Runs `work`; where it panics, what was said is told.
fn telling<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        eprintln!("{}", TOLD.with(|told| told.borrow().clone()));
        std::panic::resume_unwind(panic)
    })
}

/// Inputs of one target for as long as `WGRAD_FUZZ_SECONDS` says.
fn briefly(name: &str) {
    let seed = prepare();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let time = Duration::from_secs(number("WGRAD_FUZZ_SECONDS", 3));
    let outcome = telling(|| fuzz(target, seed, 0, u64::MAX, time));
    eprintln!("{name}: {} inputs, {} of them taken whole", outcome.inputs, outcome.taken);
    assert!(outcome.inputs > 0);
}

macro_rules! tests {
    ($($name:ident)*) => {
        /// The tests' names, which are those of the targets.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            briefly(stringify!($name));
        })*
    };
}

tests!(safetensors pickle config sentence tokenizer data checkpoint rows json parquet packed);

#[test]
fn every_target_has_a_test() {
    assert_eq!(TARGETS.map(|target| target.name), *TESTED);
}

/// So many inputs of each target as `WGRAD_FUZZ_INPUTS` says, from `WGRAD_FUZZ_FIRST` on; a row for each on standard error.
#[test]
#[ignore = "scripts/long/fuzz runs it"]
fn so_many_inputs() {
    let seed = prepare();
    let (first, most) = (number("WGRAD_FUZZ_FIRST", 0), number("WGRAD_FUZZ_INPUTS", 100));
    for target in &TARGETS {
        let started = Instant::now();
        let outcome = telling(|| fuzz(target, seed, first, most, Duration::MAX));
        let seconds = started.elapsed().as_secs();
        eprintln!(
            "row\treaders\t{}\t{seed}\t{first}\t{}\t{}\t{seconds}",
            target.name, outcome.inputs, outcome.taken
        );
    }
}

/// Leaves so many inputs of each target, with the folders that they are read with, in the folder `WGRAD_FUZZ_FOLDER`, for the
/// program to read.
#[test]
#[ignore = "scripts/long/fuzz runs it"]
fn inputs_for_the_program() {
    let seed = prepare();
    let folder = PathBuf::from(env::var("WGRAD_FUZZ_FOLDER").unwrap());
    let (first, most) = (number("WGRAD_FUZZ_FIRST", 0), number("WGRAD_FUZZ_INPUTS", 10));
    for target in &TARGETS {
        let seeds = (target.seeds)();
        for number in first..first + most {
            let (chosen, bytes) = input(target, &seeds, seed, number);
            let place = folder.join(format!("{}-{number}", target.name));
            for (path, sound) in seeds[chosen].folder.iter() {
                let path = place.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, sound).unwrap();
            }
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join(&seeds[chosen].path), bytes).unwrap();
        }
    }
}
