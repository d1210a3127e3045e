//! Ranks as threads of the test, each with a device of its own.

use std::thread;
use std::time::Duration;

use wgrad::gpu::{Gpu, GpuOptions, MatrixOperands};
use wgrad::train::ranks::{Hello, Local, Team, TrainerPlan, locals, work};
use wgrad::{Error, Result};

/// Longer than any test waits for a device.
pub const PATIENCE: Duration = Duration::from_secs(300);

pub fn hello() -> Hello {
    Hello { program: "this test".to_owned(), share: 1 }
}

/// What a rank that works as it should does.
pub fn works(mut link: Local) -> Result<()> {
    let open = |plan: &TrainerPlan, matrix_units: Option<MatrixOperands>| {
        let options = GpuOptions { choices: plan.kernels.clone(), matrix_units, ..GpuOptions::default() };
        pollster::block_on(Gpu::open(&options))
    };
    work(&mut link, &hello(), open)
}

/// Runs `first` as rank 0 of so many.
pub fn with_ranks<T>(ranks: usize, first: impl FnOnce(&Team) -> T) -> T {
    let (result, others) = with_others(ranks, PATIENCE, works, first);
    others.into_iter().for_each(|other| other.unwrap());
    result
}

/// Runs `first` as rank 0, and `other` as all others; what became of these, too.
pub fn with_others<T>(
    ranks: usize,
    patience: Duration,
    other: impl Fn(Local) -> Result<()> + Copy + Send + 'static,
    first: impl FnOnce(&Team) -> T,
) -> (T, Vec<Result<(), Error>>) {
    let mut links = locals(ranks, patience).into_iter();
    let own = links.next().unwrap();
    let threads: Vec<_> = links.map(|link| thread::spawn(move || other(link))).collect();
    let team = if ranks == 1 { Team::alone() } else { Team::gather(own, &hello()).unwrap() };
    let result = first(&team);
    team.end();
    // Who still waits for rank 0 is to notice that it has gone.
    drop(team);
    (result, threads.into_iter().map(|thread| thread.join().unwrap()).collect())
}
