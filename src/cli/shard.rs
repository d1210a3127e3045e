//! `--shard`: work that several processes divide among them, by hand or by what MPI and Slurm tell each of them.

use std::path::Path;
use std::str::FromStr;

use anyhow::bail;
use wgrad::Error;
use wgrad::store::WorkShard;

use super::launcher::{LAUNCHERS, Launcher, SRUN, Variable, launcher, number, several, variable};
use super::print;

/// Which share of the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// This one.
    Of(WorkShard),
    /// That which the launcher of this process says.
    Auto,
    /// All of it, whoever started the process.
    None,
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            _ => text.parse().map(Choice::Of),
        }
    }
}

/// What goes before the examples in the help of commands whose work may be divided.
macro_rules! sharding {
    () => {
        "--shard I/N does every Nth item from the Ith on, I counted from 1, so that N processes on as many machines
divide the work. Each reads the whole input and writes a part, OUT.I-of-N; `wgrad merge OUT` puts the parts
together: the same file as one process writes. --shard auto takes I and N from mpirun, srun or a Slurm array."
    };
}
pub(super) use sharding;

/// How work is divided.
#[derive(Debug, clap::Args)]
pub struct ShardArgs {
    /// Do one of N equal shares of the work, the Ith, counted from 1: the part goes to OUT.I-of-N. auto: as mpirun, srun or
    /// a Slurm array says; none: all of it, though one of these started several processes.
    #[arg(long, value_name = "I/N|auto|none", value_parser = choice)]
    shard: Option<Choice>,
}

fn choice(text: &str) -> Result<Choice, String> {
    text.parse().map_err(|error: Error| error.to_string().replacen("shard: ", "", 1))
}

impl ShardArgs {
    /// The share of this process, if there are several; `inputs` are what it reads, `-` the standard input.
    pub fn chosen<'p>(
        &self,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> anyhow::Result<Option<WorkShard>> {
        let shard = decide(self.shard, &variable)?;
        let piped = inputs.into_iter().any(|input| input.as_os_str() == "-");
        match (self.shard, several()) {
            (Some(Choice::Auto), Some(found)) if piped && found.program != SRUN => bail!(
                "--shard auto: expected a file, which every process can read, found the standard input: \
                 mpirun hands it to the first process alone (where each has one of its own, --shard I/N)"
            ),
            // A shell may be one of the processes, and what is typed there one command: it is no error.
            (None, Some(Launcher { program, rank: 0, size, .. })) => print::note(format_args!(
                "note: {program} started {size} processes, and each does all of the work: --shard auto divides it, \
                 --shard none says that it is meant"
            )),
            _ => {}
        }
        Ok(shard)
    }
}

/// The share of a task of a Slurm array.
fn array(variable: Variable) -> anyhow::Result<Option<WorkShard>> {
    let names = ["ID", "COUNT", "MIN", "MAX"].map(|name| format!("SLURM_ARRAY_TASK_{name}"));
    let [Some(id), Some(count), Some(first), Some(last)] = [
        number(variable, &names[0])?,
        number(variable, &names[1])?,
        number(variable, &names[2])?,
        number(variable, &names[3])?,
    ] else {
        return Ok(None);
    };
    // Of tasks 0, 3 and 7 nobody can tell which is the second.
    let step = last.saturating_sub(first).checked_div(count.saturating_sub(1)).unwrap_or(1).max(1);
    if first.saturating_add(step.saturating_mul(count.saturating_sub(1))) != last
        || !id.saturating_sub(first).is_multiple_of(step)
    {
        bail!(
            "--shard auto: expected a Slurm array with equal steps, found {count} tasks from {first} to {last}; \
             --shard I/N says which share a task has"
        );
    }
    Ok(Some(WorkShard::new(id.saturating_sub(first) / step + 1, count)?))
}

/// The share that is done, by what was asked for and by the variables of this process.
fn decide(choice: Option<Choice>, variable: Variable) -> anyhow::Result<Option<WorkShard>> {
    match choice {
        Some(Choice::Of(shard)) => return Ok(Some(shard)),
        // An array's tasks mostly have inputs of their own.
        Some(Choice::None) | None => return Ok(None),
        Some(Choice::Auto) => {}
    }
    let launched = launcher(variable)?;
    let several = launched.as_ref().filter(|launched| launched.size > 1);
    let array = array(variable)?;
    match (several, array) {
        (Some(Launcher { program, size, .. }), Some(array)) if array.of() > 1 => bail!(
            "--shard auto: expected {program} or a Slurm array, found both, {size} processes in task {array} of an array; \
             --shard I/N says which share each has"
        ),
        (Some(several), _) => Ok(Some(WorkShard::new(several.rank.saturating_add(1), several.size)?)),
        (None, Some(array)) => Ok(Some(array)),
        (None, None) if launched.is_some() => Ok(Some(WorkShard::new(1, 1)?)),
        (None, None) => bail!(
            "--shard auto: expected the variables of mpirun ({}), of srun ({}) or of a Slurm array \
             (SLURM_ARRAY_TASK_ID), found none; --shard I/N says which share this is",
            LAUNCHERS[0].1,
            LAUNCHERS[3].1
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided where these variables are set.
    fn decided(choice: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let choice = choice.map(|choice| choice.parse().unwrap());
        let shard = decide(choice, &variable).map_err(|error| error.to_string())?;
        Ok(shard.map(|shard| shard.to_string()))
    }

    const MPI: [(&str, &str); 2] = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")];
    const STEP: [(&str, &str); 3] =
        [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "2")];
    const ARRAY: [(&str, &str); 4] = [
        ("SLURM_ARRAY_TASK_ID", "7"),
        ("SLURM_ARRAY_TASK_COUNT", "4"),
        ("SLURM_ARRAY_TASK_MIN", "1"),
        ("SLURM_ARRAY_TASK_MAX", "10"),
    ];

    #[test]
    fn a_share_is_known_by_whoever_started_the_process() {
        let is = |choice, variables: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(decided(choice, variables), Ok(expected.map(str::to_owned)), "{variables:?}");
        };
        is(Some("auto"), &MPI, Some("3/4"));
        is(Some("auto"), &[("PMI_RANK", "0"), ("PMI_SIZE", "2")], Some("1/2"));
        is(Some("auto"), &STEP, Some("1/2"));
        is(Some("auto"), &ARRAY, Some("3/4"));
        // An mpirun in a job of Slurm.
        is(Some("auto"), &[&MPI[..], &STEP].concat(), Some("3/4"));
        // One process is one of one, also in an array.
        is(Some("auto"), &[("PMI_RANK", "0"), ("PMI_SIZE", "1")], Some("1/1"));
        is(Some("auto"), &[&ARRAY[..], &[STEP[0], ("SLURM_STEP_NUM_TASKS", "1")]].concat(), Some("3/4"));
        // What was said holds.
        is(Some("2/3"), &MPI, Some("2/3"));
        is(Some("none"), &MPI, None);
        // A batch script is one process, whatever its job has; tasks of an array have inputs of their own.
        is(None, &STEP[..2], None);
        is(None, &ARRAY, None);
        is(None, &[], None);
        // Where nothing is asked for, nothing is divided, and nobody cares for what a variable may hold.
        is(None, &MPI, None);
        is(None, &[("PMI_RANK", "2"), ("PMI_SIZE", "two")], None);
        is(Some("auto"), &[&ARRAY[..], &[("PMI_RANK", ""), ("PMI_SIZE", " ")]].concat(), Some("3/4"));
    }

    #[test]
    fn nothing_is_divided_by_guessing() {
        let refused = |choice, variables: &[(&str, &str)], told: &str| {
            let found = decided(choice, variables).unwrap_err();
            assert!(found.contains(told), "{found}");
        };
        refused(Some("auto"), &[], "expected the variables of mpirun (OMPI_COMM_WORLD_RANK)");
        refused(Some("auto"), &STEP[..2], "found none; --shard I/N says");
        refused(
            Some("auto"),
            &[&MPI[..], &ARRAY].concat(),
            "found both, 4 processes in task 3/4 of an array",
        );
        let uneven = [ARRAY[0], ARRAY[1], ARRAY[2], ("SLURM_ARRAY_TASK_MAX", "9")];
        refused(Some("auto"), &uneven, "4 tasks from 1 to 9");
        refused(Some("auto"), &[("PMI_RANK", "2"), ("PMI_SIZE", "two")], "PMI_SIZE: expected a whole number");
        refused(Some("auto"), &[("PMI_RANK", "2"), ("PMI_SIZE", "2")], "found 3/2");
        for wrong in ["", "0/4", "5/4", "all"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
