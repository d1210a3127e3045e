//! What the program that started this one says of it, where it started several.

/// How launchers tell a process of how many it is one: Open MPI's mpirun, MPICH's and Intel's, and Slurm's srun.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
/// How they tell which one of its machine it is.
const LOCAL_RANKS: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// The first of these variables that is set.
fn told(names: &[&'static str]) -> Option<(&'static str, usize)> {
    names.iter().find_map(|name| Some((*name, std::env::var(name).ok()?.parse().ok()?)))
}

/// Of how many processes this is one, and the variable that says so.
pub fn processes() -> Option<(&'static str, usize)> {
    told(&SIZES)
}

/// Which process of its machine this is, counted from 0.
pub fn local_rank() -> usize {
    told(&SIZES).filter(|(_, size)| *size > 1).and(told(&LOCAL_RANKS)).map_or(0, |(_, rank)| rank)
}
