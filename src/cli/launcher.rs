//! What the program that started this process says of it, where it started several.

use anyhow::bail;

/// What started this process, and perhaps others.
#[derive(Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Its name.
    pub program: &'static str,
    /// Which of its processes this is, counted from 0.
    pub rank: u64,
    /// How many it started.
    pub size: u64,
    /// The variable that says how many.
    pub size_variable: &'static str,
}

/// Slurm's launcher, which hands the standard input to all its processes; mpirun gives it to the first alone.
pub const SRUN: &str = "srun";

/// The variables of rank and size: of Open MPI, MVAPICH, MPICH and Intel's MPI, and Slurm. Where an mpirun stands in a job of
/// Slurm, the processes see the variables of both, and those of Slurm are about the job.
pub const LAUNCHERS: [(&str, &str, &str); 4] = [
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("mpirun", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("mpirun", "PMI_RANK", "PMI_SIZE"),
    // The number of tasks of the step: a batch script sees that of the job, though it is one process.
    (SRUN, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
];

/// How launchers tell a process which one of its machine it is.
const LOCAL_RANKS: [&str; 4] =
    ["OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// The value of an environment variable, if it is set.
pub type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// What is set for this process.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable that holds a whole number; one that holds nothing is as good as none.
pub fn number(variable: Variable, name: &str) -> anyhow::Result<Option<u64>> {
    let Some(text) = variable(name).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => bail!("{name}: expected a whole number, found {text:?}"),
    }
}

/// What started this process, by its variables; none where it was started by itself.
pub fn launcher(variable: Variable) -> anyhow::Result<Option<Launcher>> {
    for (program, rank, size_variable) in LAUNCHERS {
        if let (Some(rank), Some(size)) = (number(variable, rank)?, number(variable, size_variable)?) {
            // Some of Slurm's plugins speak to their processes as MPICH's mpirun does.
            let of_step = number(variable, LAUNCHERS[3].2)? == Some(size) && size_variable == LAUNCHERS[2].2;
            let program = if of_step { SRUN } else { program };
            return Ok(Some(Launcher { program, rank, size, size_variable }));
        }
    }
    Ok(None)
}

/// What started this process for a command that asks of its own accord: there a variable that holds no number is somebody
/// else's.
pub fn told() -> Option<Launcher> {
    launcher(&variable).ok().flatten()
}

/// As [`told`], where it started several.
pub fn several() -> Option<Launcher> {
    told().filter(|found| found.size > 1)
}

/// Which process of its machine this is, counted from 0.
pub fn local_rank() -> usize {
    let number = LOCAL_RANKS.iter().find_map(|name| variable(name)?.parse().ok());
    several().and(number).unwrap_or(0)
}
